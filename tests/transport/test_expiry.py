"""An attempt's time limit ends the attempt alone: a cancellation from outside comes first, and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Final

import anyio
import pytest

from bardge_async import BardgeClient, ConnectError, NoAnswerError, RetryPolicy, Timeouts
from bardge_async.testing import ManualClock
from tests.support.clock import SuspendableClock
from tests.support.net import BALANCE
from tests.support.server import ScriptedServer, hang, reply

pytestmark = pytest.mark.usefixtures("both_ways")

ONCE: Final = RetryPolicy(max_attempts=1)
LIMITS: Final = Timeouts(total=60, attempt=20, connect=5)


def make_client(server: ScriptedServer, clock: ManualClock) -> BardgeClient:
    return BardgeClient("key", server.base_url, retry=ONCE, clock=clock, timeout=LIMITS)


@pytest.mark.parametrize("steps", [(20.0,), (5.0, 15.0), (4.0, 1.0, 14.9, 0.1)])
async def test_the_time_limit_counts_from_the_begin(steps: tuple[float, ...]) -> None:
    """Whether time passes in small steps or in one, the attempt ends when its whole time is up, not before."""
    clock, reached = ManualClock(), anyio.Event()
    async with ScriptedServer(hang(reached)) as server, make_client(server, clock) as bardge:
        task = asyncio.create_task(bardge.clients.get_credits("c"))
        await reached.wait()
        for seconds in steps:
            await asyncio.sleep(0)
            assert not task.done()
            clock.advance(seconds)
        with pytest.raises(NoAnswerError) as caught:
            await task
        assert caught.value.timed_out
        assert task.cancelling() == 0
    assert clock.pending_timers == 0


async def test_a_good_answer_leaves_no_timer() -> None:
    """The one timer of an attempt ends with it."""
    clock = ManualClock()
    async with ScriptedServer(reply(200, BALANCE)) as server, make_client(server, clock) as bardge:
        await bardge.clients.get_credits("c")
        assert clock.pending_timers == 0


def _cancel_task_first(task: asyncio.Task[object], clock: ManualClock) -> None:
    task.cancel()
    clock.advance(20)


def _expire_limit_first(task: asyncio.Task[object], clock: ManualClock) -> None:
    clock.advance(20)
    task.cancel()


@pytest.mark.parametrize("both", [_cancel_task_first, _expire_limit_first])
async def test_cancelling_the_task_wins(both: Callable[[asyncio.Task[object], ManualClock], None]) -> None:
    """A task that is cancelled in the same turn in which the time is up is cancelled."""
    clock, reached = ManualClock(), anyio.Event()
    async with ScriptedServer(hang(reached)) as server, make_client(server, clock) as bardge:
        task: asyncio.Task[object] = asyncio.create_task(bardge.clients.get_credits("c"))
        await reached.wait()
        both(task, clock)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


@pytest.mark.parametrize("scope_first", [True, False])
async def test_a_scope_around_wins(scope_first: bool) -> None:
    """An anyio scope that is cancelled in the same turn ends the block; the task continues, uncancelled."""
    clock, reached = ManualClock(), anyio.Event()
    async with ScriptedServer(hang(reached)) as server, make_client(server, clock) as bardge:
        scope = anyio.CancelScope()

        async def run_call() -> tuple[bool, int]:
            with scope:
                await bardge.clients.get_credits("c")
            await asyncio.sleep(0)
            current = asyncio.current_task()
            assert current is not None
            return scope.cancelled_caught, current.cancelling()

        task = asyncio.create_task(run_call())
        await reached.wait()
        if scope_first:
            scope.cancel()
        clock.advance(20)
        scope.cancel()
        assert await task == (True, 0)


async def test_a_timeout_around_wins() -> None:
    """asyncio's own timeout around a call raises its own error."""
    clock, reached = ManualClock(), anyio.Event()
    async with ScriptedServer(hang(reached)) as server, make_client(server, clock) as bardge:

        async def run_call() -> None:
            async with asyncio.timeout(None) as around:
                around_ready.set_result(around)
                await bardge.clients.get_credits("c")

        around_ready: asyncio.Future[asyncio.Timeout] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run_call())
        await reached.wait()
        (await around_ready).reschedule(asyncio.get_running_loop().time() - 1)
        # The timeout fires in the next turn, in which the attempt's time is up too.
        asyncio.get_running_loop().call_soon(clock.advance, 20)
        with pytest.raises(TimeoutError):
            await task
        assert task.cancelling() == 0


async def test_an_earlier_cancellation_is_not_counted() -> None:
    """In a task that has swallowed a cancellation before, the time limit is still an error of ours."""
    clock, reached = ManualClock(), anyio.Event()
    async with ScriptedServer(hang(reached)) as server, make_client(server, clock) as bardge:

        async def run_call() -> int:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            with pytest.raises(NoAnswerError):
                await bardge.clients.get_credits("c")
            current = asyncio.current_task()
            assert current is not None
            return current.cancelling()

        task = asyncio.create_task(run_call())
        await asyncio.sleep(0)
        task.cancel()
        await reached.wait()
        clock.advance(20)
        assert await task == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
async def test_eager_tasks() -> None:
    """A call that starts eagerly, inside another task's step, is ended by its own limit alone."""
    clock, reached = ManualClock(), anyio.Event()
    async with ScriptedServer(hang(reached)) as server, make_client(server, clock) as bardge:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - unknown to a checker on 3.11
        task = loop.create_task(bardge.clients.get_credits("c"))
        loop.set_task_factory(None)
        await reached.wait()
        clock.advance(20)
        with pytest.raises(NoAnswerError):
            await task


class StallingClock(SuspendableClock):
    """The process stalls before each reading of the clock; no timer fires."""

    stall = 0.0

    def elapsed(self) -> float:
        self.suspend(self.stall)
        return super().elapsed()


async def test_nothing_is_written_after_a_stall() -> None:
    """If the process stalls until the connect time is over, nothing is written on the new connection."""
    clock = StallingClock()
    async with ScriptedServer(reply(200, BALANCE)) as server, make_client(server, clock) as bardge:
        clock.stall = 6.0
        with pytest.raises(ConnectError) as caught:
            await bardge.clients.get_credits("c")
        assert not caught.value.sent
        assert server.requests == []


async def test_one_timer_for_many_attempts() -> None:
    """Attempts share a timer, and each ends at its own time."""
    clock = ManualClock()
    async with ScriptedServer(hang(), hang()) as server, make_client(server, clock) as bardge:
        hasty = bardge.with_options(timeout=Timeouts(total=60, attempt=7, connect=5))
        patient, short = (asyncio.create_task(one.clients.get_credits("c")) for one in (bardge, hasty))
        while len(server.requests) < 2:  # noqa: ASYNC110 - waits for turns of the loop
            await asyncio.sleep(0)
        assert clock.pending_timers == 1
        clock.advance(7)
        await asyncio.wait({short})
        assert not patient.done()
        clock.advance(13)
        done, _ = await asyncio.wait({patient})
        assert [type(task.exception()) for task in (short, *done)] == [NoAnswerError, NoAnswerError]
    assert clock.pending_timers == 0
