"""Text from the wire that a log, a terminal or a database cannot take as it is: on every store."""

from __future__ import annotations

import json
import logging
from typing import Final

import pytest

from bardge_async import AttemptEnded, EntryState, RetryPolicy, errors
from bardge_async._core.http import escape_text, escape_unprintable
from tests.journal.factories import Opener
from tests.journal.place import fail_to_buy, open_place
from tests.support.rig import PURCHASE
from tests.support.server import Step, reply, send_raw

_REFUSAL: Final = {"type": "invalid_request_error", "code": "validation_error", "message": "no"}
ODD: Final = (
    (b"req_caf\xe9", r"req_caf\xe9"),
    (b"req_\xff\xfe", r"req_\xff\xfe"),
    ("req_café".encode(), r"req_caf\xe9"),
    ("req_会社".encode(), r"req_\u4f1a\u793e"),
    ("req_\u202egnp".encode(), r"req_\u202egnp"),
    (b"req_\x80\xed\xa0\x80", r"req_\x80\xed\xa0\x80"),
)


def answer(request_id: bytes, status: int = 201, body: bytes = b'{"balance":5}') -> Step:
    """Answer with the bytes of a request id."""
    head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nBardge-Request-Id: %s\r\nContent-Length: %d\r\n\r\n"
    return send_raw(head % (status, request_id, len(body)) + body, close=False)


@pytest.mark.parametrize(("raw", "shown"), ODD)
async def test_odd_request_id(opener: Opener, raw: bytes, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    """An odd request id is escaped before it is stored, logged or shown, and loses no outcome."""
    caplog.set_level(logging.DEBUG, "bardge_async")
    events: list[object] = []
    async with open_place(opener, answer(raw), hooks=[events.append]) as it:
        async with it.bardge.idempotent("order-1") as once:
            await once.credits.purchase(PURCHASE)
        async with it.bardge.idempotent("order-1") as twice:
            await twice.credits.purchase(PURCHASE)
        entry = await it.read_record()
    assert (once.recorded, once.request_id, twice.replayed, twice.request_id) == (True, shown, "journal", shown)
    assert entry is not None
    assert entry.answer is not None
    assert (entry.state, entry.answer.request_id, it.request_count) == (EntryState.DONE, shown, 1)
    assert {event.request_id for event in events if isinstance(event, AttemptEnded)} == {shown}
    assert [text for text in caplog.messages if not (text.isascii() and text.isprintable())] == []


@pytest.mark.parametrize(("raw", "shown"), ODD)
async def test_odd_request_id_of_a_refusal(opener: Opener, raw: bytes, shown: str) -> None:
    """A refusal with an odd request id is recorded, and the next use of its key is told so."""
    body = json.dumps({"error": _REFUSAL}).encode()
    async with open_place(opener, answer(raw, 400, body)) as it:
        found = await fail_to_buy(it.bardge)
        assert (found.request_id, await it.read_state()) == (shown, EntryState.REFUSED)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("req_\ud800", r"req_\ufffd"), ("req_\0", r"req_\x00"), ("req_\u200b\n", r"req_\u200b\n"), ("req_é", r"req_\xe9")],
)
async def test_odd_request_id_in_an_error_object(opener: Opener, text: str, shown: str) -> None:
    """The request id that an error object names is escaped before it is stored."""
    body = json.dumps({"error": {"type": "api_error", "message": "no", "request_id": text}}).encode()
    async with open_place(opener, reply(500, body=body), retry=RetryPolicy(max_attempts=1)) as it:
        found = await fail_to_buy(it.bardge)
        entry = await it.read_record()
    assert entry is not None
    assert entry.answer is not None
    assert entry.answer.request_id == shown
    assert isinstance(found, errors.OutcomeUnknownError)


@pytest.mark.parametrize("text", ["no\ud800", "no\0", "no\nERROR forged", "no\x1b[31m", "no \u202e"])
async def test_odd_message(opener: Opener, text: str) -> None:
    """The message of an error object can be logged: it forges no line and breaks no encoder."""
    body = json.dumps({"error": {**_REFUSAL, "message": text}}).encode()
    async with open_place(opener, reply(400, body=body)) as it:
        found = await fail_to_buy(it.bardge)
    assert str(found).isprintable()
    str(found).encode()


async def test_message_in_any_language(opener: Opener) -> None:
    """The message of an error object is shown in its own language."""
    body = json.dumps({"error": {**_REFUSAL, "message": "crédit de ₦5.000 refusé: 会社"}}).encode()
    async with open_place(opener, reply(400, body=body)) as it:
        assert "crédit de ₦5.000 refusé: 会社" in str(await fail_to_buy(it.bardge))


async def test_other_headers(opener: Opener) -> None:
    """All headers of a response are printable ASCII."""
    raw = (
        b"HTTP/1.1 201 X\r\nContent-Type: application/json\r\nX-Proxy: \xfc\x80 \xc3\xa9\r\nContent-Length: 13\r\n\r\n"
    )
    async with open_place(opener, send_raw(raw + b'{"balance":5}', close=False)) as it:
        found = await it.bardge.send("credits.purchase", request=PURCHASE)
    assert found.headers["x-proxy"] == r"\xfc\x80 \xe9"


def test_plain_text_is_left_as_it_is() -> None:
    """Text that needs no escape is the same object, and escaping twice changes nothing."""
    plain = r"req_0123 \xe9"
    assert escape_text(plain) is plain
    assert escape_text(escape_text("\udce9\0é")) == escape_text("\udce9\0é")
    assert escape_unprintable("₦ é") == "₦ é"
