"""Calls under a limiter: every attempt takes a permit first, and a 429 holds everyone who shares the rate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from bardge_async import BardgeClient, Event, RetryPolicy, Throttled, errors
from tests.batch.operations import collect_statuses, make_purchases
from tests.limiter.rail import Broken, Door, Rail
from tests.support.clock import PausedClock
from tests.support.line import Answer, Line, Traffic, answer_in_order, make_busy_response, make_response
from tests.support.rig import AT_ONCE, PURCHASE

ONE = RetryPolicy(max_attempts=1)


@attrs.define
class Limited(Traffic):
    """Calls under a limiter."""

    rail: Rail = attrs.field(kw_only=True)
    events: list[Event] = attrs.field(kw_only=True)

    def start_get_credits(self) -> asyncio.Task[Any]:
        return self.start_call(self.bardge.clients.get_credits("c"))

    async def get_failure(self, call: asyncio.Task[Any]) -> errors.BardgeError:
        """Return the error of a call that must have failed by now."""
        await self.settle()
        with pytest.raises(errors.BardgeError) as caught:
            await self.get_results(call)
        return caught.value


@asynccontextmanager
async def open_limited(
    answers: Answer | None = None, *, rail: type[Rail] = Rail, set_up: dict[str, float] | None = None, **options: Any
) -> AsyncGenerator[Limited]:
    """Make a client on a fake transport; ``set_up`` holds the limiter's arguments."""
    clock = PausedClock()
    line = Line(clock, answer_in_order() if answers is None else answers)
    limiter = rail(clock, **(set_up or {}))  # type: ignore[arg-type] # numbers by name
    events: list[Event] = []
    given: dict[str, Any] = {"transport": line, "retry": AT_ONCE, **options}
    bardge = BardgeClient("key", "https://api.example/v3", clock=clock, limiter=limiter, hooks=[events.append], **given)
    it = Limited(bardge, clock, line, rail=limiter, events=events)
    try:
        yield it
    finally:
        for task in it.tasks:
            task.cancel()
        await asyncio.gather(*it.tasks, return_exceptions=True)
        await bardge.aclose()


async def test_turns_space_out_calls() -> None:
    """Calls are sent when their permits are granted."""
    async with open_limited(set_up={"interval": 0.5}) as it:
        for _ in range(3):
            it.start_get_credits()
        await it.advance_in_steps(2)
    assert it.line.list_send_times() == pytest.approx([0, 0.5, 1.0])


async def test_every_attempt_takes_a_turn() -> None:
    """A retried attempt takes a permit of its own."""
    async with open_limited(answer_in_order(make_response(502), make_response(502))) as it:
        it.start_get_credits()
        await it.advance_in_steps(0.2)
    assert (len(it.rail.asked), len(it.line.sent)) == (3, 3)


async def test_no_turn_in_time() -> None:
    """A permit that would come after the deadline is not waited for: the call ends immediately, not sent."""
    async with open_limited(set_up={"interval": 20.0}, timeout=10.0) as it:
        await it.call_without_delay(it.bardge.clients.get_credits("c"))
        error = await it.get_failure(it.start_get_credits())
    assert isinstance(error, errors.ThrottledError)
    assert (error.sent, error.retryable, error.attempts, len(it.line.sent)) == (False, True, 0, 1)


async def test_patience_is_the_deadline() -> None:
    """A call that has used some of its time asks for a permit within the rest."""
    async with open_limited(answer_in_order(make_busy_response("4")), timeout=10.0) as it:
        it.start_get_credits()
        await it.advance_in_steps(5)
    assert it.rail.asked[0] == 10
    assert it.rail.asked[1] == pytest.approx(6, abs=1.1)


async def test_patience_ends_before_the_window() -> None:
    """A POST in doubt waits for a permit only while its window is open, and stays in doubt without one."""
    async with open_limited(answer_in_order(errors.NoAnswerError("cut")), retry=ONE, timeout=200.0) as it:
        await it.get_failure(it.start_call(it.bardge.send("credits.purchase", request=PURCHASE, key="order-1")))
        it.clock.advance(70)
        it.rail.due = it.clock.elapsed() + 30
        error = await it.get_failure(it.start_call(it.bardge.send("credits.purchase", request=PURCHASE, key="order-1")))
    assert isinstance(error, errors.OutcomeUnknownError)
    assert isinstance(error.last_error, errors.ThrottledError)
    assert it.rail.asked[1] == pytest.approx(9)


@pytest.mark.parametrize(("asked", "held"), [("7", 7), ("99", 60), (None, 1)])
async def test_429_holds_the_limiter(asked: str | None, held: float) -> None:
    """A 429 holds everyone for as long as it asks, capped, or for a second without ``Retry-After``."""
    said = make_response(429) if asked is None else make_busy_response(asked)
    async with open_limited(answer_in_order(said), retry=ONE) as it:
        await it.get_failure(it.start_get_credits())
    assert it.rail.holds == [held]


async def test_503_holds_no_limiter() -> None:
    """A 503 concerns its endpoint only, and does not hold other calls."""
    async with open_limited(answer_in_order(make_busy_response("7", 503)), retry=ONE) as it:
        await it.get_failure(it.start_get_credits())
    assert it.rail.holds == []


async def test_known_hold_is_not_asked_about() -> None:
    """Another process's hold, learned by one call, keeps the next calls from asking until it ends."""
    async with open_limited(set_up={"held": 20.0}, timeout=10.0) as it:
        first_error = await it.get_failure(it.start_get_credits())
        second_error = await it.get_failure(it.start_get_credits())
        assert len(it.rail.asked) == 1
        await it.advance_in_steps(21)
        it.rail.held = 0.0
        await it.call_without_delay(it.bardge.clients.get_credits("c"))
    assert isinstance(second_error, errors.ThrottledError)
    assert (first_error.retry_after, second_error.retry_after) == (20, 20)


async def test_503_during_the_wait_for_a_turn() -> None:
    """A call whose endpoint is held back while it waits for its permit is not sent before the hold ends."""
    async with open_limited(answer_in_order(make_busy_response("7", 503)), set_up={"interval": 0.5}, retry=ONE) as it:
        it.start_get_credits()
        waiting = it.start_get_credits()
        await it.advance_in_steps(6.9)
        assert len(it.line.sent) == 1
        await it.advance_in_steps(2)
        await it.get_results(waiting)


async def test_options_keep_the_limiter() -> None:
    """A client with other options shares the permits."""
    async with open_limited(set_up={"interval": 5.0}) as it:
        it.start_get_credits()
        it.start_call(it.bardge.with_options(timeout=30.0).clients.get_credits("c"))
        await it.advance_in_steps(4.9)
        assert len(it.line.sent) == 1
        await it.advance_in_steps(0.2)
        assert len(it.line.sent) == 2


async def test_long_waits_are_told() -> None:
    """Hooks are called for waits of a second or more, and not for shorter ones."""
    async with open_limited(set_up={"interval": 0.6}) as it:
        for _ in range(3):
            it.start_get_credits()
        await it.advance_in_steps(2)
    [told] = [event for event in it.events if isinstance(event, Throttled)]
    assert told.seconds == pytest.approx(1.2)


async def test_failing_limiter() -> None:
    """Whatever a limiter raises, nothing is sent, and the error says so."""
    async with open_limited(rail=Broken) as it:
        error = await it.get_failure(it.start_get_credits())
    assert isinstance(error, errors.ThrottledError)
    assert isinstance(error.__cause__, OSError)
    assert (error.sent, it.line.sent) == (False, [])


async def test_turn_after_the_place() -> None:
    """A call that waits for a connection takes its permit afterwards: an earlier one would have lapsed."""
    door = Door()
    async with open_limited(transport=door, max_connections=1) as it:
        it.start_get_credits()
        await it.settle()
        it.start_get_credits()
        await it.settle()
        assert len(it.rail.asked) == 1
        door.opened.set()
        await it.settle()
        assert (len(it.rail.asked), len(door.sent)) == (2, 2)


async def test_place_lost_during_the_turn() -> None:
    """A call that finds no connection after its permit was granted takes another permit before it is sent."""
    door = Door()
    async with open_limited(transport=door, max_connections=1, set_up={"interval": 0.5}) as it:
        it.rail.due = it.clock.elapsed() + 0.5
        it.start_get_credits()
        it.start_get_credits()
        await it.advance_in_steps(1.5)
        assert (len(it.rail.asked), len(door.sent)) == (2, 1)
        door.opened.set()
        await it.settle()
        assert (len(it.rail.asked), len(door.sent)) == (3, 2)


async def test_cancelled_with_a_place() -> None:
    """A call that is cancelled while it has a connection and waits for its permit returns the connection."""
    door = Door()
    async with open_limited(transport=door, max_connections=1, set_up={"interval": 5.0}) as it:
        it.start_get_credits()
        await it.settle()
        waiting = it.start_get_credits()
        await it.settle()
        door.opened.set()
        await it.settle()
        waiting.cancel()
        last = it.start_get_credits()
        await it.advance_in_steps(10.1)
        await it.get_results(last)
    assert len(door.sent) == 2


async def test_no_turn_with_a_place() -> None:
    """A call that has a connection and times out waiting for a permit returns the connection."""
    door = Door()
    async with open_limited(transport=door, max_connections=1, set_up={"interval": 5.0}, timeout=4.0) as it:
        it.start_get_credits()
        await it.settle()
        waiting = it.start_get_credits()
        await it.settle()
        door.opened.set()
        error = await it.get_failure(waiting)
        await it.advance_in_steps(5)
        await it.call_without_delay(it.bardge.clients.get_credits("c"))
    assert isinstance(error, errors.ThrottledError)


async def test_batch_waits_for_another_process() -> None:
    """Another process's hold, learned by one operation, keeps a batch from starting more until it ends."""
    async with open_limited(set_up={"held": 70.0}) as it:
        batch = it.start_call(collect_statuses(it.bardge.batch(make_purchases(3), job="job", concurrency=1)))
        await it.settle(50)
        it.rail.held = 0.0
        await it.advance_in_steps(72, step=1.0)
        assert await it.get_results(batch) == [["done", "done", "done"]]


def test_not_a_limiter() -> None:
    """A limiter that grants no permits is rejected when the client is made."""
    with pytest.raises(errors.ConfigurationError, match="limiter: expected a Limiter with a method acquire"):
        BardgeClient("key", "https://api.example", limiter=object())  # type: ignore[arg-type] # that is the point
