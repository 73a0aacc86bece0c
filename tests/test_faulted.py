"""A charging POST on which the server's own handler failed is not sent again: the key may be forgotten."""

from __future__ import annotations

import pytest

from bardge_async import BardgeClient, RetryPolicy, errors
from tests.support.rig import PURCHASE, open_rig
from tests.support.server import cut, error, reply

BOUGHT = reply(201, {"balance": 5})
FAULT = error(500)
TRUSTING = RetryPolicy(base=0, max_attempts=1, repeat_server_errors=True)


async def unknown(bardge: BardgeClient, key: str = "order-1") -> errors.OutcomeUnknownError:
    with pytest.raises(errors.OutcomeUnknownError) as caught:
        async with bardge.idempotent(key) as once:
            await once.credits.purchase(PURCHASE)
    return caught.value


async def test_entering_again_sends_nothing() -> None:
    """The same key again, within its window, ends as unknown without a request."""
    async with open_rig(FAULT, BOUGHT) as it:
        await unknown(it.bardge)
        await unknown(it.bardge)
        assert it.request_count == 1


async def test_the_same_post_in_the_block_sends_nothing() -> None:
    """The same is true of the same POST again within the block."""
    async with open_rig(FAULT, BOUGHT) as it, it.bardge.idempotent() as once:
        for _ in range(2):
            with pytest.raises(errors.OutcomeUnknownError):
                await once.credits.purchase(PURCHASE)
        assert it.request_count == 1


async def test_a_fault_on_a_repeat_counts_too() -> None:
    """A retry on which the handler failed ends the key, too."""
    async with open_rig(cut(), FAULT, BOUGHT) as it:
        await unknown(it.bardge)
        await unknown(it.bardge)
        assert it.request_count == 2


async def test_errors_say_not_to_repeat() -> None:
    """Neither error, the first one nor that of re-entry, calls a repeat harmless."""
    async with open_rig(FAULT) as it:
        found = [await unknown(it.bardge), await unknown(it.bardge)]
    assert [(one.may_repeat, "do not repeat" in str(one)) for one in found] == [(False, True)] * 2


async def test_who_trusts_the_server_may_enter_again() -> None:
    """With ``repeat_server_errors`` the key is sent again within its window."""
    async with open_rig(FAULT, BOUGHT, retry=TRUSTING) as it:
        found = await unknown(it.bardge)
        async with it.bardge.idempotent("order-1") as once:
            await once.credits.purchase(PURCHASE)
    assert (it.request_count, found.may_repeat) == (2, True)


async def test_sending_again_keeps_the_fault_on_record() -> None:
    """A client that trusts the server records the failure, for clients that do not."""
    async with open_rig(FAULT, cut(), BOUGHT, retry=TRUSTING) as it:
        await unknown(it.bardge)
        await unknown(it.bardge)
        await unknown(it.bardge.with_options(retry=RetryPolicy()))
        assert it.request_count == 2
