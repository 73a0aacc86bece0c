"""Bookings of classes and spa slots, in two steps: initiate and confirm."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import attrs

from bardge_async.models._base import (
    UNSET,
    Body,
    FromGuide,
    FromPage,
    Inferred,
    Mark,
    Optional,
    Resource,
    list_to_tuple,
    require_any,
    schema,
)
from bardge_async.models._enums import BookingState, BookingType, Duration
from bardge_async.models.copay import CopayOption
from bardge_async.models.passes import PasscodeInfo
from bardge_async.models.providers import ServicePreview

__all__ = [
    "BookClass",
    "BookSpa",
    "Booking",
    "BookingStatus",
    "ClassBookingInitiation",
    "ConfirmClassBooking",
    "RefundInfo",
    "RescheduleBooking",
    "SpaBookingInitiation",
]


@schema("BookClassV3Request", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class BookClass(Body):
    """Request a place in a class instance (``BookClassV3Request``, page).

    The page does not say which fields the server requires; here the instance and the client are required.
    """

    class_instance_id: str
    client_id: str
    first_name: Optional[str] = UNSET
    last_name: Optional[str] = UNSET
    user_pass_id: Optional[str] = UNSET


@schema("ResellerV3ClassBookingInitiateResponse", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ClassBookingInitiation(Resource):
    """The response to a class booking, with one of three outcomes.

    Covered: booked immediately, with ``booking_id``. ``additional_visits_required``: confirm ``session_id`` with a
    number of visits at ``cost_per_visit``. ``copay_required``: confirm ``session_id`` with one of ``copay_options``.
    ``date`` and ``time`` are local to the venue; ``scheduled_for`` and ``created`` are aware UTC datetimes
    (``ResellerV3ClassBookingInitiateResponse``, page; ``session_id`` inferred).
    """

    object: FromPage[str] = None
    copay_required: FromPage[bool] = None
    additional_visits_required: FromPage[bool] = None
    booking_id: FromPage[str] = None
    status: FromPage[BookingState | str] = None
    class_name: FromPage[str] = None
    provider_name: FromPage[str] = None
    date: FromPage[dt.date] = None
    time: FromPage[str] = None
    scheduled_for: FromPage[dt.datetime] = None
    visits_deducted: FromPage[int] = None
    created: FromPage[dt.datetime] = None
    message: FromPage[str] = None
    cost_per_visit: FromGuide[Decimal] = None
    copay_options: FromGuide[tuple[CopayOption, ...]] = None
    session_id: Inferred[str] = None


@schema("ConfirmClassBookingV3Request", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConfirmClassBooking(Body):
    """Confirm a class booking: ``copay_package_id`` where a co-pay is required, else visits and ``duration``.

    ``number_of_visits`` are bought for a billing cycle of ``duration``, and the reseller's account is debited. The page
    says which to give in which case, but its own example gives all three: what you give is sent as it is
    (``ConfirmClassBookingV3Request``, page).

    Raises:
        InvalidArgumentError: None of the three is given.
    """

    copay_package_id: Optional[str] = UNSET
    number_of_visits: Optional[int] = UNSET
    duration: Optional[Duration | str] = UNSET

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        require_any(self, "copay_package_id", "number_of_visits", "duration")


@schema("RefundInfo", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class RefundInfo(Resource):
    """The refund of a cancelled booking (``RefundInfo``: only the name is known)."""

    amount: Inferred[Decimal] = None
    currency: Inferred[str] = None
    visits_restored: Inferred[int] = None
    status: Inferred[str] = None


@schema("ResellerV3BookingResponse", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Booking(Resource):
    """A booking of a spa (``service_name``) or a class (``class_name``, ``visits_deducted``).

    ``date`` and ``time`` are local to the venue, without a zone; ``scheduled_for`` and ``created`` are aware UTC
    datetimes, which the vendor sends in seconds (``ResellerV3BookingResponse``, page).
    """

    object: FromPage[str] = None
    id: FromPage[str] = None
    status: FromPage[BookingState | str] = None
    type: FromPage[BookingType | str] = None
    service_name: FromPage[str] = None
    class_name: FromPage[str] = None
    provider_name: FromPage[str] = None
    date: FromPage[dt.date] = None
    time: FromPage[str] = None
    scheduled_for: FromPage[dt.datetime] = None
    visits_deducted: FromPage[int] = None
    created: FromPage[dt.datetime] = None
    message: FromPage[str] = None
    refund: Inferred[RefundInfo] = None
    passcode: Inferred[PasscodeInfo] = None
    client_id: Inferred[str] = None


@schema("BookSpaV3Request", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class BookSpa(Body):
    """Request a spa slot for one or more services (``BookSpaV3Request``, guide; all fields inferred).

    ``date`` and ``time`` ("14:30") are local to the venue.
    """

    provider_id: Optional[str] = UNSET
    service_ids: Optional[tuple[str, ...]] = attrs.field(default=UNSET, converter=list_to_tuple)
    date: Optional[dt.date] = UNSET
    time: Optional[str] = UNSET
    client_id: Optional[str] = UNSET
    first_name: Optional[str] = UNSET
    last_name: Optional[str] = UNSET
    user_pass_id: Optional[str] = UNSET


@schema("ResellerV3SpaBookingInitiateResponse", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class SpaBookingInitiation(Resource):
    """The response to a spa booking: a session to confirm, or the booking if it was booked immediately.

    ``date`` and ``time`` are local to the venue; ``expires_at``, ``scheduled_for`` and ``created`` are aware UTC
    datetimes (``ResellerV3SpaBookingInitiateResponse``, guide; all fields inferred).
    """

    object: Inferred[str] = None
    session_id: Inferred[str] = None
    copay_required: Inferred[bool] = None
    amount: Inferred[Decimal] = None
    currency: Inferred[str] = None
    services: Inferred[tuple[ServicePreview, ...]] = None
    provider_name: Inferred[str] = None
    date: Inferred[dt.date] = None
    time: Inferred[str] = None
    expires_at: Inferred[dt.datetime] = None
    message: Inferred[str] = None
    id: Inferred[str] = None
    booking_id: Inferred[str] = None
    status: Inferred[BookingState | str] = None
    type: Inferred[BookingType | str] = None
    service_name: Inferred[str] = None
    scheduled_for: Inferred[dt.datetime] = None
    created: Inferred[dt.datetime] = None
    refund: Inferred[RefundInfo] = None
    passcode: Inferred[PasscodeInfo] = None
    client_id: Inferred[str] = None


@schema("ResellerV3BookingStatusResponse", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class BookingStatus(Resource):
    """The status of a booking (``ResellerV3BookingStatusResponse``: only the name is known).

    ``scheduled_for`` is an aware UTC datetime.
    """

    object: Inferred[str] = None
    id: Inferred[str] = None
    status: Inferred[BookingState | str] = None
    type: Inferred[BookingType | str] = None
    scheduled_for: Inferred[dt.datetime] = None
    message: Inferred[str] = None


@schema("RescheduleBookingV3Request", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class RescheduleBooking(Body):
    """Reschedule a booking to a date and time, local to the venue, or to another class instance.

    Only the schema's name is known (``RescheduleBookingV3Request``): all fields are inferred.
    """

    date: Optional[dt.date] = UNSET
    time: Optional[str] = UNSET
    class_instance_id: Optional[str] = UNSET
