"""The retry budget: the token bucket itself, and its effect on clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from bardge_async import BardgeClient, ReplayWindow, RetryPolicy, errors
from bardge_async import models as m
from bardge_async._core.retry_budget import RetryBudget
from tests.support.calls import get_credits, purchase_credits
from tests.support.line import Answer, answer_in_order, make_response, open_traffic

Call = Callable[[BardgeClient], Coroutine[Any, Any, object]]


def are_near(found: Sequence[float | None], wanted: Sequence[float | None], by: float = 1e-6) -> bool:
    """Return whether times are equal, up to rounding or a step of the clock."""
    pairs = list(zip(found, wanted, strict=True))
    return all(a is b if a is None or b is None else abs(a - b) <= by for a, b in pairs)


def make_budget(floor: float = 10.0, ratio: float = 0.25) -> RetryBudget:
    return RetryBudget(RetryPolicy(budget_floor=floor, budget_ratio=ratio))


def count_tokens(budget: RetryBudget, now: float) -> int:
    """Return how many tokens there are at an instant."""
    count = 0
    while budget.reserve_token(now, 0.0) is not None:
        count += 1
        assert count < 10_000
    return count


# The bucket.


@pytest.mark.parametrize("floor", [0, 1, 3, 10, 250])
def test_begins_with_the_floor(floor: float) -> None:
    """The bucket starts with ``budget_floor`` tokens."""
    assert count_tokens(make_budget(floor), 1000.0) == floor


def test_fills_up_by_the_second() -> None:
    """The bucket fills by ``budget_floor`` tokens a second."""
    budget = make_budget()
    count_tokens(budget, 1000.0)
    assert [count_tokens(budget, 1000.0 + tenth / 2) for tenth in range(1, 5)] == [5, 5, 5, 5]


def test_holds_one_second_of_the_floor() -> None:
    """However long no call retries, the bucket holds one second of the floor."""
    budget = make_budget()
    count_tokens(budget, 1000.0)
    assert count_tokens(budget, 5000.0) == 10


def test_share_of_first_attempts() -> None:
    """With a ratio of a quarter every fourth first attempt adds one token."""
    budget = make_budget()
    for _ in range(100):
        budget.count_first_attempt(1000.0)
    assert count_tokens(budget, 1000.0) == 35


@pytest.mark.parametrize(("later", "tokens"), [(0, 25), (5, 25), (9, 25), (10, 0), (11, 0), (1000, 0)])
def test_shares_last_10_seconds(later: float, tokens: int) -> None:
    """First attempts count for ten seconds."""
    budget = make_budget(floor=0)
    for _ in range(100):
        budget.count_first_attempt(1000.0)
    assert count_tokens(budget, 1000.0 + later) == tokens


def test_oldest_shares_are_taken_first() -> None:
    """The tokens that expire first are used first."""
    budget = make_budget(floor=0)
    for second in (1000.0, 1005.0):
        for _ in range(40):
            budget.count_first_attempt(second)
    assert [budget.reserve_token(1005.0, 0.0) for _ in range(10)] == [0.0] * 10
    assert count_tokens(budget, 1011.0) == 10


def test_shares_add_up_over_seconds() -> None:
    """Fractions of a token from different seconds add up."""
    budget = make_budget(floor=0)
    for second in range(4):
        budget.count_first_attempt(1000.0 + second)
    assert count_tokens(budget, 1003.0) == 1


def test_no_share() -> None:
    """A ratio of zero leaves the floor alone."""
    budget = make_budget(floor=2, ratio=0)
    for _ in range(100):
        budget.count_first_attempt(1000.0)
    assert count_tokens(budget, 1000.0) == 2


def test_nothing_at_all() -> None:
    """Without floor and ratio nothing is retried, however long the timeout."""
    budget = make_budget(floor=0, ratio=0)
    budget.count_first_attempt(1000.0)
    assert budget.reserve_token(1000.0, 10_000.0) is None


def test_clock_that_stands_still() -> None:
    """At one instant the bucket never gives more than it holds."""
    budget = make_budget()
    assert (count_tokens(budget, 1000.0), count_tokens(budget, 1000.0)) == (10, 0)


def test_reservations_queue() -> None:
    """Callers that can wait get future tokens, one after the other."""
    budget = make_budget()
    count_tokens(budget, 1000.0)
    waits = [budget.reserve_token(1000.0, 60.0) for _ in range(4)]
    assert are_near(waits, [0.1, 0.2, 0.3, 0.4])


def test_patience_has_an_end() -> None:
    """A token that comes too late is not taken, and costs nothing."""
    budget = make_budget()
    count_tokens(budget, 1000.0)
    assert are_near([budget.reserve_token(1000.0, 0.15) for _ in range(3)], [0.1, None, None])
    assert are_near([budget.reserve_token(1000.0, 0.21)], [0.2])


def test_impatient_ones_wait_behind() -> None:
    """Reserved tokens are not given to later callers that cannot wait."""
    budget = make_budget()
    count_tokens(budget, 1000.0)
    for _ in range(5):
        budget.reserve_token(1000.0, 60.0)
    assert count_tokens(budget, 1000.5) == 0
    assert count_tokens(budget, 1000.6) == 1


# A client in an outage.


async def update_pass(bardge: BardgeClient) -> object:
    return await bardge.passes.update(m.UpdateIssuedPass(client_id="c"))


OUTAGES: dict[str, Answer] = {
    "no connection": lambda _: errors.ConnectError("refused"),
    "no answer": lambda _: errors.NoAnswerError("cut"),
    "502": lambda _: make_response(502, {}),
    "429": lambda _: make_response(429, {"error": {"type": "api_error"}}),
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
@pytest.mark.parametrize("call", [get_credits, purchase_credits, update_pass])
async def test_amplification(outage: Answer, call: Call) -> None:
    """In a total outage requests stay below 1.2 times the calls plus ten a second, whatever is called."""
    calls, seconds = 300, 6
    async with open_traffic(outage, timeout=30) as it:
        for _ in range(seconds * 10):
            for _ in range(calls // (seconds * 10)):
                it.start_call(_ignore_error(call(it.bardge)))
            await it.advance_in_steps(0.1)
        await it.advance_in_steps(34, step=1)
        assert all(task.done() for task in it.tasks)
    lasted = max(it.line.list_send_times())
    assert calls < len(it.line.sent) <= 1.2 * calls + 10 * (lasted + 1)


async def _ignore_error(call: Awaitable[object]) -> None:
    with pytest.raises(errors.BardgeError):
        await call


async def test_burst() -> None:
    """Of a thousand calls that fail concurrently about a hundred are retried, and none of the others waits."""
    async with open_traffic(OUTAGES["no connection"], retry=RetryPolicy(base=0)) as it:
        for _ in range(1000):
            it.start_call(_ignore_error(get_credits(it.bardge)))
        await it.settle(60)
        it.clock.advance(0.001)
        await it.settle(60)
    assert 1000 + 200 <= len(it.line.sent) <= 1000 + 200 + 10


NONE = RetryPolicy(budget_floor=0, budget_ratio=0)
SLOW = RetryPolicy(budget_floor=0.1, budget_ratio=0, base=0)


@pytest.mark.parametrize(
    ("outage", "kind"),
    [("no connection", errors.ConnectError), ("429", errors.RateLimitError)],
)
@pytest.mark.parametrize("call", [get_credits, purchase_credits])
async def test_empty_gives_the_first_error(outage: str, kind: type[errors.BardgeError], call: Call) -> None:
    """With no token left a call ends with its first error, immediately and marked."""
    async with open_traffic(OUTAGES[outage], retry=NONE) as it:
        with pytest.raises(kind) as caught:
            await it.call_without_delay(call(it.bardge))
    assert (caught.value.budget_empty, caught.value.attempts, it.clock.sleeps) == (True, 1, [])
    assert (caught.value.retryable, len(it.line.sent)) == (True, 1)
    assert "budget" in "".join(caught.value.__notes__)


async def test_empty_for_a_get_without_an_answer() -> None:
    """A GET without an answer does not wait for a token."""
    async with open_traffic(OUTAGES["no answer"], retry=SLOW) as it:
        with pytest.raises(errors.NoAnswerError) as caught:
            await it.call_without_delay(get_credits(it.bardge))
    assert (caught.value.budget_empty, len(it.line.sent)) == (True, 1)


async def test_not_marked_while_there_are_tokens() -> None:
    """A call that ends for another reason is not marked."""
    async with open_traffic(OUTAGES["no connection"], retry=RetryPolicy(base=0, max_attempts=2)) as it:
        task = it.start_call(get_credits(it.bardge))
        await it.advance_in_steps(1)
        with pytest.raises(errors.ConnectError) as caught:
            await it.get_results(task)
    assert (caught.value.budget_empty, len(it.line.sent)) == (False, 2)


async def test_unanswered_post_waits_for_a_token() -> None:
    """A sent, unanswered POST waits for its token: a retry is the only way to learn the outcome."""
    answers = answer_in_order(errors.NoAnswerError("cut"), make_response(201))
    async with open_traffic(answers, retry=SLOW) as it:
        task = it.start_call(purchase_credits(it.bardge))
        await it.advance_in_steps(8.9)
        assert (len(it.line.sent), task.done()) == (1, False)
        await it.advance_in_steps(0.2)
        assert task.done()
    assert are_near(it.line.list_send_times(), [0, 9], by=0.15)


async def test_unanswered_posts_wait_in_line() -> None:
    """Many waiting POSTs are released one by one, at the budget's pace."""
    async with open_traffic(
        OUTAGES["no answer"], retry=RetryPolicy(budget_floor=1, budget_ratio=0, base=0, max_attempts=2)
    ) as it:
        for _ in range(5):
            it.start_call(_ignore_error(purchase_credits(it.bardge)))
        await it.advance_in_steps(6)
    assert are_near(it.line.list_send_times()[5:], [0, 1, 2, 3, 4], by=0.15)


async def test_waiting_ends_with_the_deadline() -> None:
    """A token that comes after the deadline is not waited for: outcome unknown, immediately."""
    async with open_traffic(OUTAGES["no answer"], retry=SLOW, timeout=5) as it:
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await it.call_without_delay(purchase_credits(it.bardge))
    assert (caught.value.budget_empty, caught.value.may_repeat, it.clock.sleeps) == (True, True, [])


async def test_waiting_ends_with_the_window() -> None:
    """A token that comes after the window is not waited for either."""
    window = ReplayWindow(length=15, margin=6)
    async with open_traffic(OUTAGES["no answer"], retry=SLOW, window=window) as it:
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await it.call_without_delay(purchase_credits(it.bardge))
    assert (caught.value.budget_empty, it.clock.sleeps) == (True, [])


async def test_no_token_ever() -> None:
    """If no token will ever come no call waits for one."""
    async with open_traffic(OUTAGES["no answer"], retry=NONE) as it:
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await it.call_without_delay(purchase_credits(it.bardge))
    assert (caught.value.budget_empty, it.clock.sleeps) == (True, [])


async def test_cancelled_waiter_blocks_nobody() -> None:
    """A call that is cancelled while it waits for a token leaves the others their turn."""
    policy = RetryPolicy(budget_floor=1, budget_ratio=0, base=0, max_attempts=2)
    async with open_traffic(OUTAGES["no answer"], retry=policy) as it:
        tasks = [it.start_call(_ignore_error(purchase_credits(it.bardge))) for _ in range(4)]
        await it.settle()
        tasks[1].cancel()
        await it.advance_in_steps(4)
        await it.get_results(*(task for task in tasks if task is not tasks[1]))
    assert len(it.line.sent) == 4 + 3


async def test_derived_clients_share_it() -> None:
    """A client made by ``with_options`` takes its tokens from the same bucket."""
    async with open_traffic(OUTAGES["no connection"], retry=RetryPolicy(base=0, budget_floor=3, budget_ratio=0)) as it:
        other = it.bardge.with_options(timeout=20)
        for bardge in (it.bardge, other):
            it.start_call(_ignore_error(get_credits(bardge)))
        await it.settle()
        it.clock.advance(0.0)
        await it.settle()
        it.clock.advance(0.0)
        await it.settle()
    assert len(it.line.sent) == 2 + 3
