"""Several accounts over one set of connections: what one is told to wait for delays no other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import pytest

from bardge_async import AttemptStarted, BardgeClient, Event, RetryPolicy, WireRequest, WireResponse, errors
from bardge_async.testing import ManualClock
from tests.batch.operations import collect_statuses, make_purchases
from tests.limiter.rail import Rail
from tests.support.calls import get_credits, purchase_credits
from tests.support.line import Answer, Traffic, make_busy_response, make_response, open_traffic

ONE = RetryPolicy(max_attempts=1)
OTHERS: dict[str, dict[str, Any]] = {
    "key": {"api_key": "key-b"},
    "label": {"account": "b"},
    "both": {"api_key": "key-b", "account": "b"},
}
each_other = pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)


async def fetch_key() -> str:
    return "key"


@attrs.define(unsafe_hash=False, eq=True)
class KeyHolder:
    """A callable without a hash."""

    key: str = "key-b"

    def __call__(self) -> str:
        return self.key


def refuse_first(make: Callable[[], WireResponse | errors.BardgeError], count: int = 1) -> Answer:
    """Return bad responses first, ``count`` of them, and good ones from then on."""
    left = count

    def answer(_: WireRequest) -> WireResponse | errors.BardgeError:
        nonlocal left
        left -= 1
        return make() if left >= 0 else make_response()

    return answer


async def trigger_hold(it: Traffic, bardge: BardgeClient) -> None:
    with pytest.raises(errors.BardgeError):
        await it.call_without_delay(get_credits(bardge))


# Retry-After.


@each_other
@pytest.mark.parametrize("status", [429, 503])
async def test_another_account_is_not_held(options: dict[str, Any], status: int) -> None:
    """``Retry-After`` for one account delays no call of another, in either direction."""
    async with open_traffic(refuse_first(lambda: make_busy_response("20", status)), retry=ONE) as it:
        other = it.bardge.with_options(**options)
        await trigger_hold(it, other)
        await it.call_without_delay(get_credits(it.bardge))
    async with open_traffic(refuse_first(lambda: make_busy_response("20", status)), retry=ONE) as it:
        other = it.bardge.with_options(**options)
        await trigger_hold(it, it.bardge)
        await it.call_without_delay(get_credits(other))


async def test_queued_calls_of_a_throttled_account() -> None:
    """Calls that queue for a connection while their account is told to wait leave it to another account's."""
    async with open_traffic(refuse_first(lambda: make_busy_response("20"), 9), retry=ONE, max_connections=1) as it:
        other = it.bardge.with_options(api_key="key-b", account="b")
        slot = it.bardge._caller.slots.call_started()
        assert slot.try_acquire()
        queued = [it.start_call(get_credits(other)) for _ in range(5)]
        await it.settle()
        slot.release()
        slot.call_finished()
        await it.settle()
        assert (len(it.line.sent), [task.done() for task in queued]) == (1, [True, False, False, False, False])
        it.line.answers = lambda _: make_response()
        await it.call_without_delay(get_credits(it.bardge))
        await it.advance_in_steps(22)
        await it.get_results(*queued[1:])


SAME: dict[str, Callable[[BardgeClient], BardgeClient]] = {
    "other options": lambda bardge: bardge.with_options(timeout=30, retry=RetryPolicy(), hooks=[]),
    "same key and label": lambda bardge: bardge.with_options(api_key="key", account=""),
    "there and back": lambda bardge: bardge.with_options(account="b").with_options(account=""),
}


@pytest.mark.parametrize("derive", SAME.values(), ids=SAME)
async def test_same_account_is_held(derive: Callable[[BardgeClient], BardgeClient]) -> None:
    """A client with the same key and label waits as well."""
    async with open_traffic(refuse_first(lambda: make_busy_response("5")), retry=ONE) as it:
        await trigger_hold(it, it.bardge)
        it.start_call(get_credits(derive(it.bardge)))
        await it.advance_in_steps(4.9)
        assert len(it.line.sent) == 1


HOLDER = KeyHolder()
TWICE: dict[str, dict[str, Any]] = {
    **OTHERS,
    "callable": {"api_key": fetch_key},
    "method": {"api_key": "key-b".lower},
    "callable without a hash": {"api_key": HOLDER},
}


@pytest.mark.parametrize("options", TWICE.values(), ids=TWICE)
async def test_account_derived_twice(options: dict[str, Any]) -> None:
    """Two clients of another account, made one after the other, are held together."""
    async with open_traffic(refuse_first(lambda: make_busy_response("5")), retry=ONE) as it:
        first, second = it.bardge.with_options(**options), it.bardge.with_options(**options)
        await trigger_hold(it, first)
        it.start_call(get_credits(second))
        await it.advance_in_steps(4.9)
        assert len(it.line.sent) == 1
        await it.call_without_delay(get_credits(it.bardge))


# The retry budget.


@each_other
async def test_another_account_has_its_own_budget(options: dict[str, Any]) -> None:
    """The retries of one account use up no other's budget."""
    policy = RetryPolicy(base=0, budget_floor=2, budget_ratio=0)
    async with open_traffic(refuse_first(lambda: make_response(503), 4), retry=policy) as it:
        other = it.bardge.with_options(**options)
        calls = [it.start_call(get_credits(other)) for _ in range(2)]
        for _ in range(6):
            await it.settle()
            it.clock.advance(0.0)
        assert len(it.line.sent) == 4
        with pytest.raises(errors.BardgeError) as caught:
            await it.get_results(*calls)
        assert caught.value.budget_empty
        it.line.answers = refuse_first(lambda: make_response(503))
        call = it.start_call(get_credits(it.bardge))
        await it.advance_in_steps(0.2)
        await it.get_results(call)


async def test_budget_is_of_account_and_policy() -> None:
    """Clients of one account with equal policies share a budget, though they were not derived from each other."""
    policy = RetryPolicy(base=0, budget_floor=1, budget_ratio=0)
    async with open_traffic(lambda _: make_response(503)) as it:
        clients = [it.bardge.with_options(retry=policy), it.bardge.with_options(retry=attrs.evolve(policy))]
        for bardge in clients:
            it.start_call(_ignore_error(get_credits(bardge)))
        for _ in range(6):
            await it.settle()
            it.clock.advance(0.0)
        assert len(it.line.sent) == 2 + 1


async def _ignore_error(call: Any) -> None:
    with suppress(errors.BardgeError):
        await call


# Batches.


def answer_by_account(busy: set[str]) -> Answer:
    """Answer 429 to the accounts whose API key is named."""

    def answer(request: WireRequest) -> WireResponse:
        key = str(request.headers["Authorization"]).partition(" ")[2]
        return make_busy_response("20") if key in busy else make_response(201)

    return answer


async def test_batch_beside_a_throttled_account() -> None:
    """While one account is throttled the batch of another runs to its end without a wait."""
    async with open_traffic(answer_by_account({"key-b"})) as it:
        throttled = it.bardge.with_options(api_key="key-b", account="b")
        waiting = throttled.batch(make_purchases(20), job="b")
        it.start_call(collect_statuses(waiting))
        await it.settle()
        running = it.bardge.batch(make_purchases(40), job="a")
        task = it.start_call(collect_statuses(running))
        await it.settle(200)
        [statuses] = await it.get_results(task)
        assert (len(statuses), set(statuses)) == (40, {"done"})
        assert (running.pace.backoffs, waiting.pace.backoffs > 0) == (0, True)
        it.line.answers = lambda _: make_response(201)
        await it.advance_in_steps(60, 1)


async def test_rates_of_two_accounts() -> None:
    """Each account's batch has its own rate; together they send twice as much."""
    starts: list[tuple[str, float]] = []

    def note(label: str, clock: ManualClock) -> Callable[[Event], None]:
        return lambda event: starts.append((label, clock.elapsed())) if isinstance(event, AttemptStarted) else None

    async with open_traffic(lambda _: make_response(201)) as it:
        clients = {
            "a": it.bardge.with_options(hooks=[note("a", it.clock)]),
            "b": it.bardge.with_options(account="b", hooks=[note("b", it.clock)]),
        }
        for label, bardge in clients.items():
            it.start_call(collect_statuses(bardge.batch(make_purchases(30), job=label, rate=10)))
        await it.advance_in_steps(2, 0.01)
    counts = [sum(label == one for one, _ in starts) for label in clients]
    assert counts == [pytest.approx(20, abs=2)] * 2


async def test_call_of_another_account_says_nothing_about_the_server() -> None:
    """A 429 for a call of one account does not slow down the batches of another."""
    async with open_traffic(answer_by_account({"key-b"}), retry=ONE) as it:
        other = it.bardge.with_options(api_key="key-b", account="b")
        batch = it.bardge.batch(make_purchases(2), job="j", concurrency=1)
        found = aiter(batch)
        await anext(found)
        await trigger_hold(it, other)
        assert batch.pace.backoffs == 0
        await found.aclose()


# Limiters.


def make_limited(clock: ManualClock, line: Any, rail: Rail) -> BardgeClient:
    return BardgeClient("key", "https://api.example/v3", transport=line, clock=clock, limiter=rail, retry=ONE)


async def test_limiter_of_another_account() -> None:
    """``with_options(limiter=...)`` gives an account its own: its 429 holds that one, and its permits come from it."""
    async with open_traffic(answer_by_account({"key-b"}), retry=ONE) as it:
        first, second = Rail(it.clock), Rail(it.clock)
        root = make_limited(it.clock, it.line, first)
        other = root.with_options(api_key="key-b", account="b", limiter=second)
        await trigger_hold(it, other)
        await it.call_without_delay(get_credits(root))
        await root.aclose()
    assert (len(first.asked), first.holds, len(second.asked), second.holds) == (1, [], 1, [20])


@each_other
async def test_limiter_is_not_inherited_by_another_account(options: dict[str, Any]) -> None:
    """Another account has no limiter unless one is passed: a hold of the first account's would delay it."""
    async with open_traffic(lambda _: make_response()) as it:
        rail = Rail(it.clock, held=100.0)
        root = make_limited(it.clock, it.line, rail)
        await it.call_without_delay(get_credits(root.with_options(**options)))
        await root.aclose()
    assert rail.asked == []


async def test_limiter_may_be_shared() -> None:
    """Passing the same limiter shares one rate between accounts."""
    async with open_traffic(lambda _: make_response()) as it:
        rail = Rail(it.clock)
        root = make_limited(it.clock, it.line, rail)
        for bardge in (root, root.with_options(account="b", limiter=rail), root.with_options(timeout=5)):
            await it.call_without_delay(get_credits(bardge))
        await root.aclose()
    assert len(rail.asked) == 3


async def test_limiter_can_be_removed_and_given() -> None:
    """``limiter=None`` removes it, and a client without one can be given one."""
    async with open_traffic(lambda _: make_response()) as it:
        rail = Rail(it.clock)
        root = make_limited(it.clock, it.line, rail)
        await it.call_without_delay(get_credits(root.with_options(limiter=None)))
        assert rail.asked == []
        await it.call_without_delay(purchase_credits(it.bardge.with_options(limiter=rail)))
        await root.aclose()
    assert len(rail.asked) == 1


@pytest.mark.parametrize("wrong", [5, "200", object()], ids=["number", "text", "object"])
def test_no_limiter(wrong: Any) -> None:
    """What has no method ``acquire`` is refused."""
    client = BardgeClient("key", "https://api.example/v3")
    with pytest.raises(errors.ConfigurationError, match="limiter"):
        client.with_options(limiter=wrong)


async def test_many_accounts_leave_nothing() -> None:
    """Clients of accounts that are no longer used leave no limits behind."""
    async with open_traffic(lambda _: make_response()) as it:
        for number in range(50):
            await it.call_without_delay(get_credits(it.bardge.with_options(account=f"account-{number}")))
            it.tasks.clear()
        registry = it.bardge._caller._engine._accounts
        await asyncio.sleep(0)
        assert len(registry._limits) <= 2
