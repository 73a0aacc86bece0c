"""A server that closes a connection just before its call is cancelled or runs out of time, on each event loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, Final

import pytest

from bardge_async import BardgeClient, NoAnswerError, RetryPolicy, Timeouts
from bardge_async.testing import ManualClock
from tests.support.loop import run_loop, run_loop_until
from tests.support.net import Authority
from tests.support.server import Received, ScriptedServer, cut, hang

pytestmark = pytest.mark.usefixtures("both_ways")

ONCE: Final = RetryPolicy(max_attempts=1)
LIMITS: Final = Timeouts(total=60, attempt=20, connect=5)
TURNS: Final = 12

RunIn = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run_in(request: pytest.FixtureRequest) -> RunIn:
    """Run a coroutine in an event loop of one kind."""
    name: str = request.param
    make_loop: Any = asyncio.SelectorEventLoop if name == "asyncio" else pytest.importorskip("uvloop").new_event_loop

    def run_coroutine(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(work)

    return run_coroutine


class Closer:
    """A step that keeps the connections of its requests open until they are closed by hand."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    async def __call__(self, _: Received, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.arrived.set()
        await asyncio.Event().wait()

    def close_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


def make_client(server: ScriptedServer, clock: ManualClock) -> BardgeClient:
    return BardgeClient("key", server.base_url, retry=ONCE, clock=clock, timeout=LIMITS)


def test_a_cancellation_survives_a_disconnect(run_in: RunIn) -> None:
    """A call that is cancelled any number of turns after its connection was closed raises the cancellation."""

    async def cancel_after(turns: int) -> None:
        closer = Closer()
        async with ScriptedServer(closer) as server, make_client(server, ManualClock()) as bardge:
            task = asyncio.create_task(bardge.clients.get_credits("c"))
            await closer.arrived.wait()
            closer.close_connections()
            await run_loop(turns)
            was_running = task.cancel()
            await asyncio.wait({task})
            assert task.cancelled() or (not was_running and isinstance(task.exception(), NoAnswerError))

    async def main() -> None:
        for turns in range(TURNS):
            await cancel_after(turns)

    run_in(main())


def test_other_deadlines_survive_a_disconnect(run_in: RunIn) -> None:
    """A call whose connection is closed just before its time is up keeps no other call from its own deadline."""

    async def expire_after(turns: int) -> None:
        closer, clock = Closer(), ManualClock()
        async with ScriptedServer(closer, hang()) as server, make_client(server, clock) as bardge:
            closed = asyncio.create_task(bardge.clients.get_credits("c"))
            await closer.arrived.wait()
            other = asyncio.create_task(bardge.clients.get_credits("c"))
            await run_loop_until(lambda: len(server.requests) == 2)
            closer.close_connections()
            await run_loop(turns)
            clock.advance(20)
            await asyncio.wait({closed, other}, timeout=5)
            assert [type(task.exception()) for task in (closed, other)] == [NoAnswerError, NoAnswerError]
        assert clock.pending_timers == 0

    async def main() -> None:
        for turns in range(TURNS):
            await expire_after(turns)

    run_in(main())


@pytest.mark.parametrize("tls", [False, True])
def test_a_disconnected_connection_leaves_the_pool(run_in: RunIn, tls: bool) -> None:
    """After a disconnect nothing is left for a ResourceWarning or the loop's exception handler; the error names it."""

    async def main() -> None:
        told: list[str] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(str(context["message"])))
        authority = Authority() if tls else None
        server = ScriptedServer(cut(), tls=None if authority is None else authority.server)
        trusted = None if authority is None else authority.make_client_context()
        async with server, BardgeClient("key", server.base_url, retry=ONCE, ssl=trusted) as bardge:
            for _ in range(TURNS):
                with pytest.raises(NoAnswerError, match=": ServerDisconnectedError"):
                    await bardge.clients.get_credits("c")
            gc.collect()
        assert told == []

    run_in(main())


class _FailingTask(asyncio.Task[None]):
    """A task that cannot be cancelled."""

    def cancel(self, msg: object = None) -> bool:
        raise RuntimeError("cannot cancel")

    def end(self) -> None:
        super().cancel()  # pyright: ignore[reportUnknownMemberType] - typeshed's


async def test_a_failing_entry_stops_no_other() -> None:
    """An attempt that cannot be ended at its deadline keeps no other attempt of the shared timer from its own."""
    clock = ManualClock()
    async with ScriptedServer(hang()) as server, make_client(server, clock) as bardge:

        async def call() -> None:
            await bardge.clients.get_credits("c")

        stuck = _FailingTask(call(), loop=asyncio.get_running_loop())
        others = [asyncio.create_task(call()) for _ in range(2)]
        await run_loop_until(lambda: len(server.requests) == 3)
        clock.advance(20)
        await asyncio.wait(others, timeout=5)
        assert [type(task.exception()) for task in others] == [NoAnswerError, NoAnswerError]
        stuck.end()
        await asyncio.wait({stuck})
