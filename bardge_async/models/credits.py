"""Credits: a balance in the business's currency that a client spends anywhere in the network."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import attrs

from bardge_async.models._base import Body, FromGuide, FromPage, Inferred, Mark, Resource, schema
from bardge_async.models._enums import TransactionType

__all__ = ["ClientCredits", "CreditPackage", "CreditPurchase", "CreditTransaction", "PurchaseCredits"]


@schema(None, Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class CreditPackage(Resource):
    """A bundle of credits sold at a fixed price (guide: Credits; the menu has no schema for it; all fields inferred).

    ``credits`` are granted and ``amount`` is charged, both exactly the numbers the vendor sent.
    """

    object: Inferred[str] = None
    id: Inferred[str] = None
    name: Inferred[str] = None
    credits: Inferred[Decimal] = None
    amount: Inferred[Decimal] = None
    currency: Inferred[str] = None
    created: Inferred[dt.datetime] = None


@schema("PurchaseCreditsV3Request", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class PurchaseCredits(Body):
    """Buy a credit package for a client (``PurchaseCreditsV3Request``, guide)."""

    client_id: str
    package_id: str


@schema("ResellerV3CreditPurchaseResponse", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class CreditPurchase(Resource):
    """A purchased credit package (``ResellerV3CreditPurchaseResponse``, guide).

    ``balance`` is the client's balance after the purchase; ``created`` is an aware UTC datetime.
    """

    balance: FromGuide[Decimal] = None
    object: Inferred[str] = None
    id: Inferred[str] = None
    client_id: Inferred[str] = None
    package_id: Inferred[str] = None
    credits: Inferred[Decimal] = None
    amount: Inferred[Decimal] = None
    currency: Inferred[str] = None
    created: Inferred[dt.datetime] = None
    message: Inferred[str] = None


@schema(None, Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class CreditTransaction(Resource):
    """One transaction of a client's credits (an item of ``transactions``, page; the menu has no schema for it).

    ``amount`` is exactly the number the vendor sent; ``timestamp`` is an aware UTC datetime.
    """

    type: FromPage[TransactionType | str] = None
    amount: FromPage[Decimal] = None
    description: FromPage[str] = None
    timestamp: FromPage[dt.datetime] = None


@schema("ResellerV3CreditsResponse", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ClientCredits(Resource):
    """A client's balance and transactions; it has no ``object`` field (``ResellerV3CreditsResponse``, page)."""

    balance: FromPage[Decimal] = None
    currency: FromPage[str] = None
    transactions: FromPage[tuple[CreditTransaction, ...]] = None
    message: FromPage[str] = None
