"""Permits of event loops over one slot store: how many per second, in what order, and which errors."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_left
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bardge_async._limits.permits import ClockOffset
from bardge_async.errors import ThrottledError
from tests.limiter.store import RATE, Fleet, make_fleet


@asynccontextmanager
async def run_fleet(loops: int = 1, rate: float = RATE, delay: float = 0.0) -> AsyncGenerator[Fleet]:
    it = make_fleet(loops, rate, delay)
    try:
        yield it
    finally:
        await it.aclose()


def count_fullest_second(times: Sequence[float]) -> int:
    """Return the largest count of times within one second."""
    return max((bisect_left(times, at + 1.0 - 1e-9) - place for place, at in enumerate(times)), default=0)


async def get_failure(task: asyncio.Task[None]) -> ThrottledError:
    """Return the error of a waiter that must have failed by now."""
    assert task.done()
    with pytest.raises(ThrottledError) as caught:
        await task
    return caught.value


@settings(max_examples=25, deadline=None)
@given(
    rate=st.sampled_from([2.0, 10.0, 50.0, 200.0, 1000.0]),
    waiters=st.lists(st.integers(1, 60), min_size=1, max_size=4),
    steps=st.lists(st.floats(0.001, 0.12), min_size=20, max_size=60),
    delay=st.sampled_from([0.0, 0.004, 0.05]),
)
def test_no_second_has_too_many(rate: float, waiters: list[int], steps: list[float], delay: float) -> None:
    """However late loops wake up and however slow the store, a second has at most the rate and 3 % or one more."""
    got = asyncio.run(run_schedule(rate, waiters, steps, delay))
    assert count_fullest_second(got) <= rate + max(1, 0.03 * rate)


# In milliseconds: the loops learn the store's clock through round trips of 30 to 130, and misjudge it differently.
UNEVEN = (
    "62.5 62.5 7.8125 62.5 62.5 109.375 46.875 15.625 15.625 15.625 78.125 31.25 62.5 62.5 93.75 78.125 78.125 109.375"
    " 117.1875 46.875 15.625 15.625 15.625 23.4375 93.75 62.5 62.5 62.5 62.5 62.5 62.5 62.5 62.5 62.5 62.5 62.5 109.375"
    " 109.375 31.25 31.25 15.625"
)


async def test_loops_that_misjudge_the_clock() -> None:
    """Loops whose ideas of the store's clock differ do not crowd their slots into one second."""
    got = await run_schedule(10.0, [1, 2, 1], [float(step) / 1000 for step in UNEVEN.split()], 0.004)
    assert count_fullest_second(got) <= 11


async def run_schedule(rate: float, waiters: list[int], steps: list[float], delay: float) -> list[float]:
    """Advance loops with so many waiters each in steps; return when permits were granted."""
    async with run_fleet(len(waiters), rate, delay) as it:
        for loop, count in zip(it.loops, waiters, strict=True):
            for _ in range(count):
                loop.keep_acquiring()
        await it.settle()
        for step in steps:
            it.clock.advance(step)
            await it.settle()
        return it.got


@pytest.mark.parametrize("delay", [0.0, 0.03])
async def test_all_of_the_rate_is_used(delay: float) -> None:
    """Loops that always have something to send share the whole rate equally."""
    async with run_fleet(3, delay=delay) as it:
        for loop in it.loops:
            for _ in range(20):
                loop.keep_acquiring()
        await it.advance_in_steps(1)
        before = [len(loop.got) for loop in it.loops]
        await it.advance_in_steps(3)
        used = [len(loop.got) - count for loop, count in zip(it.loops, before, strict=True)]
    assert sum(used) >= 0.97 * 3 * RATE
    assert max(used) <= 1.15 * sum(used) / 3
    assert min(used) >= 0.85 * sum(used) / 3


async def test_one_loop_alone_uses_all() -> None:
    """A loop whose neighbours are idle gets the whole rate."""
    async with run_fleet(2) as it:
        for _ in range(20):
            it.first.keep_acquiring()
        await it.advance_in_steps(2)
    assert len(it.got) == pytest.approx(400, abs=4)


async def test_first_come_first_served() -> None:
    """Permits are granted in the order of the requests."""
    async with run_fleet(rate=10) as it:
        tasks = [it.first.start_waiting() for _ in range(4)]
        await it.advance_in_steps(0.15, 0.05)
        assert [task.done() for task in tasks] == [True, True, False, False]


async def test_idle_time_is_not_saved_up() -> None:
    """After a pause permits have their usual spacing."""
    async with run_fleet(rate=10) as it:
        it.first.start_waiting()
        await it.advance_in_steps(60, 10)
        for _ in range(3):
            it.first.start_waiting()
        await it.advance_in_steps(0.25, 0.01)
    assert it.got == pytest.approx([1000, 1060, 1060.1, 1060.2], abs=0.011)


async def test_missed_slots_lapse() -> None:
    """A loop that was busy for a second sends what is due now, not what it missed."""
    async with run_fleet() as it:
        for _ in range(100):
            it.first.start_waiting()
        await it.advance_in_steps(0.05)
        before = len(it.got)
        it.clock.advance(1)
        await it.settle()
    assert len(it.got) - before <= 0.03 * RATE + 1


async def test_slow_loop_at_a_low_rate() -> None:
    """A loop that always wakes up late still gets its permits at a low rate."""
    async with run_fleet(rate=1) as it:
        it.first.keep_acquiring()
        await it.advance_in_steps(10, 0.4)
    assert len(it.got) >= 9


async def test_lone_caller_takes_one() -> None:
    """A single waiter takes a single slot."""
    async with run_fleet() as it:
        it.first.start_waiting()
        await it.settle()
    assert it.store.asked == [1]


async def test_many_callers_take_few_at_a_time() -> None:
    """However many wait, a loop takes 40 milliseconds' worth at a time, before its current slots are used up."""
    async with run_fleet() as it:
        for _ in range(500):
            it.first.start_waiting()
        await it.advance_in_steps(0.5)
    assert max(it.store.asked) == 8
    assert len(it.store.asked) <= 15


async def test_far_store() -> None:
    """A slow store is asked earlier, and for more."""
    async with run_fleet(delay=0.2) as it:
        for _ in range(200):
            it.first.keep_acquiring()
        await it.advance_in_steps(2)
        before = len(it.got)
        await it.advance_in_steps(2)
    assert len(it.got) - before >= 0.97 * 2 * RATE


async def test_lone_caller_and_far_store() -> None:
    """A slot from a slow store is due when it has arrived, not before."""
    async with run_fleet(delay=0.2) as it:
        for _ in range(5):
            it.first.start_waiting()
            await it.advance_in_steps(1)
    assert len(it.got) == 5


async def test_crowd() -> None:
    """If many loops share a rate each takes fewer slots at a time, so that a new one need not wait long."""
    async with run_fleet(60) as it:
        for loop in it.loops:
            for _ in range(10):
                loop.keep_acquiring()
        await it.advance_in_steps(1)
        late = it.first.start_waiting()
        await it.advance_in_steps(1)
        assert max(it.store.asked[-20:]) <= 3
    assert late.done()


async def test_cancelled_waiter_takes_no_slot() -> None:
    """A waiter that gives up leaves its place in the queue to the next."""
    async with run_fleet(rate=10) as it:
        it.first.start_waiting()
        gone, next_one = it.first.start_waiting(), it.first.start_waiting()
        await it.settle()
        gone.cancel()
        await it.advance_in_steps(0.15, 0.05)
        assert next_one.done()


async def test_turn_given_and_cancelled() -> None:
    """A permit whose waiter is cancelled as it is granted goes to the next one."""
    async with run_fleet(rate=10) as it:
        it.first.start_waiting()
        gone, next_one = it.first.start_waiting(), it.first.start_waiting()
        await it.settle()
        it.clock.advance(0.11)
        gone.cancel()
        await it.settle()
        assert gone.cancelled()
        assert next_one.done()


async def test_everyone_cancelled() -> None:
    """When no task waits any more, no task and no timer is left."""
    async with run_fleet(rate=10) as it:
        tasks = [it.first.start_waiting() for _ in range(5)]
        await it.settle()
        for task in tasks[1:]:
            task.cancel()
        await it.advance_in_steps(1, 0.1)
        assert it.clock.pending_timers == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_rate_used_up() -> None:
    """A waiter whose permit does not come within its timeout fails, and takes no slot."""
    async with run_fleet(rate=1) as it:
        it.first.start_waiting()
        late, last = it.first.start_waiting(0.5), it.first.start_waiting()
        await it.advance_in_steps(1.1, 0.1)
        error = await get_failure(late)
        assert last.done()
    assert (error.timed_out, error.retry_after) == (True, None)
    assert "1 per second is exhausted" in str(error)


async def test_far_slot_is_not_waited_for() -> None:
    """If the next free slot is beyond a caller's timeout, the caller fails immediately and the slot stays free."""
    async with run_fleet(2, rate=1) as it:
        for _ in range(9):
            it.first.start_waiting()
            await it.settle()
        taken = it.store.next = it.store.ahead + 1010
        late = it.loops[1].start_waiting(5)
        await it.settle()
        await get_failure(late)
        assert it.store.next == taken


# Holds.


async def test_hold_drops_slots_in_hand() -> None:
    """After a 429 no permit is granted for the time that it asked for, even to those already waiting."""
    async with run_fleet() as it:
        for _ in range(300):
            it.first.start_waiting()
        await it.advance_in_steps(0.1)
        it.first.scheduler.hold(2)
        before = len(it.got)
        await it.advance_in_steps(1.99, 0.005)
        assert len(it.got) == before
        await it.advance_in_steps(0.1)
        assert len(it.got) > before


async def test_hold_over_loops() -> None:
    """A 429 for one loop stops the others when they next ask for slots: within a quarter of a second."""
    async with run_fleet(2) as it:
        for loop in it.loops:
            for _ in range(20):
                loop.keep_acquiring()
        await it.advance_in_steps(0.5)
        begun = it.clock.elapsed()
        it.first.scheduler.hold(3)
        await it.advance_in_steps(3.5, 0.005)
    after = [at - begun for at in it.got if at > begun]
    assert [at for at in after if 0.25 < at < 3] == []
    assert max(after) >= 3


async def test_rate_after_a_hold() -> None:
    """When a hold ends permits have the same spacing as before."""
    async with run_fleet(2) as it:
        for loop in it.loops:
            for _ in range(50):
                loop.keep_acquiring()
        it.first.scheduler.hold(1)
        await it.advance_in_steps(3, 0.005)
    assert count_fullest_second(it.got) <= 1.03 * RATE


async def test_hold_longer_than_patience() -> None:
    """A caller whose timeout is shorter than a hold fails immediately, with the hold's length."""
    async with run_fleet(rate=1) as it:
        it.first.start_waiting()
        waiting = it.first.start_waiting(3)
        await it.settle()
        it.first.scheduler.hold(5)
        await it.settle()
        coming = it.first.start_waiting(3)
        await it.settle()
        found = [(await get_failure(task)).retry_after for task in (waiting, coming)]
    assert found == [5, 5]


async def test_shorter_hold() -> None:
    """A shorter hold does not shorten a longer one."""
    async with run_fleet() as it:
        it.first.scheduler.hold(5)
        it.first.scheduler.hold(1)
        task = it.first.start_waiting()
        await it.advance_in_steps(4.9, 0.1)
        assert not task.done()


async def test_hold_is_told_without_waiters() -> None:
    """A hold reaches the store even if no task waits for a permit, and after an outage of the store."""
    async with run_fleet(2) as it:
        it.store.away = "gone"
        it.first.scheduler.hold(9)
        await it.advance_in_steps(1, 0.1)
        it.store.away = ""
        await it.advance_in_steps(1, 0.1)
        task = it.loops[1].start_waiting(1)
        await it.settle()
        assert (await get_failure(task)).retry_after == pytest.approx(7)


# A store that fails.


async def test_store_away(caplog: pytest.LogCaptureFixture) -> None:
    """Without the store no permit is granted; a waiter times out with the reason, and the log has it once."""
    async with run_fleet() as it:
        it.store.away = "connection refused"
        task = it.first.start_waiting(5)
        await it.advance_in_steps(4.9, 0.1)
        assert not task.done()
        await it.advance_in_steps(0.2, 0.1)
        error = await get_failure(task)
        await it.advance_in_steps(2, 0.1)
        assert it.clock.pending_timers == 0
    assert "cannot be reached, start it or check dsn=: connection refused" in str(error)
    assert len(caplog.records) == 1


async def test_store_back() -> None:
    """When the store is back, those still waiting get permits within a second."""
    async with run_fleet() as it:
        it.store.away = "connection refused"
        task = it.first.start_waiting(60)
        await it.advance_in_steps(30, 0.1)
        it.store.away = ""
        await it.advance_in_steps(1.1, 0.1)
        assert task.done()
    assert len(it.got) == 1


async def test_slots_in_hand_during_an_outage() -> None:
    """During an outage of the store nothing is sent without a slot."""
    async with run_fleet() as it:
        for _ in range(40):
            it.first.start_waiting()
        await it.settle()
        granted = sum(it.store.asked)
        it.store.away = "gone"
        await it.advance_in_steps(2, 0.005)
    assert len(it.got) <= granted


async def test_store_refuses() -> None:
    """A permanent refusal by the store fails each waiter immediately, with an error of its own."""
    async with run_fleet() as it:
        it.store.refuses = "permission denied"
        tasks = [it.first.start_waiting(), it.first.start_waiting()]
        await it.settle()
        found = [await get_failure(task) for task in tasks]
    assert [str(error) for error in found] == ["permission denied"] * 2
    assert found[0] is not found[1]


async def test_closed() -> None:
    """Closing rejects all waiters."""
    async with run_fleet(rate=1) as it:
        it.first.start_waiting()
        waiting = it.first.start_waiting()
        await it.settle()
        await it.first.scheduler.aclose()
        await it.settle()
        assert "closed" in str(await get_failure(waiting))


# The store's clock.


def test_offset_lies_between() -> None:
    """A server's time is known to within half of the fastest round trip."""
    offset = ClockOffset()
    offset.add_sample(10.0, 11.0, 510.9)
    offset.add_sample(20.0, 20.2, 520.1)
    offset.add_sample(21.0, 22.0, 521.9)
    assert offset.to_local(530.0) == pytest.approx(30.0, abs=0.1)


def test_offset_of_a_set_clock() -> None:
    """A server clock that was set is followed."""
    offset = ClockOffset()
    offset.add_sample(10.0, 10.2, 510.1)
    offset.add_sample(20.0, 20.2, 120.1)
    assert offset.to_local(130.0) == pytest.approx(30.0)


def test_offset_of_a_drifting_clock() -> None:
    """A server clock that runs slightly fast stays known."""
    offset = ClockOffset()
    for second in range(10_000):
        offset.add_sample(second, second + 0.01, (second + 0.005) * 1.0002 + 500)
    assert offset.to_local(10_000 * 1.0002 + 500) == pytest.approx(10_000, abs=0.01)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_store_whose_clock_is_set(jump: float) -> None:
    """A server's clock that was set has no effect once its slots have moved with it."""
    async with run_fleet() as it:
        for _ in range(10):
            it.first.keep_acquiring()
        await it.advance_in_steps(1, 0.005)
        it.store.ahead += jump
        it.store.next += jump
        it.store.held += jump
        before = len(it.got)
        await it.advance_in_steps(1, 0.005)
    assert len(it.got) - before >= 180
    assert math.isclose(count_fullest_second(it.got), RATE, rel_tol=0.03)
