"""Spots in classes, slots at spas, and the bookings that take them."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Final, Literal

import attrs

from bardge_async.sandbox._errors import (
    ErrorAnswer,
    conflict_error,
    not_found_error,
    permission_error,
    validation_error,
)
from bardge_async.sandbox._formats import CURRENCY, DAY, format_money, lagos_instant, new_id, to_seconds
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row, Value

_OPENS: Final = dt.time(8)
_CLOSES: Final = dt.time(20)
_SELECT_INSTANCE: Final = "SELECT i.*, c.name AS class_name, c.credit_price, c.provider FROM class_instances i JOIN classes c ON c.seq = i.class "
_SELECT_BOOKING: Final = "SELECT b.*, p.name AS provider_name FROM bookings b JOIN providers p ON p.seq = b.provider "


@attrs.frozen
class BookingDraft:
    """A booking to be created; what paid for it decides what a cancellation refunds."""

    # The fields are columns of ``bookings``: they are written and copied by name.

    type: Literal["class", "spa"]
    name: str
    provider: int
    date: str
    time: str
    scheduled_for: int
    instance: int | None = None
    issued: int | None = None
    copay: int | None = None
    visits_deducted: int = 0
    credits_spent: int = 0


def find_instance(request: SandboxRequest, id: str) -> Row:
    """Return a class instance that has not started.

    Raises:
        ErrorAnswer: 404, there is none; 400, it has started.
    """
    row = request.store.fetch_one(_SELECT_INSTANCE + "WHERE i.id = ?", id)
    if row is None:
        raise not_found_error("class instance", id)
    if row["scheduled_for"] <= request.now_ms:
        raise validation_error("class_instance_id", "the class has already started")
    return row


def get_instance(request: SandboxRequest, seq: int) -> Row:
    """Return a class instance that is known to exist."""
    return request.store.fetch_all(_SELECT_INSTANCE + "WHERE i.seq = ?", seq)[0]


def require_spot(instance: Row) -> None:
    """Raise if a class is full."""
    if instance["taken"] >= instance["capacity"]:
        raise conflict_error("class_full", f"Class instance {instance['id']} is full.")


def read_slot(request: SandboxRequest) -> tuple[str, str, int]:
    """Return ``date`` and ``time`` of a spa slot with their timestamp in Lagos.

    The sandbox's choice: spas take one client per half hour, from 08:00 to 20:00.

    Raises:
        ErrorAnswer: 400, no date or time, or in the past; 409, the spa is closed then.
    """
    day, time = request.fields.read_date("date"), request.fields.read_time("time")
    when = lagos_instant(day, time)
    if when <= request.now_ms:
        raise validation_error("date", "the slot is in the past")
    if not _OPENS <= time < _CLOSES or time.minute % 30:
        raise _slot_unavailable_error(day.isoformat(), f"{time:%H:%M}")
    return day.isoformat(), f"{time:%H:%M}", when


def require_free_slot(request: SandboxRequest, provider: int, date: str, time: str) -> None:
    """Raise if a slot is taken."""
    sql = "SELECT 1 FROM bookings WHERE provider = ? AND date = ? AND time = ? AND type = 'spa' AND status = 'PENDING'"
    if request.store.fetch_one(sql, provider, date, time):
        raise _slot_unavailable_error(date, time)


def _slot_unavailable_error(date: str, time: str) -> ErrorAnswer:
    return conflict_error("slot_unavailable", f"The slot on {date} at {time} is not available.")


def create_booking(request: SandboxRequest, client: int, draft: BookingDraft) -> Row:
    """Take the spot and create the booking; the caller has checked that the spot is free.

    Raises:
        ErrorAnswer: 409, the class is full.
    """
    if draft.instance is not None:
        _take_spot(request, draft.instance)
    id = new_id("booking")
    row: dict[str, Value] = {"client": client, "reseller": request.reseller.seq, "id": id, "status": "PENDING"}
    request.store.insert_row("bookings", {**row, "created": request.now_ms, **attrs.asdict(draft)})
    return request.store.fetch_all(_SELECT_BOOKING + "WHERE b.id = ?", id)[0]


def _take_spot(request: SandboxRequest, instance: int) -> None:
    sql = "UPDATE class_instances SET taken = taken + 1 WHERE seq = ? AND taken < capacity"
    if not request.store.execute(sql, instance):
        require_spot(get_instance(request, instance))


def free_spot(request: SandboxRequest, booking: Row) -> None:
    """Release a spot; a spa slot is free once its booking is no longer pending."""
    if booking["instance"] is not None:
        request.store.execute("UPDATE class_instances SET taken = taken - 1 WHERE seq = ?", booking["instance"])


def find_booking(request: SandboxRequest, id: str) -> Row:
    """Return a booking that this reseller made.

    Raises:
        ErrorAnswer: 404, there is none; 403, another reseller made it (guide: Bookings).
    """
    row = request.store.fetch_one(_SELECT_BOOKING + "WHERE b.id = ?", id)
    if row is None:
        raise not_found_error("booking", id)
    if row["reseller"] != request.reseller.seq:
        raise permission_error("The booking belongs to another reseller.")
    return row


def booking_status(booking: Row, now: int) -> str:
    """Return a booking's status: a pending one (page: "PENDING") is completed once its time has come."""
    status = str(booking["status"])
    return "COMPLETED" if status == "PENDING" and booking["scheduled_for"] <= now else status


def booking_json(request: SandboxRequest, booking: Row, client_id: str, message: str) -> JSON:
    """Return a booking as JSON: timestamps in seconds, a class name or a service name by type (page).

    The sandbox's choice: a spa booking has a passcode, a cancelled one its refund.
    """
    by_type: JSON = (
        {"service_name": booking["name"], "passcode": _passcode_json(booking)}
        if booking["type"] == "spa"
        else {"class_name": booking["name"], "visits_deducted": booking["visits_deducted"]}
    )
    status = booking_status(booking, request.now_ms)
    refund = {"refund": _refund_json(booking)} if status == "CANCELLED" else {}
    return {
        "object": "booking",
        "id": booking["id"],
        "status": status,
        "type": booking["type"],
        **by_type,
        "provider_name": booking["provider_name"],
        "date": booking["date"],
        "time": booking["time"],
        "scheduled_for": to_seconds(booking["scheduled_for"]),
        "created": to_seconds(booking["created"]),
        "client_id": client_id,
        **refund,
        "message": message,
    }


def _passcode_json(booking: Row) -> JSON:
    digest = hashlib.sha256(booking["id"].encode()).hexdigest()
    return {"passcode": f"{int(digest[:8], 16) % 10**6:06d}", "expires_at": booking["scheduled_for"] + DAY}


def _refund_json(booking: Row) -> JSON:
    return {
        "amount": format_money(booking["credits_spent"]),
        "currency": CURRENCY,
        "visits_restored": booking["visits_deducted"],
        "status": "COMPLETED",
    }
