"""Bookings after they were made: the list, the state, cancelling and moving (guide: Bookings)."""

from __future__ import annotations

from typing import Final

import attrs

from bardge_async.sandbox._errors import conflict, invalid
from bardge_async.sandbox._formats import CURRENCY, money, seconds
from bardge_async.sandbox._ledger import grant
from bardge_async.sandbox._pages import Listing, page
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row
from bardge_async.sandbox.behaviours._availability import (
    Plan,
    book,
    booking_json,
    booking_named,
    free_place,
    instance_by_seq,
    instance_named,
    require_place,
    require_slot,
    slot_of,
    state_of,
)
from bardge_async.sandbox.behaviours._clients import client_named
from bardge_async.sandbox.behaviours._entitlements import change_copay_visits, give_visit_back

_OF_CLIENT: Final = Listing(
    "bookings",
    "client = ?",
    "bookings.*, (SELECT name FROM providers p WHERE p.seq = provider) AS provider_name",
)


def list_client_bookings(call: Call) -> JSON:
    """Answer ``bookings.list_for_client``."""
    client = client_named(call, call.path["client_id"])
    message = "Booking retrieved successfully"
    return page(
        call, _OF_CLIENT, lambda row: booking_json(call, row, client["id"], message), client["seq"], noun="Bookings"
    )


def get_booking_status(call: Call) -> JSON:
    """Answer ``bookings.get_status``."""
    booking = booking_named(call, call.path["booking_id"])
    return {
        "object": "booking",
        "id": booking["id"],
        "status": state_of(booking, call.now),
        "type": booking["type"],
        "scheduled_for": seconds(booking["scheduled_for"]),
        "message": "Booking status retrieved successfully",
    }


def cancel_booking(call: Call) -> JSON:
    """Answer ``bookings.cancel``: place, visit and credits are given back."""
    booking = _pending(call)
    client = _client_of(call, booking)
    call.store.change("UPDATE bookings SET status = 'CANCELLED' WHERE seq = ?", booking["seq"])
    free_place(call, booking)
    _refund(call, booking, client)
    refund = {
        "amount": money(booking["credits_spent"]),
        "currency": CURRENCY,
        "visits_restored": booking["visits_deducted"],
        "status": "COMPLETED",
    }
    cancelled = booking_named(call, booking["id"])
    return {**booking_json(call, cancelled, client["id"], "Booking cancelled successfully"), "refund": refund}


def _refund(call: Call, booking: Row, client: Row) -> None:
    if booking["issued"] is not None:
        give_visit_back(call, booking["issued"], "SPA" if booking["type"] == "spa" else "GYM")
    if booking["copay"] is not None:
        change_copay_visits(call, booking["copay"], 1)
    if booking["credits_spent"]:
        grant(call, client, booking["credits_spent"], f"Refund of {booking['id']}")


def _pending(call: Call) -> Row:
    """Find a booking that can still be changed; the codes are the sandbox's, the page's table is cut off."""
    booking = booking_named(call, call.path["booking_id"])
    state = state_of(booking, call.now)
    if state == "CANCELLED":
        raise conflict("booking_already_cancelled", f"Booking {booking['id']} is already cancelled.")
    if state != "PENDING":
        raise conflict("booking_closed", f"Booking {booking['id']} is {state.lower()}.")
    return booking


def _client_of(call: Call, booking: Row) -> Row:
    return call.store.all("SELECT * FROM clients WHERE seq = ?", booking["client"])[0]


def reschedule_booking(call: Call) -> JSON:
    """Answer ``bookings.reschedule``: the old booking is closed and a new one made, for nothing."""
    old = _pending(call)
    plan = _moved_spa(call, old) if old["type"] == "spa" else _moved_class(call, old)
    call.store.change("UPDATE bookings SET status = 'RESCHEDULED' WHERE seq = ?", old["seq"])
    free_place(call, old)
    new = book(call, old["client"], plan)
    return booking_json(call, new, _client_of(call, old)["id"], "Booking rescheduled successfully")


def _kept(old: Row) -> Plan:
    names = (field.name for field in attrs.fields(Plan))
    return Plan(**{name: old[name] for name in names})


def _moved_spa(call: Call, old: Row) -> Plan:
    date, time, when = slot_of(call)
    if (date, time) == (old["date"], old["time"]):
        raise invalid("date", "the booking is at that date and time already")
    require_slot(call, old["provider"], date, time)
    return attrs.evolve(_kept(old), date=date, time=time, scheduled_for=when)


def _moved_class(call: Call, old: Row) -> Plan:
    instance = instance_named(call, call.fields.text("class_instance_id"))
    if instance["class"] != instance_by_seq(call, old["instance"])["class"]:
        raise invalid("class_instance_id", "expected another date of the same class")
    if instance["seq"] == old["instance"]:
        raise invalid("class_instance_id", "the booking is for that date already")
    require_place(instance)
    when = {"date": instance["date"], "time": instance["time"], "scheduled_for": instance["scheduled_for"]}
    return attrs.evolve(_kept(old), instance=instance["seq"], **when)
