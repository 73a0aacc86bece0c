"""Holding back: one response with ``Retry-After`` keeps all calls, or those of its endpoint, from being sent."""

from __future__ import annotations

import email.utils
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from bardge_async import GET_CLIENT, GET_CLIENT_CREDITS, BardgeClient, RetryPolicy, errors
from bardge_async._core.holdback import RetryAfterGate
from bardge_async._core.response import parse_retry_after
from bardge_async.testing import ManualClock
from tests.support.calls import get_credits, purchase_credits
from tests.support.line import Traffic, answer_in_order, make_busy_response, open_traffic
from tests.support.rig import PURCHASE

ONE = RetryPolicy(max_attempts=1)
Call = Callable[[BardgeClient], Coroutine[Any, Any, object]]


async def get_client(bardge: BardgeClient) -> object:
    return await bardge.clients.get("c")


async def trigger_hold(it: Traffic, call: Call = get_credits) -> None:
    """Make the call whose response holds the others."""
    with pytest.raises(errors.BardgeError):
        await it.call_without_delay(call(it.bardge))


# The values.


def test_nothing_holds() -> None:
    """At first everything may be sent."""
    assert RetryAfterGate().seconds_until_open(GET_CLIENT, 1000.0) <= 0


def test_all_rows() -> None:
    """A hold for all holds every endpoint, until its time."""
    held = RetryAfterGate()
    held.hold_all(1005.0)
    assert (held.seconds_until_open(GET_CLIENT, 1000.0), held.seconds_until_open(GET_CLIENT_CREDITS, 1004.0)) == (5, 1)
    assert held.seconds_until_open(GET_CLIENT, 1005.0) <= 0


def test_one_row() -> None:
    """A hold for one endpoint leaves the others free."""
    held = RetryAfterGate()
    held.hold_endpoint(GET_CLIENT.name, 1005.0)
    assert held.seconds_until_open(GET_CLIENT, 1000.0) == 5
    assert held.seconds_until_open(GET_CLIENT_CREDITS, 1000.0) <= 0


@pytest.mark.parametrize("order", [(1005.0, 1009.0), (1009.0, 1005.0)])
def test_longest_wish_counts(order: tuple[float, float]) -> None:
    """A shorter hold does not shorten a longer one."""
    held = RetryAfterGate()
    for until in order:
        held.hold_all(until)
        held.hold_endpoint(GET_CLIENT.name, until - 1)
    assert held.seconds_until_open(GET_CLIENT, 1000.0) == 9


def test_row_beside_all() -> None:
    """An endpoint waits for the later of its hold and that for all."""
    held = RetryAfterGate()
    held.hold_all(1002.0)
    held.hold_endpoint(GET_CLIENT.name, 1007.0)
    assert (held.seconds_until_open(GET_CLIENT, 1000.0), held.seconds_until_open(GET_CLIENT_CREDITS, 1000.0)) == (7, 2)


NOW = 784_111_777.0
READ: dict[str, float | None] = {
    "0": 0,
    "7": 7,
    " 7 ": 7,
    "2.5": 2.5,
    "4294967": 4_294_967,
    "Sun, 06 Nov 1994 08:49:57 GMT": 20,
    "Sun, 06 Nov 1994 08:49:57 +0000": 20,
    "Sunday, 06-Nov-94 08:49:57 GMT": 20,
    "Sun Nov  6 08:49:57 1994": 20,
    "Sun, 06 Nov 1994 08:49:17 GMT": 0,
    "Thu, 01 Jan 1970 00:00:00 GMT": 0,
    "Fri, 31 Dec 9999 23:59:59 GMT": 252_618_189_022.0,
    "-1": None,
    "-0.5": None,
    "+5": None,
    "": None,
    "soon": None,
    "1e3": None,
    "0x10": None,
    "nan": None,
    "inf": None,
    "7 seconds": None,
    "5, 10": None,
    "Mon, 99 Foo 2026 00:00:00 GMT": None,
    "Sun, 06 Nov 1994 08:49:57 +9999": None,
    "Mon, 01 Jan 99999999999999999999 00:00:00 GMT": None,
    "\x00": None,
}


@pytest.mark.parametrize(("text", "seconds"), READ.items())
def test_retry_after(text: str, seconds: float | None) -> None:
    """``Retry-After`` is seconds or a date; the past is zero, an invalid value is None."""
    found = parse_retry_after({"Retry-After": text}, NOW)
    assert (found is None) == (seconds is None)
    assert abs((found or 0) - (seconds or 0)) < 1


def test_no_retry_after() -> None:
    """Without the header there is no hold."""
    assert parse_retry_after({}, NOW) is None


def test_absurd_number_of_digits() -> None:
    """A number that no float holds is longer than any cap, and raises nothing."""
    assert (parse_retry_after({"Retry-After": "9" * 1000}, NOW) or 0) > 1e300


# Through a client.


@pytest.mark.parametrize("call", [get_credits, get_client, purchase_credits])
async def test_429_holds_all_calls(call: Call) -> None:
    """After a 429 with ``Retry-After`` no call of the client is sent before its time."""
    async with open_traffic(answer_in_order(make_busy_response("7")), retry=ONE) as it:
        await trigger_hold(it)
        task = it.start_call(call(it.bardge))
        await it.advance_in_steps(6.9)
        assert len(it.line.sent) == 1
        await it.advance_in_steps(1.2)
        assert task.done()
    assert 7 <= it.line.list_send_times()[1] <= 8.1


async def test_503_holds_its_row() -> None:
    """After a 503 with ``Retry-After`` only the calls of its endpoint wait."""
    async with open_traffic(answer_in_order(make_busy_response("7", 503)), retry=ONE) as it:
        await trigger_hold(it)
        free, held = it.start_call(get_client(it.bardge)), it.start_call(get_credits(it.bardge))
        await it.settle()
        assert (free.done(), held.done()) == (True, False)
        await it.advance_in_steps(8.1)
        assert held.done()
    assert 7 <= it.line.list_send_times()[2] <= 8.1


@pytest.mark.parametrize("status", [400, 500, 502, 504])
async def test_other_answers_hold_nobody(status: int) -> None:
    """``Retry-After`` on any other response holds no other call back."""
    async with open_traffic(answer_in_order(make_busy_response("7", status)), retry=ONE) as it:
        await trigger_hold(it)
        await it.call_without_delay(get_credits(it.bardge))
    assert it.clock.sleeps == []


@pytest.mark.parametrize("wish", ["-5", "soon", "", "0"])
async def test_no_wish_holds_nobody(wish: str) -> None:
    """A 429 whose ``Retry-After`` is invalid or zero holds no other call back."""
    async with open_traffic(answer_in_order(make_busy_response(wish)), retry=ONE) as it:
        await trigger_hold(it)
        await it.call_without_delay(get_credits(it.bardge))
    assert it.clock.sleeps == []


async def test_date_holds_as_well() -> None:
    """A date is counted from the wall clock."""
    when = email.utils.formatdate(ManualClock().wall() + 7, usegmt=True)
    async with open_traffic(answer_in_order(make_busy_response(when)), retry=ONE) as it:
        await trigger_hold(it)
        it.start_call(get_credits(it.bardge))
        await it.advance_in_steps(8.1)
    assert 7 <= it.line.list_send_times()[1] <= 8.1


@pytest.mark.parametrize("wish", ["61", "4294967", "9" * 400])
async def test_wish_above_the_cap(wish: str) -> None:
    """A ``Retry-After`` above the cap ends its own call immediately and holds the others no longer than the cap."""
    async with open_traffic(answer_in_order(make_busy_response(wish)), timeout=70) as it:
        with pytest.raises(errors.RateLimitError) as caught:
            await it.call_without_delay(get_credits(it.bardge))
        assert (caught.value.retry_after, caught.value.attempts, it.clock.sleeps) == (float(wish), 1, [])
        it.start_call(get_credits(it.bardge))
        await it.advance_in_steps(59.9, step=0.5)
        assert len(it.line.sent) == 1
        await it.advance_in_steps(2)
    assert 60 <= it.line.list_send_times()[1] <= 62


async def test_smaller_cap() -> None:
    """``retry_after_cap`` can be set by the user."""
    async with open_traffic(answer_in_order(make_busy_response("6")), retry=RetryPolicy(retry_after_cap=5)) as it:
        with pytest.raises(errors.RateLimitError):
            await it.call_without_delay(get_credits(it.bardge))
        it.start_call(get_credits(it.bardge))
        await it.advance_in_steps(6.2)
    assert 5 <= it.line.list_send_times()[1] <= 6.1


async def test_less_than_a_second() -> None:
    """A wish of half a second holds other calls as well."""
    async with open_traffic(answer_in_order(make_busy_response("0.5")), retry=ONE) as it:
        await trigger_hold(it)
        it.start_call(get_credits(it.bardge))
        await it.advance_in_steps(2)
    assert it.line.list_send_times()[1] >= 0.5


@pytest.mark.parametrize("timeout", [20, 26])
@pytest.mark.parametrize("call", [get_credits, purchase_credits])
async def test_deadline_before_the_wish(call: Call, timeout: float) -> None:
    """A call that would miss its deadline ends immediately, not sent, and reports how long the wait would be."""
    async with open_traffic(answer_in_order(make_busy_response("30")), retry=ONE, timeout=timeout) as it:
        await trigger_hold(it)
        it.clock.advance(4)
        with pytest.raises(errors.ThrottledError) as caught:
            await it.call_without_delay(call(it.bardge))
    assert (caught.value.retry_after, caught.value.sent, caught.value.attempts) == (26, False, 0)
    assert (caught.value.timed_out, caught.value.retryable, it.clock.sleeps) == (True, True, [])


async def test_deadline_of_the_one_that_was_told() -> None:
    """The call that got the 429 ends with it immediately if its own deadline is nearer."""
    async with open_traffic(answer_in_order(make_busy_response("30")), timeout=20) as it:
        with pytest.raises(errors.RateLimitError) as caught:
            await it.call_without_delay(get_credits(it.bardge))
    assert (caught.value.retry_after, caught.value.timed_out, it.clock.sleeps) == (30, True, [])


async def test_waiter_keeps_room_to_send() -> None:
    """A call that is released shortly before its deadline is still sent: spreading leaves room for it."""
    async with open_traffic(answer_in_order(make_busy_response("9.9")), retry=ONE, timeout=10) as it:
        await trigger_hold(it)
        tasks = [it.start_call(get_credits(it.bardge)) for _ in range(20)]
        await it.advance_in_steps(10, step=0.01)
        await it.get_results(*tasks)
    assert len(it.line.sent) == 21


async def test_released_one_after_the_other() -> None:
    """Waiting calls are released spread over one second, none before its time."""
    async with open_traffic(answer_in_order(make_busy_response("5")), retry=ONE) as it:
        await trigger_hold(it)
        for _ in range(200):
            it.start_call(get_credits(it.bardge))
        await it.advance_in_steps(6.1, step=0.05)
        released = it.line.list_send_times()[1:]
    assert len(released) == 200
    assert 5 <= min(released) <= max(released) <= 6.05
    counts = [sum(5 + part / 4 <= at < 5.25 + part / 4 for at in released) for part in range(4)]
    assert min(counts) > 20


async def test_told_again_while_waiting() -> None:
    """A waiter that wakes and finds a new hold continues to wait."""
    async with open_traffic(answer_in_order(make_busy_response("5"), make_busy_response("20")), retry=ONE) as it:
        await trigger_hold(it)
        early = it.start_call(get_credits(it.bardge))
        await it.advance_in_steps(6.1, step=0.05)
        with pytest.raises(errors.RateLimitError):
            await it.get_results(early)
        late = [it.start_call(get_credits(it.bardge)) for _ in range(3)]
        await it.advance_in_steps(15, step=0.5)
        assert len(it.line.sent) == 2
        await it.advance_in_steps(7, step=0.5)
        assert all(task.done() for task in late)


async def test_cancelled_waiter_leaves_nobody_stuck() -> None:
    """If some waiting calls are cancelled all others are sent, and no timer stays."""
    async with open_traffic(answer_in_order(make_busy_response("5")), retry=ONE) as it:
        await trigger_hold(it)
        tasks = [it.start_call(get_credits(it.bardge)) for _ in range(10)]
        await it.advance_in_steps(1)
        for task in tasks[::2]:
            task.cancel()
        await it.advance_in_steps(5.2)
        assert all(task.done() for task in tasks)
        assert (len(it.line.sent), it.clock.pending_timers) == (6, 0)
        await it.call_without_delay(get_credits(it.bardge))


async def test_waiting_takes_no_connection() -> None:
    """A call that is held back occupies no connection: calls of other endpoints continue."""
    async with open_traffic(answer_in_order(make_busy_response("5", 503)), retry=ONE, max_connections=1) as it:
        await trigger_hold(it)
        held = it.start_call(get_credits(it.bardge))
        await it.settle()
        await it.call_without_delay(get_client(it.bardge))
        assert not held.done()


async def test_wish_is_waited_for_in_full() -> None:
    """The call that got the 429 retries no earlier than ``Retry-After``, with jitter upwards only."""
    async with open_traffic(answer_in_order(make_busy_response("3")), retry=RetryPolicy(base=0.5)) as it:
        task = it.start_call(get_credits(it.bardge))
        await it.advance_in_steps(4)
        assert task.done()
    assert 3 <= it.line.list_send_times()[1] <= 3.7


async def test_derived_clients_wait_too() -> None:
    """A client made by ``with_options`` is held back with the first one."""
    async with open_traffic(answer_in_order(make_busy_response("5")), retry=ONE) as it:
        other = it.bardge.with_options(timeout=20)
        await trigger_hold(it)
        it.start_call(get_credits(other))
        await it.advance_in_steps(4.9)
        assert len(it.line.sent) == 1


async def test_503_after_a_doubt() -> None:
    """On a charging POST a 503 above the cap, after an unanswered attempt, ends as outcome unknown."""
    async with open_traffic(
        answer_in_order(errors.NoAnswerError("cut"), make_busy_response("100", 503)), retry=RetryPolicy(base=0)
    ) as it:
        task = it.start_call(purchase_credits(it.bardge))
        await it.advance_in_steps(0.2)
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await it.get_results(task)
    assert (caught.value.retry_after, caught.value.attempts) == (100, 2)


async def test_held_back_in_doubt() -> None:
    """A POST in doubt that is held back past its deadline ends as outcome unknown, not as "not sent"."""
    async with open_traffic(
        answer_in_order(errors.NoAnswerError("cut"), make_busy_response("30")), retry=RetryPolicy(base=2), timeout=20
    ) as it:
        task = it.start_call(purchase_credits(it.bardge))
        await it.settle()
        it.start_call(_expect_rate_limit(it.bardge))
        await it.advance_in_steps(3)
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await it.get_results(task)
    assert isinstance(caught.value.last_error, errors.ThrottledError)
    assert (caught.value.sent, caught.value.attempts) == (True, 1)


async def _expect_rate_limit(bardge: BardgeClient) -> None:
    with pytest.raises(errors.RateLimitError):
        await get_credits(bardge)


async def test_held_back_past_the_window() -> None:
    """A POST in doubt that would be held back past its window ends immediately: the wait would be useless."""
    async with open_traffic(answer_in_order(errors.NoAnswerError("cut"), make_busy_response("30")), retry=ONE) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await it.call_without_delay(it.bardge.send("credits.purchase", request=PURCHASE, key="order-1"))
        it.clock.advance(60)
        await _expect_rate_limit(it.bardge)
        it.clock.sleeps.clear()
        task = it.start_call(it.bardge.send("credits.purchase", request=PURCHASE, key="order-1"))
        await it.settle()
        assert it.clock.sleeps == []
        with pytest.raises(errors.OutcomeUnknownError):
            await it.get_results(task)
    assert len(it.line.sent) == 2
