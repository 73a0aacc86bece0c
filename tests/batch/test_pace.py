"""How fast batches send: by what the server can handle, and by a rate."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bardge_async import AttemptStarted, Event, RetryPolicy
from bardge_async._limits.pacing import AdaptiveLimit, GcraRate
from bardge_async.testing import ManualClock
from tests.batch.operations import collect_outcomes, make_purchases
from tests.support.clock import PausedClock
from tests.support.loop import run_loop_until
from tests.support.rig import advance_then, open_rig
from tests.support.server import Received, error, reply


class Load:
    """A pacer and a server that answers in whole rounds: as many requests as allowed, all with the same latency."""

    def __init__(self, most: int = 1000) -> None:
        self.pacer = AdaptiveLimit()
        self.pacer.add_batch(most)
        self.now = 1000.0

    def play_round(self, seconds: float, *, running: int | None = None) -> int:
        """Play one round; return the limit after it."""
        count = int(self.pacer.limit)
        self.pacer.running = count if running is None else running
        self.now += seconds
        for _ in range(count):
            self.pacer.observe(False, started_at=self.now - seconds, seconds=seconds)
        return int(self.pacer.limit)

    def report_strain(self, begun: float | None = None) -> int:
        """Report one sign of overload; return the limit after it."""
        self.pacer.observe(True, started_at=self.now if begun is None else begun, seconds=0.1)
        return int(self.pacer.limit)


def test_begins_small() -> None:
    """A client starts with 16 concurrent requests, however many are allowed."""
    assert Load(1000).pacer.limit == 16


def test_never_above_what_was_asked_for() -> None:
    """The limit starts no higher than allowed, and never exceeds it."""
    load = Load(20)
    assert [load.play_round(0.1) for _ in range(3)] == [20, 20, 20]
    assert Load(3).pacer.limit == 3


def test_doubles_while_latency_is_flat() -> None:
    """Until the first sign of overload the limit doubles with every round that is as fast as before."""
    load = Load()
    assert [load.play_round(0.1) for _ in range(4)] == [32, 64, 128, 256]


def test_stays_when_latency_rises() -> None:
    """The limit does not grow while latency rises and throughput does not."""
    load = Load()
    load.play_round(0.1)
    assert [load.play_round(0.3), load.play_round(0.3)] == [32, 32]


def test_grows_while_more_comes_through() -> None:
    """The limit grows while throughput rises, even if latency does too."""
    load = Load()
    load.play_round(0.1)
    assert load.play_round(0.16) == 64


def test_grows_while_answers_are_quick() -> None:
    """Latency within 20 ms is no overload, whatever the best latency was."""
    load = Load()
    load.play_round(0.001)
    assert load.play_round(0.019) == 64


def test_does_not_grow_unused() -> None:
    """A limit that is not used does not grow."""
    load = Load()
    assert load.play_round(0.1, running=3) == 16


def test_halves() -> None:
    """A sign of overload halves the limit, down to one."""
    load = Load()
    limits: list[int] = []
    for _ in range(5):
        load.now += 1
        limits.append(load.report_strain())
    assert limits == [8, 4, 2, 1, 1]


def test_halves_once_for_all_under_way() -> None:
    """Requests that were in flight when the limit was halved do not halve it again."""
    load = Load()
    before = load.now
    assert [load.report_strain(before), load.report_strain(before), load.report_strain(before)] == [8, 8, 8]
    assert load.pacer.backoffs == 1


def test_adds_after_strain() -> None:
    """After the first sign of overload the limit grows by one per round."""
    load = Load()
    load.report_strain()
    load.now += 1
    assert [load.play_round(0.1) for _ in range(3)] == [9, 10, 11]


def test_slower_for_good() -> None:
    """A permanently slower server becomes the new baseline."""
    load = Load()
    load.play_round(0.1)
    assert max(load.play_round(0.2) for _ in range(60)) > 32


@pytest.mark.parametrize("step", [error(429), error(503, "api_error")])
async def test_strained_server(step: Any) -> None:
    """A 429 or a 503 halves the concurrency, and the batch reports it."""
    async with open_rig(step, reply(), retry=RetryPolicy(base=0)) as it:
        batch = it.bardge.batch(make_purchases(1), job="j")
        await collect_outcomes(batch)
        assert (batch.pace.limit, batch.pace.backoffs) == (8, 1)


async def test_timeout_is_strain() -> None:
    """An attempt that times out halves the concurrency."""
    clock = ManualClock()
    async with open_rig(advance_then(clock, 21), reply(), clock=clock) as it:
        batch = it.bardge.batch(make_purchases(1), job="j")
        await collect_outcomes(batch)
        assert (batch.pace.limit, batch.pace.backoffs) == (8, 1)


async def test_refusals_are_no_strain() -> None:
    """A request that the API rejects says nothing about its load."""
    async with open_rig(error(404, "invalid_request_error")) as it:
        batch = it.bardge.batch(make_purchases(10), job="j")
        await collect_outcomes(batch)
        assert batch.pace.backoffs == 0


async def test_calls_beside_a_batch_count() -> None:
    """A 429 for any call of the client halves its batches' limit."""
    async with open_rig(error(429), reply(), retry=RetryPolicy(max_attempts=1)) as it:
        batch = it.bardge.batch(iter(make_purchases(2)), job="j", concurrency=1)
        found = aiter(batch)
        await anext(found)
        assert batch.pace.backoffs == 1
        await found.aclose()


async def test_batches_of_a_client_share() -> None:
    """Two batches of one client together stay within the limit."""
    together = most = 0

    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0)
        together -= 1
        await reply()(request, writer)

    async with open_rig(handle_request) as it:
        batches = [it.bardge.batch(make_purchases(40), job=name, concurrency=5) for name in "ab"]
        await asyncio.gather(*(collect_outcomes(batch) for batch in batches))
    assert most <= 5


async def test_a_cancelled_waiter_leaves_nobody_stuck() -> None:
    """A waiter that is cancelled while queued, even with its permit just granted, passes the permit on."""
    pacer = AdaptiveLimit()
    pacer.add_batch(1)
    await pacer.acquire()
    first, second, third = [asyncio.create_task(pacer.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    second.cancel()
    pacer.release()
    first.cancel()
    await asyncio.wait_for(third, 1)
    assert pacer.running == 1


@given(
    per_second=st.one_of(st.integers(1, 400), st.floats(0.5, 400)),
    gaps=st.lists(st.floats(0, 0.7), min_size=1, max_size=80),
)
def test_rate_in_any_second(per_second: float, gaps: list[float]) -> None:
    """However late the wake-ups, no second contains more than the rate and max(1, 3 %)."""
    rate, now, begun = GcraRate(), 1000.0, list[float]()
    lateness = itertools.cycle(gaps)
    while len(begun) < 400 and now < 1010:
        wait = rate.seconds_until_free(per_second, now, take=True)
        if wait > 0:
            now += wait + (next(lateness) if len(begun) % 7 == 0 else 0.0)
        else:
            begun.append(now)
    most = per_second + max(1.0, 0.03 * per_second)
    for number, moment in enumerate(begun):
        assert sum(moment <= other < moment + 1 - 1e-9 for other in begun[number:]) <= most


def test_rate_makes_up_for_late_wake_ups() -> None:
    """Permits lost by a late wake-up are made up for, within 3 %."""
    rate, now, begun = GcraRate(), 1000.0, 0
    while now < 1010:
        wait = rate.seconds_until_free(200, now, take=True)
        now += wait + 0.002 if wait > 0 else 0.0
        begun += wait == 0
    assert begun >= 0.97 * 2000


def test_looking_takes_no_turn() -> None:
    """Checking whether a permit is free does not take it."""
    rate = GcraRate()
    assert [
        rate.seconds_until_free(1, 5.0, take=False),
        rate.seconds_until_free(1, 5.0, take=True),
        rate.seconds_until_free(1, 5.0, take=False),
    ] == [0, 0, 1]


async def measure_start_times(count: int, jobs: str, rate: float) -> list[float]:
    """Run batches side by side; return each operation's start by the injected clock, which advances in small steps."""
    clock = PausedClock()
    found: list[float] = []

    def record_start(event: Event) -> None:
        if isinstance(event, AttemptStarted):
            found.append(clock.elapsed())

    async with open_rig(reply(), clock=clock, hooks=[record_start]) as it:
        batches = [it.bardge.batch(make_purchases(count), job=job, rate=rate) for job in jobs]
        done = asyncio.gather(*(collect_outcomes(batch) for batch in batches))
        while not done.done():
            for _ in range(8):
                await asyncio.sleep(0)
            clock.advance(0.005)
    return found


@pytest.mark.parametrize("jobs", ["a", "ab"])
async def test_rate_of_a_client(jobs: str) -> None:
    """One batch of a client, or several together, keep within the rate in every second and use all of it."""
    found = await measure_start_times(60 // len(jobs), jobs, 20)
    assert all(sum(one <= other < one + 0.999 for other in found) <= 21 for one in found)
    assert found[-1] - found[0] == pytest.approx(59 / 20, rel=0.05)


async def test_nothing_begins_while_held_back() -> None:
    """While a 429 holds all calls, no operation is taken: its deadline would run meanwhile."""
    clock = PausedClock()
    taken = 0

    def yield_operations() -> Any:
        nonlocal taken
        for operation in make_purchases(50):
            taken += 1
            yield operation

    async with open_rig(error(429, Retry_After="30"), reply(), clock=clock, retry=RetryPolicy(base=0)) as it:
        consumer = asyncio.create_task(collect_outcomes(it.bardge.batch(yield_operations(), job="j", concurrency=1)))
        await run_loop_until(lambda: it.request_count == 1)
        for _ in range(20):
            await asyncio.sleep(0)
        assert (taken, it.request_count) == (1, 1)
        clock.advance(40)
        while not consumer.done():
            clock.advance(0.1)
            await asyncio.sleep(0)
        assert (taken, len(consumer.result())) == (50, 50)


async def test_a_cancelled_wait_may_be_admitted_meanwhile() -> None:
    """An operation that is cancelled while it queues is cancelled, also if one that ends has just removed it."""
    pacer = AdaptiveLimit()
    pacer.add_batch(1)
    await pacer.acquire()
    task = asyncio.create_task(pacer.acquire())
    await asyncio.sleep(0)
    task.cancel()
    pacer.release()
    await asyncio.wait({task})
    assert (task.cancelled(), pacer.running) == (True, 0)
