"""Calls that many tests make."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from bardge_async import BardgeClient, PurchaseCredits, Response, errors
from bardge_async import models as m
from tests.support.rig import PURCHASE


async def get_credits(bardge: BardgeClient) -> m.ClientCredits:
    """Make a GET."""
    return await bardge.clients.get_credits("client_abc123")


async def purchase_credits(bardge: BardgeClient) -> m.CreditPurchase:
    """Make a charging POST under a key that the library makes."""
    return await bardge.credits.purchase(PURCHASE)


async def buy(bardge: BardgeClient, key: str = "order-1", request: PurchaseCredits = PURCHASE) -> Response[Any]:
    """Make a charging POST under the caller's key."""
    return await bardge.send("credits.purchase", request=request, key=key)


async def catch_error(call: Awaitable[object]) -> errors.BardgeError:
    """Return the error that a call ends with."""
    with pytest.raises(errors.BardgeError) as caught:
        await call
    return caught.value


async def fail_to_buy(bardge: BardgeClient, key: str = "order-1") -> errors.BardgeError:
    """Make a charging POST under a key, and return the error that it ends with."""
    return await catch_error(buy(bardge, key))
