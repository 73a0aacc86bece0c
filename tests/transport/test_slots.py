"""Slots for requests: FIFO, bounded in time, and no waiter is left stuck."""

from __future__ import annotations

import asyncio

import pytest

from bardge_async import BardgeClient, PoolTimeoutError, RetryPolicy, Timeouts
from bardge_async._limits.connections import ConnectionSlots
from bardge_async.testing import ManualClock
from tests.support.clock import PausedClock
from tests.support.loop import run_loop
from tests.support.net import BALANCE
from tests.support.server import ScriptedServer, hang, reply


async def test_first_come_first_served() -> None:
    """Waiters get their slots in the order in which they came."""
    lane, order = ConnectionSlots(1, PausedClock()).call_started(), list[int]()
    assert lane.try_acquire()

    async def wait_for_slot(number: int) -> None:
        await lane.acquire(60)
        order.append(number)
        lane.release()

    tasks = [asyncio.create_task(wait_for_slot(number)) for number in range(5)]
    await run_loop(10)
    lane.release()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]


async def test_timeout_on_the_injected_clock() -> None:
    """A call that times out waiting for a slot ends as PoolTimeoutError, not sent."""
    clock = PausedClock()
    options = {"max_connections": 1, "timeout": Timeouts(pool=7), "retry": RetryPolicy(max_attempts=1), "clock": clock}
    async with ScriptedServer(hang()) as server, BardgeClient("key", server.base_url, **options) as bardge:  # type: ignore[arg-type]
        first = asyncio.create_task(bardge.clients.get_credits("c"))
        await run_loop(10)
        second = asyncio.create_task(bardge.clients.get_credits("c"))
        await run_loop(10)
        clock.advance(6.5)
        await run_loop(10)
        assert not second.done()
        clock.advance(1)
        with pytest.raises(PoolTimeoutError) as caught:
            await second
        first.cancel()
        await asyncio.wait({first})
    assert (caught.value.sent, caught.value.timed_out) == (False, True)


@pytest.mark.parametrize("granted", [False, True])
async def test_a_cancelled_waiter_leaves_nobody_stuck(granted: bool) -> None:
    """A waiter that is cancelled while queued, or just as it gets its slot, passes the slot on."""
    lane = ConnectionSlots(1, PausedClock()).call_started()
    assert lane.try_acquire()
    gone, next_one = (asyncio.create_task(lane.acquire(60)) for _ in range(2))
    await run_loop(10)
    if granted:
        lane.release()
        gone.cancel()
    else:
        gone.cancel()
        lane.release()
    await asyncio.wait({gone})
    await next_one
    assert gone.cancelled()


async def test_no_more_connections_than_allowed() -> None:
    """However many calls there are, the server sees no more connections than max_connections."""
    async with (
        ScriptedServer(reply(200, BALANCE)) as server,
        BardgeClient("key", server.base_url, max_connections=3, clock=ManualClock()) as bardge,
    ):
        await asyncio.gather(*[bardge.clients.get_credits("c") for _ in range(30)])
    assert server.connections <= 3


async def test_each_waits_for_its_own_time() -> None:
    """Queued waiters leave when their own time is up, in any order, and leave no timer behind."""
    clock = PausedClock()
    lane = ConnectionSlots(1, clock).call_started()
    assert lane.try_acquire()
    patient, hasty = (asyncio.create_task(lane.acquire(seconds)) for seconds in (60, 5))
    await run_loop(10)
    clock.advance(6)
    await run_loop(10)
    assert (hasty.done(), patient.done(), clock.pending_timers) == (True, False, 1)
    clock.advance(60)
    assert (await hasty, await patient, clock.pending_timers) == (False, False, 0)
    lane.release()
    assert lane.try_acquire()
