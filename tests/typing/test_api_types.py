"""Types are API: what a type checker knows of each call. Checked by mypy and pyright; nothing here is called."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, assert_type

from bardge_async import (
    CANCEL_BOOKING,
    LIST_PASSES,
    PURCHASE_CREDITS,
    APIError,
    BardgeClient,
    Booking,
    ClientCredits,
    CreditPackage,
    CreditPurchase,
    Endpoint,
    IdempotentClient,
    IssuedPassMessage,
    OutcomeUnknownError,
    Page,
    Pass,
    Provider,
    PurchaseCredits,
    Response,
    UpdateIssuedPassExpiry,
    Walk,
)


async def check_calls(bardge: BardgeClient, buy: PurchaseCredits, expiry: UpdateIssuedPassExpiry) -> None:
    """A method returns its endpoint's class."""
    assert_type(await bardge.credits.purchase(buy), CreditPurchase)
    assert_type((await bardge.credits.purchase(buy)).balance, Decimal | None)
    assert_type(await bardge.passes.update_expiry("c", expiry), IssuedPassMessage)
    assert_type(await bardge.bookings.confirm_spa("s"), Booking)
    assert_type(await bardge.clients.get_credits("c"), ClientCredits)


async def check_lists(bardge: BardgeClient) -> None:
    """A list method returns a walk of its items directly."""
    assert_type(bardge.passes.list(limit=5), Walk[Pass])
    assert_type(bardge.providers.list(lat=6.5, lon=3.4), Walk[Provider])
    async for package in bardge.credits.list_packages():
        assert_type(package, CreditPackage)


async def check_sends(bardge: BardgeClient, buy: PurchaseCredits) -> None:
    """``send`` of an endpoint is typed by the endpoint; by name it is not."""
    assert_type(PURCHASE_CREDITS, Endpoint[PurchaseCredits, CreditPurchase])
    assert_type(await bardge.send(PURCHASE_CREDITS, request=buy), Response[CreditPurchase])
    assert_type((await bardge.send(LIST_PASSES)).value, Page[Pass])
    assert_type(await bardge.send(CANCEL_BOOKING, "b"), Response[Booking])
    assert_type(await bardge.send("credits.purchase", request=buy), Response[Any])


async def check_block(bardge: BardgeClient, buy: PurchaseCredits) -> None:
    """The block yields a client with the same types, and what happened."""
    async with bardge.idempotent("order-1") as once:
        assert_type(once, IdempotentClient)
        assert_type(await once.credits.purchase(buy), CreditPurchase)
        assert_type(await once.send(PURCHASE_CREDITS, request=buy), Response[CreditPurchase])
    assert_type(once.key, str)
    assert_type(once.replayed, str | None)
    assert_type(once.attempts, int)
    assert_type(once.request_id, str | None)


async def check_client(bardge: BardgeClient) -> None:
    """Entering a client, or deriving one, returns a client."""
    async with bardge as entered:
        assert_type(entered, BardgeClient)
    assert_type(bardge.with_options(timeout=5), BardgeClient)


async def check_refused(bardge: BardgeClient, buy: PurchaseCredits, expiry: UpdateIssuedPassExpiry) -> None:
    """A wrong call is an error of the type checker: each line needs its ignore."""
    await bardge.credits.purchase(expiry)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bardge.credits.purchase()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await bardge.credits.purchase(buy, lookup_token="t")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await bardge.passes.update_expiry(expiry)  # type: ignore[call-arg,arg-type]  # pyright: ignore[reportCallIssue]
    bardge.passes.list(5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    bardge.passes.burn()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def check_errors(api: APIError, unknown: OutcomeUnknownError) -> None:
    """Errors are typed too."""
    assert_type(api.status, int)
    assert_type(api.code, str | None)
    assert_type(unknown.may_repeat, bool)
    assert_type(unknown.idempotency_key, str | None)


def test_types_are_checked_elsewhere() -> None:
    """This module is for type checkers; only its import is run."""
    assert check_calls.__doc__
