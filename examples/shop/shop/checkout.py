"""The one operation that costs money."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from bardge_async import BardgeClient, OutcomeUnknownError, PurchaseCredits, operation_key


@dataclass(frozen=True)
class Order:
    """A customer's order; ``number`` is unique and stored before the checkout."""

    number: str
    client_id: str
    package_id: str


@dataclass(frozen=True)
class Receipt:
    """The result of a checkout."""

    order: str
    balance: Decimal | None
    request_id: str | None


class Unsettled(Exception):
    """It is unknown whether the order was charged: a person has to check, and nothing may be sent again."""


async def check_out(bardge: BardgeClient, order: Order) -> Receipt:
    """Buy what was ordered, exactly once, however often this is called."""
    request = PurchaseCredits(client_id=order.client_id, package_id=order.package_id)
    key = operation_key("shop", "credits.purchase", order.number)
    try:
        async with bardge.idempotent(key) as once:
            bought = await once.credits.purchase(request)
    except OutcomeUnknownError as error:
        raise Unsettled(order.number) from error
    return Receipt(order.number, bought.balance, once.request_id)
