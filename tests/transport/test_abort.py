"""The connection of a failed attempt is reset: unsent bytes never arrive, and no call reuses it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import pytest

from bardge_async import BardgeClient, OutcomeUnknownError, PurchaseCredits, RetryPolicy
from bardge_async.testing import ManualClock
from tests.support.clock import PausedClock
from tests.support.net import BALANCE, Authority, call_back_then, get_https_url
from tests.support.server import Received, ScriptedServer, Step, hang, reply, send_raw

pytestmark = pytest.mark.usefixtures("both_ways")

ONCE: Final = RetryPolicy(max_attempts=1)
SMALL: Final = PurchaseCredits(client_id="c", package_id="p")
LARGE: Final = PurchaseCredits(client_id="c" * 1_000_000, package_id="p")


class Deaf:
    """A server that accepts and does not read until it is told to."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()
        self._socket.setblocking(False)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    async def accept(self) -> socket.socket:
        """Accept one connection."""
        found, _ = await asyncio.get_running_loop().sock_accept(self._socket)
        found.setblocking(False)
        return found

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def open_deaf() -> AsyncGenerator[Deaf]:
    server = Deaf()
    try:
        yield server
    finally:
        server.close()


async def drain(peer: socket.socket) -> tuple[int, bool]:
    """Read all that arrives; return its length, and whether the connection was reset."""
    loop, size = asyncio.get_running_loop(), 0
    with peer:
        while True:
            try:
                data = await loop.sock_recv(peer, 2**20)
            except ConnectionResetError:
                return size, True
            if not data:
                return size, False
            size += len(data)


@pytest.mark.parametrize("ending", ["timeout", "cancel"])
async def test_undelivered_bytes_never_arrive(ending: str) -> None:
    """A POST that stalls while it is written is reset: neither our buffers nor the kernel's are sent later."""
    clock = PausedClock()
    async with open_deaf() as server, BardgeClient("key", server.url, retry=ONCE, clock=clock) as bardge:
        task = asyncio.create_task(bardge.credits.purchase(LARGE))
        peer = await server.accept()
        await wait_until_written(peer)
        if ending == "timeout":
            clock.advance(30)
        else:
            task.cancel()
        await asyncio.wait({task})
        with pytest.raises(OutcomeUnknownError if ending == "timeout" else asyncio.CancelledError):
            task.result()
        size, reset = await drain(peer)
    assert (reset, size < 900_000) == (True, True)


async def wait_until_written(peer: socket.socket) -> None:
    """Wait until the peer's buffer holds the first bytes."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(peer, ready.set)
    await ready.wait()
    loop.remove_reader(peer)


@pytest.mark.parametrize("secure", [False, True])
async def test_a_timed_out_connection_is_not_reused(secure: bool) -> None:
    """The next attempt has a connection of its own, and a late response on the old one is discarded."""
    clock, authority = ManualClock(), Authority()
    late = call_back_then(lambda: clock.advance(21))
    options: dict[str, Any] = {"ssl": authority.make_client_context()} if secure else {}
    async with ScriptedServer(late, reply(200, BALANCE), tls=authority.server if secure else None) as server:
        url = get_https_url(server) if secure else server.base_url
        async with BardgeClient("key", url, clock=clock, **options) as bardge:
            assert (await bardge.credits.purchase(SMALL)).balance == 5
    assert (len(server.requests), server.connections) == (2, 2)


async def test_a_failed_attempt_is_reset() -> None:
    """After an invalid response the server sees a reset, not a connection left open."""
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        await send_raw(b"garbage\r\n\r\n", close=False)(request, writer)
        try:
            while True:
                await asyncio.sleep(0)
                writer.write(b"x")
                await writer.drain()
        except ConnectionError as error:
            ended.set_result(type(error).__name__)

    async with (
        ScriptedServer(handle_request) as server,
        BardgeClient("key", server.base_url, retry=ONCE, clock=ManualClock()) as bardge,
    ):
        with pytest.raises(OutcomeUnknownError):
            await bardge.credits.purchase(SMALL)
        assert await ended == "ConnectionResetError"


async def test_a_good_connection_is_kept() -> None:
    """Calls one after the other share one connection."""
    async with (
        ScriptedServer(reply(200, BALANCE)) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        for _ in range(5):
            await bardge.credits.purchase(SMALL)
    assert server.connections == 1


async def test_a_cancelled_call_leaves_others_alone() -> None:
    """Cancelling one call resets its connection and no other."""
    reached = anyio.Event()
    steps: list[Step] = [hang(reached), reply(200, BALANCE)]
    async with (
        ScriptedServer(*steps) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        task = asyncio.create_task(bardge.credits.purchase(SMALL))
        await reached.wait()
        await bardge.clients.get_credits("c")
        task.cancel()
        await asyncio.wait({task})
        await bardge.clients.get_credits("c")
    assert server.connections == 2
