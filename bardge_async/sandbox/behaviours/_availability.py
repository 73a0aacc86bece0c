"""Places in classes and slots at spas, and the booking that holds one."""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal

import attrs

from bardge_async.sandbox._errors import Refusal, conflict, invalid, not_found
from bardge_async.sandbox._formats import instant, new_id, seconds
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row, Value

_OPENS: Final = dt.time(8)
_CLOSES: Final = dt.time(20)
_INSTANCE: Final = "SELECT i.*, c.name AS class_name, c.credit_price, c.provider FROM class_instances i JOIN classes c ON c.seq = i.class "
_BOOKING: Final = "SELECT b.*, p.name AS provider_name FROM bookings b JOIN providers p ON p.seq = b.provider "


@attrs.frozen
class Plan:
    """A booking to be made; what it was paid with decides what a cancellation gives back."""

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


def instance_named(call: Call, id: str) -> Row:
    """Find a class instance that is still to come.

    Raises:
        Refusal: 404, there is none; 400, it has begun.
    """
    row = call.store.one(_INSTANCE + "WHERE i.id = ?", id)
    if row is None:
        raise not_found("class instance", id)
    if row["scheduled_for"] <= call.now:
        raise invalid("class_instance_id", "the class has begun")
    return row


def instance_by_seq(call: Call, seq: int) -> Row:
    """Find a class instance that is known to exist."""
    return call.store.all(_INSTANCE + "WHERE i.seq = ?", seq)[0]


def require_place(instance: Row) -> None:
    """Refuse when a class is full."""
    if instance["taken"] >= instance["capacity"]:
        raise conflict("class_full", f"Class instance {instance['id']} is full.")


def slot_of(call: Call) -> tuple[str, str, int]:
    """Read ``date`` and ``time`` of a spa slot and the instant they name in Lagos.

    The sandbox's choice: spas take a client each half hour from 08:00 to 20:00, one at a time.

    Raises:
        Refusal: 400, no day or time, or it is past; 409, the spa is closed then.
    """
    day, time = call.fields.day("date"), call.fields.time("time")
    when = instant(day, time)
    if when <= call.now:
        raise invalid("date", "the slot is in the past")
    if not _OPENS <= time < _CLOSES or time.minute % 30:
        raise _no_slot(day.isoformat(), f"{time:%H:%M}")
    return day.isoformat(), f"{time:%H:%M}", when


def require_slot(call: Call, provider: int, date: str, time: str) -> None:
    """Refuse when a slot is taken."""
    sql = "SELECT 1 FROM bookings WHERE provider = ? AND date = ? AND time = ? AND type = 'spa' AND status = 'PENDING'"
    if call.store.one(sql, provider, date, time):
        raise _no_slot(date, time)


def _no_slot(date: str, time: str) -> Refusal:
    return conflict("slot_unavailable", f"The slot on {date} at {time} is not available.")


def book(call: Call, client: int, plan: Plan) -> Row:
    """Take the place and make the booking; the caller has seen that the place is free.

    Raises:
        Refusal: 409, the class is full.
    """
    if plan.instance is not None:
        _take_place(call, plan.instance)
    id = new_id("booking")
    row: dict[str, Value] = {"client": client, "reseller": call.reseller.seq, "id": id, "status": "PENDING"}
    call.store.insert("bookings", {**row, "created": call.now, **attrs.asdict(plan)})
    return call.store.all(_BOOKING + "WHERE b.id = ?", id)[0]


def _take_place(call: Call, instance: int) -> None:
    sql = "UPDATE class_instances SET taken = taken + 1 WHERE seq = ? AND taken < capacity"
    if not call.store.change(sql, instance):
        require_place(instance_by_seq(call, instance))


def free_place(call: Call, booking: Row) -> None:
    """Give a place back; a spa slot is free as soon as its booking is not pending."""
    if booking["instance"] is not None:
        call.store.change("UPDATE class_instances SET taken = taken - 1 WHERE seq = ?", booking["instance"])


def booking_named(call: Call, id: str) -> Row:
    """Find a booking that this reseller made.

    Raises:
        Refusal: 404, there is none.
    """
    row = call.store.one(_BOOKING + "WHERE b.id = ? AND b.reseller = ?", id, call.reseller.seq)
    if row is None:
        raise not_found("booking", id)
    return row


def state_of(booking: Row, now: int) -> str:
    """Tell a booking's state: a pending one (page: "PENDING") is completed once its time has come."""
    status = str(booking["status"])
    return "COMPLETED" if status == "PENDING" and booking["scheduled_for"] <= now else status


def booking_json(call: Call, row: Row, client_id: str, message: str) -> JSON:
    """Write a booking: instants in seconds, one name or the other by type (page)."""
    by_type = (
        {"service_name": row["name"]}
        if row["type"] == "spa"
        else {"class_name": row["name"], "visits_deducted": row["visits_deducted"]}
    )
    return {
        "object": "booking",
        "id": row["id"],
        "status": state_of(row, call.now),
        "type": row["type"],
        **by_type,
        "provider_name": row["provider_name"],
        "date": row["date"],
        "time": row["time"],
        "scheduled_for": seconds(row["scheduled_for"]),
        "created": seconds(row["created"]),
        "client_id": client_id,
        "message": message,
    }
