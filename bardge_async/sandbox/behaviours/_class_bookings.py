"""Class bookings: covered at once, more visits needed, or a co-pay needed (page: Initiate a class booking)."""

from __future__ import annotations

from typing import Final

from bardge_async.sandbox._errors import invalid
from bardge_async.sandbox._formats import money, seconds
from bardge_async.sandbox._ledger import debit_reseller, spend
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row
from bardge_async.sandbox.behaviours._availability import (
    Plan,
    book,
    booking_json,
    instance_by_seq,
    instance_named,
    require_place,
)
from bardge_async.sandbox.behaviours._clients import visitor
from bardge_async.sandbox.behaviours._copay import buy_option, option_json
from bardge_async.sandbox.behaviours._entitlements import (
    Held,
    add_visits,
    change_copay_visits,
    copay_with_visits,
    require_pass,
    use_visit,
)
from bardge_async.sandbox.behaviours._sessions import close_session, open_session, session_named

COST_PER_VISIT: Final = {"STANDARD": 350_000, "PREMIUM": 600_000}


def initiate_class_booking(call: Call) -> JSON:
    """Answer ``bookings.initiate_class``.

    The sandbox's choice: a class priced in credits is paid in credits; any other goes by a pass, which covers it,
    has no visit left, or does not reach the gym's tier.
    """
    instance = instance_named(call, call.fields.text("class_instance_id"))
    client = visitor(call)
    for name in ("first_name", "last_name"):
        call.fields.text_if_given(name)
    require_place(instance)
    if instance["credit_price"] is not None:
        return _pay_in_credits(call, client, instance)
    provider = call.store.all("SELECT * FROM providers WHERE seq = ?", instance["provider"])[0]
    return _go_by_pass(call, client, instance, provider, require_pass(call, client))


def _pay_in_credits(call: Call, client: Row, instance: Row) -> JSON:
    price = instance["credit_price"]
    spend(call, client, price, f"Class {instance['class_name']}")
    return _booked(call, client, instance, _plan(instance, credits_spent=price))


def _go_by_pass(call: Call, client: Row, instance: Row, provider: Row, held: Held) -> JSON:
    issued = held.row["seq"]
    if held.covers(provider):
        use_visit(call, issued, "GYM")
        return _booked(call, client, instance, _plan(instance, issued=issued, visits_deducted=1))
    if held.grant_for(provider) is not None:
        return _needs_visits(call, client, instance, provider, issued)
    copay = copay_with_visits(call, client, provider["seq"])
    if copay is not None:
        change_copay_visits(call, copay, -1)
        return _booked(call, client, instance, _plan(instance, copay=copay, visits_deducted=1))
    return _needs_copay(call, client, instance, provider)


def _plan(
    instance: Row,
    *,
    issued: int | None = None,
    copay: int | None = None,
    visits_deducted: int = 0,
    credits_spent: int = 0,
) -> Plan:
    return Plan(
        "class",
        instance["class_name"],
        instance["provider"],
        instance["date"],
        instance["time"],
        instance["scheduled_for"],
        instance["seq"],
        issued=issued,
        copay=copay,
        visits_deducted=visits_deducted,
        credits_spent=credits_spent,
    )


def _booked(call: Call, client: Row, instance: Row, plan: Plan) -> JSON:
    booking = book(call, client["seq"], plan)
    return {
        **_initiation(instance, booking["provider_name"], "Class booked successfully"),
        "booking_id": booking["id"],
        "visits_deducted": booking["visits_deducted"],
        "created": seconds(booking["created"]),
    }


def _initiation(instance: Row, provider_name: str, message: str) -> JSON:
    return {
        "object": "class_booking_initiation",
        "copay_required": False,
        "additional_visits_required": False,
        "status": "PENDING",
        "class_name": instance["class_name"],
        "provider_name": provider_name,
        "date": instance["date"],
        "time": instance["time"],
        "scheduled_for": seconds(instance["scheduled_for"]),
        "message": message,
    }


def _needs_visits(call: Call, client: Row, instance: Row, provider: Row, issued: int) -> JSON:
    cost = COST_PER_VISIT[provider["tier"]]
    session = _open(call, client, "visits", instance, issued=issued, amount=cost)
    message = "Additional visits are required: confirm with number_of_visits and duration"
    shown = {"additional_visits_required": True, "session_id": session, "cost_per_visit": money(cost)}
    return {**_initiation(instance, provider["name"], message), **shown}


def _needs_copay(call: Call, client: Row, instance: Row, provider: Row) -> JSON:
    options = call.store.all("SELECT * FROM copay_options WHERE provider = ? ORDER BY seq", provider["seq"])
    if not options:
        raise invalid("user_pass_id", "the client's pass does not cover this provider")
    session = _open(call, client, "copay", instance, issued=None, amount=0)
    message = "A co-pay is required: confirm with copay_package_id"
    shown = {"copay_required": True, "session_id": session, "copay_options": [option_json(row) for row in options]}
    return {**_initiation(instance, provider["name"], message), **shown}


def _open(call: Call, client: Row, outcome: str, instance: Row, *, issued: int | None, amount: int) -> str:
    seq, provider = instance["seq"], instance["provider"]
    return open_session(
        call, client, outcome, {"instance": seq, "provider": provider, "issued": issued, "amount": amount}
    )


def confirm_class_booking(call: Call) -> JSON:
    """Answer ``bookings.confirm_class``: the reseller's account is debited (page)."""
    session, client = session_named(call, "class")
    instance = instance_by_seq(call, session["instance"])
    plan = (_with_visits if session["outcome"] == "visits" else _with_copay)(call, session, client, instance)
    booking = book(call, client["seq"], plan)
    close_session(call, session, booking)
    return booking_json(call, booking, client["id"], "Class booking confirmed successfully")


def _with_visits(call: Call, session: Row, client: Row, instance: Row) -> Plan:
    fields = call.fields
    if fields.given("copay_package_id"):
        raise invalid("copay_package_id", "this session needs number_of_visits and duration instead")
    visits, duration = fields.whole("number_of_visits"), fields.text("duration")
    if duration.upper() not in ("MONTHLY", "ANNUALLY"):
        raise invalid("duration", f'expected "MONTHLY" or "ANNUALLY", got {duration[:40]!r}')
    debit_reseller(call, client, session["amount"] * visits, f"{visits} additional visits, {instance['class_name']}")
    add_visits(call, session["issued"], "GYM", visits)
    use_visit(call, session["issued"], "GYM")
    return _plan(instance, issued=session["issued"], visits_deducted=1)


def _with_copay(call: Call, session: Row, client: Row, instance: Row) -> Plan:
    fields = call.fields
    for name in ("number_of_visits", "duration"):
        if fields.given(name):
            raise invalid(name, "this session needs copay_package_id instead")
    bought = buy_option(call, client, session["provider"], fields.text("copay_package_id"))
    change_copay_visits(call, bought["seq"], -1)
    return _plan(instance, copay=bought["seq"], visits_deducted=1)
