"""Clocks that jump: the age of a key is the largest that any clock shows."""

from __future__ import annotations

import datetime as dt
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bardge_async import BardgeClient, ClockReading, MemoryJournal, ReplayWindow, RetryPolicy, UpdateIssuedPass, errors
from bardge_async._core.entry import WallLog
from bardge_async._core.window import History, key_age, proven_age, seconds_left
from bardge_async._runtime.clock import ClockReader
from tests.support.calls import fail_to_buy
from tests.support.clock import SuspendableClock
from tests.support.rig import AT_ONCE, PURCHASE, Rig, open_rig
from tests.support.server import cut, reply

BOUGHT = reply(201, {"balance": 5})
ONE = RetryPolicy(max_attempts=1, base=0)
HOUR = 3600.0
FIRST = ClockReading(1_780_000_000.0, 1000.0, 1_780_000_000.0)


def jump_elapsed(clock: SuspendableClock, seconds: float) -> None:
    """Move the boot-time clock alone, as when the wall clock is set back during a suspension."""
    clock.suspend(seconds)
    clock.jump_wall(-seconds)


def make_reading(
    wall: float = 0.0, elapsed: float = 0.0, *, seen: tuple[float, float] | None = None, boot: str = ""
) -> ClockReading:
    """Return a reading after the first send; ``seen`` is an earlier and higher one, by elapsed and wall time."""
    peaks = () if seen is None else ((FIRST.elapsed + seen[0], FIRST.wall + seen[1]),)
    highest = max(wall, 0.0 if seen is None else seen[1], 0.0)
    return ClockReading(FIRST.wall + wall, FIRST.elapsed + elapsed, FIRST.wall + highest, boot, peaks=peaks)


# Pure.


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (make_reading(), 0),
        (make_reading(30, 30), 30),
        (make_reading(-HOUR, 30), 30),
        (make_reading(HOUR, 30), HOUR),
        (make_reading(30, HOUR), HOUR),
        (make_reading(-HOUR, 30, seen=(20, 50)), 50),
        (make_reading(-HOUR, 0, seen=(0, HOUR)), HOUR),
        (make_reading(20, 20, seen=(10, HOUR)), HOUR),
        (make_reading(-HOUR, 0), 0),
        (make_reading(20, 20, seen=(-1, HOUR)), 20),
        (make_reading(20, -900, boot="another"), 20),
        (make_reading(20, 900, boot="another"), 20),
        (make_reading(-1, -900, boot="another"), math.inf),
        (make_reading(20, -900, boot="another", seen=(-1, HOUR)), math.inf),
        (make_reading(20, -900), 20),
        (make_reading(-1, -900), math.inf),
    ],
    ids=[
        "immediately",
        "in step",
        "back",
        "forward",
        "slept",
        "back after 50 s",
        "there and back",
        "forward once",
        "only back",
        "forward before the first send",
        "rebooted",
        "rebooted long ago",
        "rebooted and back",
        "rebooted and below one on record",
        "snapshot restored",
        "snapshot restored and back",
    ],
)
def test_age(now: ClockReading, seconds: float) -> None:
    """The age of a key is that of the clock that shows the most."""
    assert key_age(FIRST, now) == seconds


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (make_reading(30, 40), 30),
        (make_reading(HOUR, 30), 30),
        (make_reading(-HOUR, 30), -HOUR),
        (make_reading(HOUR, 5, boot="another"), HOUR),
        (make_reading(30, 5, boot="another", seen=(-1, HOUR)), -math.inf),
    ],
    ids=["in step", "forward", "back", "rebooted", "rebooted and below one on record"],
)
def test_proven_age(now: ClockReading, seconds: float) -> None:
    """That time has passed is proved by the clock that shows least: a wrong one must not prove that nothing happened."""
    assert proven_age(FIRST, now) == seconds


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_logs_merge_in_any_order(order: tuple[int, ...]) -> None:
    """Whatever the order in which processes exchange what they read, a key counts what was read since its first send."""
    readings = [(10.0, 500.0), (20.0, 900.0), (30.0, 100.0)]
    log = WallLog()
    for number in order:
        other = WallLog()
        other.add(readings[number][1], readings[number][0], "")
        log.merge(other)
    assert log.peaks == {"": ((20.0, 900.0), (30.0, 100.0))}
    assert log.highest == 900.0


def test_log_is_bounded() -> None:
    """However often the wall clock falls, a log keeps 16 peaks of each of four boots, and no key gets younger."""
    log, exact = WallLog(), ClockReading(0.0, 50.0, 1e6, "b5")
    for boot in range(6):
        for step in range(100):
            log.add(1e6 - step * step, float(step), f"b{boot}")
    assert {boot: len(peaks) for boot, peaks in log.peaks.items()} == {f"b{n}": 16 for n in range(2, 6)}
    now = ClockReading(1e6 - 99**2, 99.0, 1e6, "b5", peaks=log.peaks["b5"])
    assert key_age(exact, now) >= 1e6 - 50 * 50


@pytest.mark.parametrize(("elapsed", "seconds"), [(0, 80), (30, 50), (80, 0), (90, -10)])
def test_left(elapsed: float, seconds: float) -> None:
    """What is left of a window is its length, less margin and age."""
    assert seconds_left(ReplayWindow(), History(first_sent=FIRST), make_reading(elapsed, elapsed)) == seconds


def test_no_window() -> None:
    """Before the first send no window has started."""
    assert seconds_left(ReplayWindow(), History(), make_reading()) is None


jumps = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e3)), max_size=20)


@given(jumps)
@settings(max_examples=200, deadline=None)
def test_age_never_shrinks(steps: list[tuple[float, float]]) -> None:
    """However the wall clock jumps, a key never gets younger, nor younger than the boot-time clock shows."""
    clock = SuspendableClock()
    watch = ClockReader(clock)
    first = watch.now()
    last = 0.0
    for wall, elapsed in steps:
        clock.jump_wall(wall)
        jump_elapsed(clock, elapsed)
        now = watch.now()
        assert key_age(first, now) >= max(last, now.elapsed - first.elapsed)
        last = key_age(first, now)


def test_instants_are_aware() -> None:
    """An instant of the wall clock is aware UTC."""
    assert FIRST.to_datetime().tzinfo is dt.UTC


# Through a client.


async def enter_again(it: Rig) -> str:
    """Enter the key in doubt once more; return ``sent``, or the name of the error without a request."""
    before = it.request_count
    try:
        await it.bardge.send("credits.purchase", request=PURCHASE, key="order-1")
    except errors.BardgeError as error:
        assert it.request_count == before
        return type(error).__name__
    return "sent" if it.request_count > before else "recorded"


@pytest.mark.parametrize(
    ("wall", "elapsed", "verdict"),
    [
        (0, 30, "sent"),
        (-HOUR, 30, "sent"),
        (-HOUR, 85, "OutcomeUnknownError"),
        (-86_400, 91, "OutcomeUnknownError"),
        (HOUR, 1, "OutcomeUnknownError"),
        (-85, 85, "OutcomeUnknownError"),
        (0, 8 * HOUR, "OutcomeUnknownError"),
    ],
)
async def test_jump_between_calls(wall: float, elapsed: float, verdict: str) -> None:
    """A wall clock that was set back never reopens a window; one set forward closes it."""
    clock = SuspendableClock()
    async with open_rig(cut(), BOUGHT, clock=clock, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        clock.advance(elapsed)
        clock.jump_wall(wall)
        assert await enter_again(it) == verdict


async def test_forward_and_back() -> None:
    """A wall clock that jumped forward, was seen, and jumped back leaves the window closed."""
    async with open_rig(cut(), reply(200, {"balance": 1}), BOUGHT, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        it.clock.jump_wall(HOUR)
        await it.bardge.clients.get_credits("c")
        await fail_to_buy(it.bardge)
        it.clock.jump_wall(-HOUR)
        assert await enter_again(it) == "OutcomeUnknownError"


async def test_machine_that_slept() -> None:
    """A machine that was suspended through the window sends nothing when it resumes."""
    clock = SuspendableClock()
    async with open_rig(cut(), BOUGHT, clock=clock, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        clock.suspend(600)
        assert await enter_again(it) == "OutcomeUnknownError"


async def test_machine_that_slept_with_its_wall_clock_set_back() -> None:
    """The boot-time clock alone shows the suspension."""
    clock = SuspendableClock()
    async with open_rig(cut(), BOUGHT, clock=clock, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        jump_elapsed(clock, 600)
        assert await enter_again(it) == "OutcomeUnknownError"


class JumpingClock(SuspendableClock):
    """A clock that jumps while a call waits before its next attempt."""

    wall_jump = 0.0
    elapsed_jump = 0.0

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        self.jump_wall(self.wall_jump)
        jump_elapsed(self, self.elapsed_jump)


@pytest.mark.parametrize(
    ("wall", "elapsed", "sent"),
    [(-HOUR, 0, 2), (HOUR, 0, 1), (-HOUR, 50, 2), (0, 79.5, 1), (-HOUR, 100, 1)],
    ids=["back", "forward", "back and slept short", "slept", "back and slept long"],
)
async def test_jump_while_a_call_waits(wall: float, elapsed: float, sent: int) -> None:
    """The window is checked right before each send: jumps during the wait count."""
    clock = JumpingClock()
    clock.wall_jump, clock.elapsed_jump = wall, elapsed
    async with open_rig(cut(), BOUGHT, clock=clock, retry=AT_ONCE) as it:
        if sent == 1:
            assert isinstance(await fail_to_buy(it.bardge), errors.OutcomeUnknownError)
        else:
            await it.bardge.send("credits.purchase", request=PURCHASE, key="order-1")
    assert it.request_count == sent


async def test_jump_does_not_lengthen_a_call() -> None:
    """Deadlines are counted by the boot-time clock: a wall clock set back gives a call no more time."""
    clock = JumpingClock()
    clock.wall_jump = -HOUR
    begun = clock.elapsed()
    async with open_rig(cut(), clock=clock, retry=RetryPolicy(base=8, max_attempts=100), timeout=20) as it:
        assert isinstance(await fail_to_buy(it.bardge), errors.OutcomeUnknownError)
    assert clock.elapsed() - begun <= 20


async def test_same_row_past_the_window_by_any_clock() -> None:
    """An endpoint that sets an absolute state is retried whatever the clocks show."""
    clock = JumpingClock()
    clock.wall_jump = HOUR
    async with open_rig(cut(), cut(), reply(200, {"object": "issued_pass"}), clock=clock) as it:
        await it.bardge.passes.update(UpdateIssuedPass(client_id="c"))
    assert it.request_count == 3


async def test_refused_key_and_a_jump() -> None:
    """A wall clock set back does not keep a refused key bound beyond its 90 s and the margin."""
    async with open_rig(reply(400, {"error": {"type": "invalid_request_error"}}), BOUGHT) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(101)
        it.clock.jump_wall(-HOUR)
        await it.bardge.request("POST", "/credit_purchases", request={}, key="order-1")
    assert it.request_count == 2


async def test_another_client_over_the_journal() -> None:
    """A client that never saw the high wall time still counts by the boot-time clock."""
    journal = MemoryJournal()
    async with open_rig(cut(), retry=ONE, journal=journal) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(85)
        it.clock.jump_wall(-HOUR)
        async with BardgeClient("key", it.server.base_url, journal=journal, clock=it.clock, retry=ONE) as other:
            assert isinstance(await fail_to_buy(other), errors.OutcomeUnknownError)
    assert it.request_count == 1


async def test_told_times_are_the_wall_clock() -> None:
    """``first_sent_at`` and ``window_closes_at`` are those of the first send, whatever the clock did since."""
    async with open_rig(cut(), retry=ONE) as it:
        begun = dt.datetime.fromtimestamp(it.clock.wall(), dt.UTC)
        await fail_to_buy(it.bardge)
        it.clock.advance(100)
        it.clock.jump_wall(-HOUR)
        error = await fail_to_buy(it.bardge)
    assert isinstance(error, errors.OutcomeUnknownError)
    assert (error.first_sent_at, error.window_closes_at) == (begun, begun + dt.timedelta(seconds=90))
