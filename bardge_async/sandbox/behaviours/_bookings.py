"""Existing bookings: list, status, cancellation and rescheduling (guide: Bookings)."""

from __future__ import annotations

from typing import Final

import attrs

from bardge_async.sandbox._errors import conflict_error, validation_error
from bardge_async.sandbox._formats import to_seconds
from bardge_async.sandbox._ledger import add_credits
from bardge_async.sandbox._pages import Listing, render_page
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row
from bardge_async.sandbox.behaviours._availability import (
    BookingDraft,
    booking_json,
    booking_status,
    create_booking,
    find_booking,
    find_instance,
    free_spot,
    get_instance,
    read_slot,
    require_free_slot,
    require_spot,
)
from bardge_async.sandbox.behaviours._clients import find_client
from bardge_async.sandbox.behaviours._entitlements import change_copay_visits, restore_visit

_OF_CLIENT: Final = Listing(
    "bookings",
    "client = ?",
    "bookings.*, (SELECT name FROM providers p WHERE p.seq = provider) AS provider_name",
)


def list_client_bookings(request: SandboxRequest) -> JSON:
    """Answer ``bookings.list_for_client``."""
    client = find_client(request, request.path["client_id"])
    message = "Booking retrieved successfully"
    return render_page(
        request,
        _OF_CLIENT,
        lambda row: booking_json(request, row, client["id"], message),
        client["seq"],
        noun="Bookings",
    )


def get_booking_status(request: SandboxRequest) -> JSON:
    """Answer ``bookings.get_status``."""
    booking = find_booking(request, request.path["booking_id"])
    return {
        "object": "booking",
        "id": booking["id"],
        "status": booking_status(booking, request.now_ms),
        "type": booking["type"],
        "scheduled_for": to_seconds(booking["scheduled_for"]),
        "message": "Booking status retrieved successfully",
    }


def cancel_booking(request: SandboxRequest) -> JSON:
    """Answer ``bookings.cancel``: the spot is released, visit and credits are refunded."""
    booking = _find_pending_booking(request)
    client = _get_client(request, booking)
    request.store.execute("UPDATE bookings SET status = 'CANCELLED' WHERE seq = ?", booking["seq"])
    free_spot(request, booking)
    _refund_booking(request, booking, client)
    cancelled = find_booking(request, booking["id"])
    return booking_json(request, cancelled, client["id"], "Booking cancelled successfully")


def _refund_booking(request: SandboxRequest, booking: Row, client: Row) -> None:
    if booking["issued"] is not None:
        restore_visit(request, booking["issued"], "SPA" if booking["type"] == "spa" else "GYM")
    if booking["copay"] is not None:
        change_copay_visits(request, booking["copay"], 1)
    if booking["credits_spent"]:
        add_credits(request, client, booking["credits_spent"], f"Refund of {booking['id']}")


def _find_pending_booking(request: SandboxRequest) -> Row:
    """Return a booking that can still be changed; the codes are the sandbox's, since the page's table is cut off."""
    booking = find_booking(request, request.path["booking_id"])
    status = booking_status(booking, request.now_ms)
    if status == "CANCELLED":
        raise conflict_error("booking_already_cancelled", f"Booking {booking['id']} is already cancelled.")
    if status != "PENDING":
        raise conflict_error("booking_closed", f"Booking {booking['id']} is {status.lower()}.")
    return booking


def _get_client(request: SandboxRequest, booking: Row) -> Row:
    return request.store.fetch_all("SELECT * FROM clients WHERE seq = ?", booking["client"])[0]


def reschedule_booking(request: SandboxRequest) -> JSON:
    """Answer ``bookings.reschedule``: the old booking is closed and a new one created, at no charge."""
    old = _find_pending_booking(request)
    draft = _reschedule_spa(request, old) if old["type"] == "spa" else _reschedule_class(request, old)
    request.store.execute("UPDATE bookings SET status = 'RESCHEDULED' WHERE seq = ?", old["seq"])
    free_spot(request, old)
    new = create_booking(request, old["client"], draft)
    return booking_json(request, new, _get_client(request, old)["id"], "Booking rescheduled successfully")


def _draft_from(old: Row) -> BookingDraft:
    names = (field.name for field in attrs.fields(BookingDraft))
    return BookingDraft(**{name: old[name] for name in names})


def _reschedule_spa(request: SandboxRequest, old: Row) -> BookingDraft:
    date, time, when = read_slot(request)
    if (date, time) == (old["date"], old["time"]):
        raise validation_error("date", "the booking is already at that date and time")
    require_free_slot(request, old["provider"], date, time)
    return attrs.evolve(_draft_from(old), date=date, time=time, scheduled_for=when)


def _reschedule_class(request: SandboxRequest, old: Row) -> BookingDraft:
    instance = find_instance(request, request.fields.read_str("class_instance_id"))
    if instance["class"] != get_instance(request, old["instance"])["class"]:
        raise validation_error("class_instance_id", "expected another date of the same class")
    if instance["seq"] == old["instance"]:
        raise validation_error("class_instance_id", "the booking is already for that date")
    require_spot(instance)
    when = {"date": instance["date"], "time": instance["time"], "scheduled_for": instance["scheduled_for"]}
    return attrs.evolve(_draft_from(old), instance=instance["seq"], **when)
