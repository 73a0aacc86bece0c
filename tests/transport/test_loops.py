"""One client over several loops, threads and forks, and its closing."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import anyio
import pytest

from bardge_async import BardgeClient, NotSentError, RetryPolicy
from bardge_async.testing import ManualClock
from tests.support.clock import PausedClock
from tests.support.loop import run_loop
from tests.support.net import BALANCE, Authority, call_back_then, count_open_sockets, get_https_url
from tests.support.server import Received, ScriptedServer, Step, hang, reply

ONCE: Final = RetryPolicy(max_attempts=1)


@contextmanager
def serve_in_thread(server: ScriptedServer) -> Generator[ScriptedServer]:
    """Run a server in a thread of its own."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def run_server() -> None:
        async with server:
            ready.set()
            await over.wait()

    def run_loop() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run_server())

    thread = threading.Thread(target=run_loop)
    thread.start()
    ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)


@pytest.mark.parametrize("secure", [False, True])
def test_several_runs(secure: bool) -> None:
    """One client serves several asyncio.run calls and leaves neither sockets nor warnings behind."""
    authority = Authority()
    with serve_in_thread(ScriptedServer(reply(200, BALANCE), tls=authority.server if secure else None)) as server:
        before = count_open_sockets()
        bardge = BardgeClient(
            "key", get_https_url(server) if secure else server.base_url, ssl=authority.make_client_context()
        )

        async def get_credits() -> None:
            await bardge.clients.get_credits("c")

        for _ in range(3):
            asyncio.run(get_credits())
        asyncio.run(bardge.aclose())
        gc.collect()
    assert (len(server.requests), count_open_sockets() < before) == (3, True)


def test_four_threads() -> None:
    """One client serves four threads with a loop each."""
    with serve_in_thread(ScriptedServer(reply(200, BALANCE))) as server:
        bardge = BardgeClient("key", server.base_url)

        async def get_credits() -> None:
            await asyncio.gather(*[bardge.clients.get_credits("c") for _ in range(5)])

        threads = [threading.Thread(target=lambda: asyncio.run(get_credits())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        asyncio.run(bardge.aclose())
    assert len(server.requests) == 20


def _run_child(bardge: BardgeClient) -> int:
    async def get_balance() -> int:
        balance = (await bardge.clients.get_credits("c")).balance
        await bardge.aclose()
        return 0 if balance == 5 else 2

    # Closing must not wait for the parent's loops, which look as if they ran.
    signal.alarm(3)
    asyncio.set_event_loop(None)
    asyncio._set_running_loop(None)
    return asyncio.run(get_balance())


def _call_in_fork(bardge: BardgeClient) -> int:
    """Call in the child of a fork, and return its exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _run_child(bardge)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_fork() -> None:
    """A forked child uses the inherited client, and the parent's kept connection still works."""
    with serve_in_thread(ScriptedServer(reply(200, BALANCE))) as server:
        bardge = BardgeClient("key", server.base_url)

        async def fork_between_calls() -> int:
            await bardge.clients.get_credits("c")
            code = _call_in_fork(bardge)
            await bardge.clients.get_credits("c")
            await bardge.aclose()
            return code

        assert asyncio.run(fork_between_calls()) == 0
    assert (len(server.requests), server.connections) == (3, 2)


async def test_closing_waits_for_running_calls() -> None:
    """aclose lets a running call finish, and rejects later ones before they are sent."""
    reached, go = anyio.Event(), asyncio.Event()

    async with ScriptedServer(call_back_then(reached.set, _answer_after(go))) as server:
        bardge = BardgeClient("key", server.base_url, clock=ManualClock())
        call = asyncio.create_task(bardge.clients.get_credits("c"))
        await reached.wait()
        closing = asyncio.create_task(bardge.aclose())
        await run_loop(20)
        with pytest.raises(NotSentError, match="closed"):
            await bardge.clients.get_credits("c")
        assert not closing.done()
        go.set()
        assert (await call).balance == 5
        await closing


def _answer_after(go: asyncio.Event) -> Step:
    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await reply(200, BALANCE)(request, writer)

    return handle_request


async def test_closing_is_bounded() -> None:
    """aclose waits no longer than its limit, on the injected clock, and the remaining call ends with our error."""
    reached, clock = anyio.Event(), PausedClock()
    async with ScriptedServer(hang(reached)) as server:
        bardge = BardgeClient("key", server.base_url, retry=RetryPolicy(max_attempts=3, base=0), clock=clock)
        call = asyncio.create_task(bardge.clients.get_credits("c"))
        await reached.wait()
        closing = asyncio.create_task(bardge.aclose())
        await run_loop(20)
        clock.advance(10.5)
        await closing
        while not call.done():
            clock.advance(0.1)
            await asyncio.sleep(0)
        with pytest.raises(Exception, match=r"answer|closed"):
            await call
        assert server.connections == 1


async def test_closing_twice() -> None:
    """A second aclose, also at the same time, does nothing."""
    async with ScriptedServer(reply(200, BALANCE)) as server:
        bardge = BardgeClient("key", server.base_url)
        await bardge.clients.get_credits("c")
        await asyncio.gather(bardge.aclose(), bardge.aclose())
        await bardge.aclose()


def test_closing_from_another_loop() -> None:
    """aclose in one thread waits for the call of another one, and closes its connections there."""
    reached, go = threading.Event(), threading.Event()

    async def hold_request(request: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.to_thread(go.wait, 10)
        await reply(200, BALANCE)(request, writer)

    balances: list[object] = []
    with serve_in_thread(ScriptedServer(call_back_then(reached.set, hold_request))) as server:
        bardge = BardgeClient("key", server.base_url)

        async def get_balance() -> None:
            balances.append((await bardge.clients.get_credits("c")).balance)

        async def close_client() -> None:
            closing = asyncio.create_task(bardge.aclose())
            await run_loop(20)
            go.set()
            await closing

        thread = threading.Thread(target=lambda: asyncio.run(get_balance()))
        thread.start()
        reached.wait(10)
        asyncio.run(close_client())
        thread.join(10)
    assert balances == [5]


async def test_block_left_by_an_exception() -> None:
    """Leaving the block by an exception closes the client and raises the exception."""
    async with ScriptedServer(reply(200, BALANCE)) as server:
        bardge = BardgeClient("key", server.base_url)

        async def leave_block() -> None:
            async with bardge:
                await bardge.clients.get_credits("c")
                raise KeyError

        with pytest.raises(KeyError):
            await leave_block()
        with pytest.raises(NotSentError):
            await bardge.clients.get_credits("c")


async def test_leaked_client_warns() -> None:
    """A client that was used and never closed is reported; a closed or unused one is not."""
    async with ScriptedServer(reply(200, BALANCE)) as server:
        bardge = BardgeClient("key", server.base_url)
        await bardge.clients.get_credits("c")
        with pytest.warns(ResourceWarning, match="unclosed BardgeClient"):
            bardge.__del__()
        await bardge.aclose()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bardge.__del__()
            BardgeClient("key", server.base_url).__del__()


async def test_derived_clients_share_connections() -> None:
    """with_options uses the parent's connections, and closing the derived client leaves them open."""
    async with ScriptedServer(reply(200, BALANCE)) as server, BardgeClient("key", server.base_url) as bardge:
        await bardge.clients.get_credits("c")
        async with bardge.with_options(api_key="other") as derived:
            await derived.clients.get_credits("c")
        await bardge.clients.get_credits("c")
    assert server.connections == 1
    assert [r.headers["authorization"] for r in server.requests] == ["Bearer key", "Bearer other", "Bearer key"]
