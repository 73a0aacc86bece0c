"""Pass packages, which are the products, and issued passes, which are clients' instances of them."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import attrs

from bardge_async.models._base import UNSET, Body, FromPage, Inferred, Mark, Optional, Resource, schema
from bardge_async.models._enums import Duration, IssuedPassState, ProviderCategory

__all__ = [
    "CategoryDetail",
    "CategoryDetails",
    "IssuePass",
    "IssuedPass",
    "IssuedPassMessage",
    "Pass",
    "PassRef",
    "Passcode",
    "PasscodeInfo",
    "PasscodeRequest",
    "UpdateIssuedPass",
    "UpdateIssuedPassExpiry",
]


@schema("CategoryDetail", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class CategoryDetail(Resource):
    """What a pass package grants in one category of providers.

    ``credit_allocated`` is in the business's currency (``CategoryDetail``, page).
    """

    type: FromPage[ProviderCategory | str] = None
    tiers: FromPage[tuple[str, ...]] = None
    duration: FromPage[Duration | str] = None
    credit_allocated: FromPage[Decimal] = None
    visits_allowed: FromPage[int] = None


@schema("CategoryDetails", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class CategoryDetails(Resource):
    """What an issued pass grants in one category of providers.

    ``credit_allocated`` is in the business's currency (``CategoryDetails``, page).
    """

    type: FromPage[ProviderCategory | str] = None
    duration: FromPage[Duration | str] = None
    credit_allocated: FromPage[Decimal] = None
    visits_allowed: FromPage[int] = None


@schema("ResellerV3PassResponse", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Pass(Resource):
    """A pass package that the reseller may issue.

    ``price`` is exactly the number the vendor sent; the page does not say whether 1500000 NGN is naira or kobo.
    ``created`` is an aware UTC datetime (``ResellerV3PassResponse``, page).
    """

    object: FromPage[str] = None
    id: FromPage[str] = None
    name: FromPage[str] = None
    description: FromPage[str] = None
    price: FromPage[Decimal] = None
    currency: FromPage[str] = None
    duration: FromPage[Duration | str] = None
    categories: FromPage[tuple[CategoryDetail, ...]] = None
    livemode: FromPage[bool] = None
    created: FromPage[dt.datetime] = None
    payment_model: FromPage[str] = None
    provider_count: FromPage[int] = None


@schema("ResellerV3IssuedPassResponse", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class IssuedPass(Resource):
    """One client's instance of a pass package.

    ``created``, ``start_date`` and ``expires_at`` are aware UTC datetimes. The pass ends when the date has
    passed or all visits are used (``ResellerV3IssuedPassResponse``, page).
    """

    object: FromPage[str] = None
    id: FromPage[str] = None
    passcode: FromPage[str] = None
    status: FromPage[IssuedPassState | str] = None
    categories: FromPage[tuple[CategoryDetails, ...]] = None
    created: FromPage[dt.datetime] = None
    message: FromPage[str] = None
    client_id: FromPage[str] = None
    transaction_id: FromPage[str] = None
    tx_ref: FromPage[str] = None
    pass_id: FromPage[str] = None
    pass_name: FromPage[str] = None
    start_date: FromPage[dt.datetime] = None
    expires_at: FromPage[dt.datetime] = None


@schema("IssuePassV3Request", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class IssuePass(Body):
    """Issue a pass to a client.

    Only the schema's name is known (``IssuePassV3Request``): all fields are inferred and may be left
    unset; send others in ``extra``. ``start_date`` is a calendar day.
    """

    client_id: Optional[str] = UNSET
    pass_id: Optional[str] = UNSET
    first_name: Optional[str] = UNSET
    last_name: Optional[str] = UNSET
    email: Optional[str] = UNSET
    phone_number: Optional[str] = UNSET
    start_date: Optional[dt.date] = UNSET
    tx_ref: Optional[str] = UNSET


@schema("UpdateIssuedPassV3Request", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class UpdateIssuedPass(Body):
    """Change the holder's details on an issued pass.

    Only the schema's name is known (``UpdateIssuedPassV3Request``): all fields are inferred.
    """

    client_id: Optional[str] = UNSET
    first_name: Optional[str] = UNSET
    last_name: Optional[str] = UNSET
    email: Optional[str] = UNSET
    phone_number: Optional[str] = UNSET


@schema("UpdateIssuedPassExpiryV3Request", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class UpdateIssuedPassExpiry(Body):
    """Set the expiry of a client's active issued pass.

    ``expiry_date`` is a calendar day, without a zone (``UpdateIssuedPassExpiryV3Request``, page).
    """

    expiry_date: dt.date


@schema("ResellerV3IssuedPassMessageResponse", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class IssuedPassMessage(Resource):
    """The server's confirmation that an issued pass was changed (``ResellerV3IssuedPassMessageResponse``, page)."""

    object: FromPage[str] = None
    message: FromPage[str] = None


@schema("PassRef", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class PassRef(Resource):
    """A reference to a pass inside another object (``PassRef``: only the name is known)."""

    pass_id: Inferred[str] = None
    pass_name: Inferred[str] = None


@schema("PasscodeV3Request", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class PasscodeRequest(Body):
    """Request a client's passcode; no published endpoint takes it (``PasscodeV3Request``: only the name is known)."""

    client_id: Optional[str] = UNSET


@schema("ResellerV3PasscodeResponse", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Passcode(Resource):
    """A client's passcode; no published endpoint returns it (``ResellerV3PasscodeResponse``: only the name is known).

    ``expires_at`` is an aware UTC datetime.
    """

    passcode: Inferred[str] = None
    expires_at: Inferred[dt.datetime] = None


@schema("PasscodeInfo", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class PasscodeInfo(Resource):
    """The passcode inside a booking (``PasscodeInfo``: only the name is known).

    ``expires_at`` is an aware UTC datetime.
    """

    passcode: Inferred[str] = None
    expires_at: Inferred[dt.datetime] = None
