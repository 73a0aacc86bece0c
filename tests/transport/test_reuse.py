"""A kept connection carries a request only if it has nothing to read: no answer reaches the wrong request."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import pytest

from bardge_async import BardgeClient, PurchaseCopayPackage, PurchaseCredits, RetryPolicy
from bardge_async.testing import ManualClock
from tests.support.net import Authority
from tests.support.sequels import (
    Sequel,
    SequelServer,
    answer_purchase,
    end_stream,
    run_sequel_server,
    send_bytes,
)

STRAY: Final = answer_purchase("somebody else")
SEQUELS: Final[dict[str, Sequel]] = {
    "an answer": send_bytes(STRAY),
    "two answers": send_bytes(STRAY * 2),
    "half an answer": send_bytes(STRAY[:40]),
    "a status line": send_bytes(b"HTTP/1.1 201 Created\r\n"),
    "an informational answer": send_bytes(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "one byte": send_bytes(b"H"),
    "no HTTP": send_bytes(b"\0"),
    "the end": end_stream,
}


@asynccontextmanager
async def open_client(server: SequelServer, way: str, **options: Any) -> AsyncGenerator[BardgeClient]:
    """Open a client, with its own connections or with a user's session."""
    clock, once = ManualClock(), RetryPolicy(max_attempts=1)
    if way == "own":
        async with BardgeClient("key", server.url, clock=clock, retry=once, **options) as bardge:
            yield bardge
        return
    async with (
        aiohttp.ClientSession() as session,
        BardgeClient("key", server.url, clock=clock, retry=once, session=session, **options) as bardge,
    ):
        yield bardge


async def purchase_for(bardge: BardgeClient, client_id: str) -> str | None:
    bought = await bardge.credits.purchase(PurchaseCredits(client_id=client_id, package_id="p"))
    return bought.client_id


async def pass_turns() -> None:
    """Let the loop read what has arrived."""
    for _ in range(5):
        await asyncio.sleep(0)


async def purchase_twice(bardge: BardgeClient, server: SequelServer, sequel: Sequel, *, busy: bool) -> list[str | None]:
    """Purchase, receive more than the answer, and purchase again."""
    first = await purchase_for(bardge, "a")
    server.add_sequel(sequel)
    if not busy:
        await pass_turns()
    return [first, await purchase_for(bardge, "b")]


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
@pytest.mark.parametrize("name", SEQUELS)
async def test_a_connection_with_something_to_read(name: str, busy: bool) -> None:
    """Whatever arrives behind an answer, read by the loop or not, the next POST goes over another connection."""
    with run_sequel_server() as server:
        async with open_client(server, "own") as bardge:
            assert await purchase_twice(bardge, server, SEQUELS[name], busy=busy) == ["a", "b"]
        assert server.connections == 2


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
@pytest.mark.parametrize("name", ["an answer", "two answers", "the end"])
async def test_a_users_session(name: str, busy: bool) -> None:
    """The same holds for the connections of a user's own session."""
    with run_sequel_server() as server:
        async with open_client(server, "session") as bardge:
            assert await purchase_twice(bardge, server, SEQUELS[name], busy=busy) == ["a", "b"]


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
async def test_tls(busy: bool) -> None:
    """The same holds for TLS; session tickets, which servers send unasked, do not stop a connection from being kept."""
    authority = Authority()
    with run_sequel_server(tls=authority.server) as server:
        async with open_client(server, "own", ssl=authority.make_client_context()) as bardge:
            assert await purchase_for(bardge, "0") == "0"
            assert await purchase_twice(bardge, server, send_bytes(STRAY), busy=busy) == ["a", "b"]
        assert server.connections == 2


@pytest.mark.parametrize("tail", [STRAY, STRAY[:40], b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"])
async def test_bytes_behind_an_answer(tail: bytes) -> None:
    """A connection on which more came together with an answer is closed."""
    with run_sequel_server(tail=tail) as server:
        async with open_client(server, "own") as bardge:
            assert [await purchase_for(bardge, one) for one in "abc"] == ["a", "b", "c"]
        assert server.connections == 2


@pytest.mark.parametrize("busy", [True, False], ids=["busy", "idle"])
async def test_an_empty_line(busy: bool) -> None:
    """An empty line is nothing that a response could begin with, and closes the connection all the same."""
    with run_sequel_server() as server:
        async with open_client(server, "own") as bardge:
            assert await purchase_twice(bardge, server, send_bytes(b"\r\n"), busy=busy) == ["a", "b"]
        assert server.connections == 2


async def test_without_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no poll, select does the same."""
    monkeypatch.delattr(select, "poll")
    with run_sequel_server() as server:
        async with open_client(server, "own") as bardge:
            assert await purchase_for(bardge, "0") == "0"
            assert await purchase_twice(bardge, server, send_bytes(STRAY), busy=True) == ["a", "b"]
        assert server.connections == 2


async def test_a_closed_connection_leaves_no_doubt() -> None:
    """A POST that could not be repeated is not written to a connection that the server has closed."""
    with run_sequel_server() as server:
        async with open_client(server, "own") as bardge:
            await purchase_for(bardge, "a")
            server.add_sequel(end_stream)
            request = PurchaseCopayPackage(client_id="b", provider_id="p", copay_package_id="q")
            assert (await bardge.copay.purchase_package(request)).extra["client_id"] == "b"
