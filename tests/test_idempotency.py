"""The idempotency block: one POST, one key, through every retry."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from bardge_async import ENDPOINTS, GET_CLIENT_CREDITS, PURCHASE_CREDITS, IdempotentClient, RetryPolicy, errors
from bardge_async import models as m
from bardge_async.testing import ManualClock
from tests.support.rig import OTHER, PURCHASE, advance_then, open_rig
from tests.support.server import cut, error, hang, reply

BOUGHT = reply(201, {"balance": 5}, {"Bardge-Request-Id": "req_1"})
REPLAYED = reply(201, {"balance": 5}, {"Bardge-Request-Id": "req_2", "X-Idempotent-Replayed": "true"})


async def test_given_key() -> None:
    """The POST is sent under the given key."""
    async with open_rig(BOUGHT) as it, it.bardge.idempotent("order-8731") as once:
        await once.credits.purchase(PURCHASE)
    assert (it.keys, once.key) == (["order-8731"], "order-8731")


async def test_made_key() -> None:
    """Without a key a fresh one is made, and known before anything is sent."""
    async with open_rig(BOUGHT) as it, it.bardge.idempotent() as once:
        told = once.key
        await once.credits.purchase(PURCHASE)
    assert it.keys == [told]
    assert told != it.bardge.idempotent().key


@pytest.mark.parametrize("key", ["", " a", "a ", "a\nb", "é", "x" * 256, 7])
async def test_refused_key(key: Any) -> None:
    """A key that would not reach the server unchanged is rejected immediately."""
    async with open_rig(BOUGHT) as it:
        with pytest.raises(errors.InvalidArgumentError):
            it.bardge.idempotent(key)


async def test_before_the_post() -> None:
    """Before its POST a block has no attempts, no request id and no replay."""
    async with open_rig(BOUGHT) as it, it.bardge.idempotent() as once:
        assert (once.attempts, once.replayed, once.request_id) == (0, None, None)


async def test_first_answer() -> None:
    """After a plain response: one attempt, its request id, not replayed."""
    async with open_rig(BOUGHT) as it, it.bardge.idempotent() as once:
        await once.credits.purchase(PURCHASE)
    assert (once.attempts, once.replayed, once.request_id) == (1, None, "req_1")


async def test_replayed_answer() -> None:
    """After a cut and a replayed response: two attempts, the last request id, replayed by the server."""
    async with open_rig(cut(), REPLAYED) as it, it.bardge.idempotent() as once:
        await once.credits.purchase(PURCHASE)
    assert (once.attempts, once.replayed, once.request_id) == (2, "server", "req_2")
    assert it.keys == [once.key, once.key]


async def test_refused_answer() -> None:
    """After a refusal the block still has attempts and request id."""
    refusal = error(400, "invalid_request_error", Bardge_Request_Id="req_9")
    async with open_rig(refusal) as it, it.bardge.idempotent() as once:
        with pytest.raises(errors.InvalidRequestError):
            await once.credits.purchase(PURCHASE)
    assert (once.attempts, once.replayed, once.request_id) == (1, None, "req_9")


async def test_same_post_again_is_answered_without_a_request() -> None:
    """Once answered, the same POST again in the block returns that response and sends nothing."""
    async with open_rig(BOUGHT, error(500)) as it, it.bardge.idempotent() as once:
        first = await once.credits.purchase(PURCHASE)
        again = await once.credits.purchase(m.PurchaseCredits(client_id="client_abc123", package_id="cpkg_50"))
    assert (first, it.request_count) == (again, 1)


async def test_same_post_again_after_an_error_keeps_the_key() -> None:
    """A POST whose outcome is unknown may be repeated in the block, under the same key and with the same bytes."""
    async with open_rig(cut(), REPLAYED, retry=RetryPolicy(max_attempts=1)) as it, it.bardge.idempotent() as once:
        with pytest.raises(errors.OutcomeUnknownError):
            await once.credits.purchase(PURCHASE)
        await once.credits.purchase(PURCHASE)
    assert (it.keys, once.attempts, once.replayed) == ([once.key] * 2, 2, "server")


async def test_same_post_again_has_its_own_attempts() -> None:
    """``max_attempts`` is for one call: the repeated POST may be retried as often as the first time."""
    policy = RetryPolicy(max_attempts=2, base=0)
    async with open_rig(cut(), cut(), cut(), REPLAYED, retry=policy) as it, it.bardge.idempotent() as once:
        with pytest.raises(errors.OutcomeUnknownError):
            await once.credits.purchase(PURCHASE)
        await once.credits.purchase(PURCHASE)
    assert (it.request_count, once.attempts) == (4, 4)


async def test_same_post_again_past_the_window() -> None:
    """Past the window the same POST is not sent: its outcome stays unknown."""
    async with open_rig(cut(), BOUGHT, retry=RetryPolicy(max_attempts=1)) as it, it.bardge.idempotent() as once:
        with pytest.raises(errors.OutcomeUnknownError):
            await once.credits.purchase(PURCHASE)
        it.clock.advance(85)
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await once.credits.purchase(PURCHASE)
    assert (it.request_count, caught.value.may_repeat) == (1, False)


@pytest.mark.parametrize(("later", "requests"), [(79, 2), (79.001, 1)])
async def test_last_second_of_the_window(later: float, requests: int) -> None:
    """A key in doubt is sent again while a whole second of its window is left, without the margin, and not after it."""
    async with open_rig(cut(), BOUGHT, retry=RetryPolicy(max_attempts=1)) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.send("credits.purchase", request=PURCHASE, key="order-1")
        it.clock.advance(later)
        with contextlib.suppress(errors.OutcomeUnknownError):
            await it.bardge.send("credits.purchase", request=PURCHASE, key="order-1")
    assert it.request_count == requests


async def test_cancelled_post_again_past_the_window() -> None:
    """A POST cancelled in flight is in doubt: past the window the block does not send it again."""
    reached = anyio.Event()
    async with open_rig(hang(reached), BOUGHT) as it, it.bardge.idempotent() as once:
        task = asyncio.ensure_future(once.credits.purchase(PURCHASE))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        it.clock.advance(100)
        with pytest.raises(errors.OutcomeUnknownError):
            await once.credits.purchase(PURCHASE)
    assert it.request_count == 1


async def test_cancelled_then_refused() -> None:
    """A POST cancelled in flight and then refused a connection is in doubt."""
    reached = anyio.Event()
    async with open_rig(hang(reached)) as it, it.bardge.idempotent() as once:
        task = asyncio.ensure_future(once.credits.purchase(PURCHASE))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        it.server.refuse()
        with pytest.raises(errors.OutcomeUnknownError):
            await once.credits.purchase(PURCHASE)


async def test_unreadable_answer_is_never_sent_again() -> None:
    """A POST that was executed, though its response was unreadable, is not sent again once its key is forgotten."""
    async with open_rig(reply(200, [1]), BOUGHT) as it, it.bardge.idempotent() as once:
        with pytest.raises(errors.DecodeError):
            await once.credits.purchase(PURCHASE)
        it.clock.advance(100)
        with pytest.raises(errors.BardgeError):
            await once.credits.purchase(PURCHASE)
    assert it.request_count == 1


async def send_other_endpoint(once: IdempotentClient) -> object:
    return await once.passes.issue(m.IssuePass(client_id="c"))


async def send_other_body(once: IdempotentClient) -> object:
    return await once.credits.purchase(OTHER)


@pytest.mark.parametrize(("second", "word"), [(send_other_endpoint, "endpoint"), (send_other_body, "request")])
async def test_different_post_is_refused(second: Callable[[IdempotentClient], Awaitable[object]], word: str) -> None:
    """A second, different POST in a block is rejected before it is sent, naming the difference."""
    async with open_rig(BOUGHT) as it, it.bardge.idempotent() as once:
        await once.credits.purchase(PURCHASE)
        with pytest.raises(errors.IdempotencyMisuseError, match=word) as caught:
            await second(once)
    assert (it.request_count, caught.value.idempotency_key, caught.value.sent) == (1, once.key, False)


async def test_bodiless_posts_differ_by_their_path() -> None:
    """Two POSTs without a body, which look equal to the server under one key, are two operations."""
    async with open_rig(reply(200, {"object": "booking"})) as it, it.bardge.idempotent() as once:
        await once.bookings.confirm_spa("sess_1")
        with pytest.raises(errors.IdempotencyMisuseError, match="path"):
            await once.bookings.confirm_spa("sess_2")
    assert it.request_count == 1


async def test_different_post_is_refused_after_a_failure_too() -> None:
    """The key belongs to the first POST even if that failed."""
    async with open_rig(error(400, "invalid_request_error"), BOUGHT) as it, it.bardge.idempotent() as once:
        with pytest.raises(errors.InvalidRequestError):
            await once.credits.purchase(PURCHASE)
        with pytest.raises(errors.IdempotencyMisuseError):
            await once.credits.purchase(OTHER)
    assert it.request_count == 1


async def test_refused_arguments_leave_the_block_free() -> None:
    """A call that could not be sent does not use the key."""
    async with open_rig(reply(200, {"object": "issued_pass"})) as it, it.bardge.idempotent() as once:
        expiry = m.UpdateIssuedPassExpiry(expiry_date=dt.date(2026, 12, 31))
        with pytest.raises(errors.InvalidArgumentError):
            await once.passes.update_expiry("", expiry)
        await once.passes.update_expiry("client_abc123", expiry)
    assert it.keys == [once.key]


async def test_two_tasks_with_the_same_post() -> None:
    """Two tasks with the same POST in one block: one request, one response for both."""
    async with open_rig(BOUGHT) as it, it.bardge.idempotent() as once:
        first, second = await asyncio.gather(*(once.credits.purchase(PURCHASE) for _ in range(2)))
    assert (first, it.request_count) == (second, 1)


async def test_two_tasks_with_different_posts() -> None:
    """Two tasks with different POSTs in one block: the second is rejected, not given the first one's response."""
    async with open_rig(BOUGHT) as it, it.bardge.idempotent() as once:
        posts = (once.credits.purchase(PURCHASE), once.credits.purchase(OTHER))
        first, second = await asyncio.gather(*posts, return_exceptions=True)
    assert isinstance(first, m.CreditPurchase)
    assert isinstance(second, errors.IdempotencyMisuseError)
    assert it.request_count == 1


async def test_blocks_in_tasks_have_their_own_keys() -> None:
    """Blocks in the tasks of a group share nothing."""
    async with open_rig(BOUGHT) as it:

        async def buy(key: str) -> None:
            async with it.bardge.idempotent(key) as once:
                await once.credits.purchase(PURCHASE)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(buy, f"order-{number}")
    assert sorted(map(str, it.keys)) == ["order-0", "order-1", "order-2"]


async def test_client_beside_a_block_has_its_own_keys() -> None:
    """A POST of the plain client inside a block is not sent under the block's key."""
    async with open_rig(BOUGHT) as it, it.bardge.idempotent("order-1") as once:
        await once.credits.purchase(PURCHASE)
        await it.bardge.credits.purchase(OTHER)
    assert it.keys[0] == "order-1" != it.keys[1]


async def test_gets_are_free() -> None:
    """GETs before and after the POST have no key and change nothing about it."""
    page = reply(200, {"data": [], "has_more": False})
    async with open_rig(reply(200, {}), BOUGHT, reply(200, {}), page) as it, it.bardge.idempotent() as once:
        await once.clients.get_credits("c")
        await once.credits.purchase(PURCHASE)
        await once.clients.get("c")
        assert [item async for item in once.passes.list()] == []
    assert it.keys == [None, once.key, None, None]
    assert once.attempts == 1


KEYLESS: dict[str, Callable[[IdempotentClient], Awaitable[object]]] = {
    "lookups.initiate": lambda once: once.lookups.initiate(m.InitiateLookup(issuer_id="i", client_id="c")),
    "lookups.verify": lambda once: once.lookups.verify("lkp_1", m.VerifyLookup(access_code="1")),
    "copay.quote_spa": lambda once: once.copay.quote_spa("prov_1", m.SpaCopayQuoteRequest()),
}


@pytest.mark.parametrize("name", [name for name, row in ENDPOINTS.items() if row.method == "POST" and not row.key])
async def test_post_without_a_key_is_refused(name: str) -> None:
    """A POST whose endpoint takes no key is rejected in a block: nothing would protect it."""
    async with open_rig(BOUGHT) as it, it.bardge.idempotent() as once:
        with pytest.raises(errors.IdempotencyMisuseError, match="no idempotency key") as caught:
            await KEYLESS[name](once)
    assert (it.request_count, caught.value.endpoint) == (0, name)


async def test_send_in_a_block() -> None:
    """``send`` returns the block's POST as a response, under the block's key."""
    async with open_rig(cut(), REPLAYED, reply(200, {"balance": 5})) as it, it.bardge.idempotent("order-1") as once:
        bought = await once.send(PURCHASE_CREDITS, request=PURCHASE)
        read = await once.send(GET_CLIENT_CREDITS, "client_abc123")
    assert (bought.idempotency_key, bought.replayed, bought.attempts, bought.status) == ("order-1", "server", 2, 201)
    assert (read.idempotency_key, it.keys) == (None, ["order-1", "order-1", None])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_block_outside(when: str) -> None:
    """A block's client works inside its ``async with`` only, for POSTs, GETs and lists."""
    async with open_rig(BOUGHT) as it:
        once = it.bardge.idempotent()
        if when == "after":
            async with once:
                pass
        for made in (once.credits.purchase(PURCHASE), once.clients.get("c")):
            with pytest.raises(errors.IdempotencyMisuseError):
                await made
        with pytest.raises(errors.IdempotencyMisuseError):
            _ = [item async for item in once.passes.list()]
    assert it.request_count == 0


@pytest.mark.parametrize("nested", [True, False])
async def test_entering_twice(nested: bool) -> None:
    """A block is entered once, neither again afterwards nor inside itself."""
    async with open_rig(BOUGHT) as it:
        once = it.bardge.idempotent()
        async with once:
            if nested:
                with pytest.raises(errors.IdempotencyMisuseError):
                    await once.__aenter__()
        with pytest.raises(errors.IdempotencyMisuseError):
            await once.__aenter__()


async def test_own_exceptions_pass_through() -> None:
    """What the caller raises in a block is raised unchanged."""
    async with open_rig(BOUGHT) as it:
        with pytest.raises(KeyError):
            async with it.bardge.idempotent():
                raise KeyError
    assert it.request_count == 0


async def test_timeout_in_a_block() -> None:
    """A POST whose deadline passes in a block ends as unknown, with the block's key."""
    clock = ManualClock()
    async with open_rig(advance_then(clock, 5), clock=clock, timeout=5) as it, it.bardge.idempotent("order-1") as once:
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await once.credits.purchase(PURCHASE)
    assert (caught.value.idempotency_key, caught.value.timed_out) == ("order-1", True)
