"""Co-pay: what a client pays on top of the pass, by option at gyms and by quote at spas."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import attrs

from bardge_async.models._base import (
    UNSET,
    Body,
    FromGuide,
    Inferred,
    Mark,
    Optional,
    Resource,
    list_to_tuple,
    require_any,
    schema,
)
from bardge_async.models._enums import Duration
from bardge_async.models.providers import ServicePreview

__all__ = [
    "CopayOption",
    "CopayPurchase",
    "GymCopayPurchase",
    "PurchaseCopayPackage",
    "PurchaseGymCopay",
    "PurchaseSpaCopay",
    "SpaCopayPurchase",
    "SpaCopayQuote",
    "SpaCopayQuoteRequest",
]


@schema("CopayOption", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class CopayOption(Resource):
    """A co-pay package that a gym offers; it has no ``id`` (``CopayOption``, guide).

    ``price`` is exactly the number the vendor sent.
    """

    copay_package_id: FromGuide[str] = None
    name: Inferred[str] = None
    price: Inferred[Decimal] = None
    currency: Inferred[str] = None
    duration: Inferred[Duration | str] = None
    visits: Inferred[int] = None
    tier: Inferred[str] = None


@schema("SpaCoPayQuoteV3Request", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class SpaCopayQuoteRequest(Body):
    """Request a quote for a client and services of a spa (``SpaCoPayQuoteV3Request``, guide; all fields inferred)."""

    client_id: Optional[str] = UNSET
    service_ids: Optional[tuple[str, ...]] = attrs.field(default=UNSET, converter=list_to_tuple)


@schema("ResellerV3SpaCoPayQuoteResponse", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class SpaCopayQuote(Resource):
    """A quote: what a client would pay (``ResellerV3SpaCoPayQuoteResponse``, guide; all fields inferred).

    ``amount`` is exactly the number the vendor sent; ``expires_at`` is an aware UTC datetime.
    """

    quote_id: Inferred[str] = None
    amount: Inferred[Decimal] = None
    currency: Inferred[str] = None
    expires_at: Inferred[dt.datetime] = None
    services: Inferred[tuple[ServicePreview, ...]] = None


@schema("PurchaseCoPayPackageV3Request", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class PurchaseCopayPackage(Body):
    """Buy a co-pay: by option (``copay_package_id``) or by quote (``quote_id``).

    The field names are taken from the text of a guide, which does not say what both together mean: they are sent as
    given (``PurchaseCoPayPackageV3Request``, guide).

    Raises:
        InvalidArgumentError: Neither ``copay_package_id`` nor ``quote_id`` is given.
    """

    client_id: str
    provider_id: str
    copay_package_id: Optional[str] = UNSET
    quote_id: Optional[str] = UNSET

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        require_any(self, "copay_package_id", "quote_id")


@schema("PurchaseGymCoPayV3Request", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class PurchaseGymCopay(Body):
    """Buy a co-pay option at a gym (``PurchaseGymCoPayV3Request``, guide)."""

    client_id: str
    provider_id: str
    copay_package_id: str


@schema("PurchaseSpaCoPayV3Request", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class PurchaseSpaCopay(Body):
    """Buy a quoted co-pay at a spa (``PurchaseSpaCoPayV3Request``, guide)."""

    client_id: str
    provider_id: str
    quote_id: str


@schema("ResellerV3CoPayPurchaseResponse", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class CopayPurchase(Resource):
    """A purchased co-pay (``ResellerV3CoPayPurchaseResponse``, guide).

    ``amount`` is exactly the number the vendor sent; ``created`` is an aware UTC datetime.
    """

    copay_purchase_id: FromGuide[str] = None
    object: Inferred[str] = None
    status: Inferred[str] = None
    amount: Inferred[Decimal] = None
    currency: Inferred[str] = None
    created: Inferred[dt.datetime] = None
    message: Inferred[str] = None


@schema("ResellerV3GymCoPayPurchaseResponse", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class GymCopayPurchase(CopayPurchase):
    """A co-pay purchased at a gym (``ResellerV3GymCoPayPurchaseResponse``, guide)."""


@schema("ResellerV3SpaCoPayPurchaseResponse", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class SpaCopayPurchase(CopayPurchase):
    """A co-pay purchased at a spa (``ResellerV3SpaCoPayPurchaseResponse``, guide)."""
