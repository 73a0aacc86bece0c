"""The lookup token is a secret like the API key: in no message, chain, frame, log or journal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import anyio
import pytest

from bardge_async import AccessCodeRequest, AlreadyDoneError, BardgeClient, BookClass, BookSpa, Operation, SQLiteJournal
from bardge_async.errors import BardgeError
from bardge_async.models import VerifyLookup
from bardge_async.testing import ManualClock
from tests.support.canary import CANARY, find_canary, find_in_error, find_in_log
from tests.support.net import find_refused_port
from tests.support.server import ScriptedServer, Step, cut, error, hang, reply

CODE: Final = AccessCodeRequest(client_id="c")
CLASS: Final = BookClass(class_instance_id="ci", client_id="c")
Source: TypeAlias = Callable[[], Any]
"""Returns the token, so that no frame of a test holds it."""
Caller: TypeAlias = Callable[[BardgeClient, Source], Awaitable[object]]


async def in_block(bardge: BardgeClient, take: Source) -> None:
    async with bardge.idempotent("order-1") as once:
        await once.access_codes.generate(CODE, lookup_token=take())


async def in_block_by_name(bardge: BardgeClient, take: Source) -> None:
    async with bardge.idempotent("order-1") as once:
        await once.send("access_codes.generate", request=CODE, lookup_token=take())


async def in_batch(bardge: BardgeClient, take: Source) -> None:
    operation: Operation[Any, Any] = Operation("access_codes.generate", request=CODE, id="order-1", lookup_token=take())
    async for outcome in bardge.batch([operation], job="j"):
        assert not [*find_canary(outcome)]
        if outcome.error is not None:
            raise outcome.error


CALLS: Final[dict[str, Caller]] = {
    "generate": lambda bardge, take: bardge.access_codes.generate(CODE, lookup_token=take()),
    "initiate_class": lambda bardge, take: bardge.bookings.initiate_class(CLASS, lookup_token=take()),
    "initiate_spa": lambda bardge, take: bardge.bookings.initiate_spa(BookSpa(client_id="c"), lookup_token=take()),
    "send": lambda bardge, take: bardge.send("access_codes.generate", request=CODE, lookup_token=take()),
    "send without a token's row": lambda bardge, take: bardge.send("passes.list", lookup_token=take()),
    "request": lambda bardge, take: bardge.request("POST", "/odd", request={"a": 1}, lookup_token=take()),
    "request to nowhere": lambda bardge, take: bardge.request("POST", "nowhere", lookup_token=take()),
    "wrong request": lambda bardge, take: bardge.access_codes.generate(CLASS, lookup_token=take()),  # type: ignore[arg-type]
    "block": in_block,
    "block by name": in_block_by_name,
    "batch": in_batch,
}
TOKENS: Final[dict[str, Source]] = {
    "right": lambda: CANARY,
    "with a line break": lambda: CANARY + "\n",
    "beyond ASCII": lambda: CANARY + "é",
    "too long": lambda: CANARY * 1000,
    "bytes": CANARY.encode,
    "a list": lambda: [CANARY],
}


@asynccontextmanager
async def open_client(*script: Step) -> AsyncGenerator[BardgeClient]:
    async with ScriptedServer(*script) as server:
        base_url = server.base_url if script else f"http://127.0.0.1:{find_refused_port()}"
        async with BardgeClient("key", base_url, clock=ManualClock(), timeout=20) as bardge:
            yield bardge


@pytest.mark.parametrize("take", TOKENS.values(), ids=TOKENS)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_calls_that_fail_early(call: Caller, take: Source, caplog: pytest.LogCaptureFixture) -> None:
    """Refused before it is sent, or for want of a connection: the token is in no frame of the error."""
    async with open_client() as bardge:
        with caplog.at_level(logging.DEBUG), pytest.raises(BardgeError) as caught:
            await call(bardge, take)
    assert not find_in_error(caught.value) + find_in_log(caplog.records)


ANSWERS: Final[dict[str, Step]] = {
    "an error that quotes it": error(400, "invalid_request_error", "validation_error", f"token {CANARY} is invalid"),
    "a header that quotes it": reply(404, {"error": {"type": "x", "code": "y"}}, {"Bardge-Request-Id": CANARY}),
    "a failure": error(500),
    "no answer": cut(),
    "what is no answer": reply(200, body=f"<html>{CANARY}</html>".encode()),
    "a wrong answer": reply(200, {"copay_required": CANARY, "access_code": 5, "session_id": [CANARY]}),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("name", ["generate", "initiate_class", "send", "request", "block", "batch"])
async def test_answers(name: str, answer: Step, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the server does with it, the token is in no error and no log."""
    found: list[str] = []
    async with open_client(answer) as bardge:
        with caplog.at_level(logging.DEBUG):
            try:
                await CALLS[name](bardge, lambda: CANARY)
            except BardgeError as failure:
                found = find_in_error(failure)
    assert not found + find_in_log(caplog.records)


async def test_a_cancelled_call(caplog: pytest.LogCaptureFixture) -> None:
    """No frame of a running call holds it."""
    reached = anyio.Event()
    async with open_client(hang(reached)) as bardge:
        task = asyncio.ensure_future(CALLS["generate"](bardge, lambda: CANARY))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert not find_in_error(caught.value) + find_in_log(caplog.records)


def test_an_operation_does_not_show_it() -> None:
    """Neither by its repr nor by its attributes."""
    operation: Operation[Any, Any] = Operation("access_codes.generate", request=CODE, id="1", lookup_token=CANARY)
    assert not [*find_canary(operation)]


async def test_a_new_token_is_not_stored(tmp_path: Path) -> None:
    """What verifies a lookup returns the token to the caller only; the same key later has no response to return."""
    answer = reply(200, {"object": "lookup", "id": "lkp_1", "lookup_token": CANARY})
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        async with ScriptedServer(answer) as server, BardgeClient("key", server.base_url, journal=journal) as bardge:
            request = VerifyLookup(access_code="123456")
            made = await bardge.send("lookups.verify", "lkp_1", request=request, key="order-1")
            with pytest.raises(AlreadyDoneError):
                await bardge.send("lookups.verify", "lkp_1", request=request, key="order-1")
        files = [file.read_bytes() for file in tmp_path.iterdir()]  # noqa: ASYNC240 - may block on the disk
    assert made.value.lookup_token == CANARY
    assert not any(CANARY.encode() in content for content in files)
