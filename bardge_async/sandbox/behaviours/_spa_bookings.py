"""Spa bookings: always a session, then a confirmation without a body (page: Confirm a spa booking)."""

from __future__ import annotations

import datetime as dt

import attrs

from bardge_async.sandbox._errors import INVALID, VALIDATION, Refusal
from bardge_async.sandbox._formats import CURRENCY, instant, money, seconds
from bardge_async.sandbox._ledger import require_credits, spend
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row
from bardge_async.sandbox.behaviours._availability import Plan, book, booking_json, require_slot, slot_of
from bardge_async.sandbox.behaviours._clients import visitor
from bardge_async.sandbox.behaviours._entitlements import (
    change_copay_visits,
    copay_with_visits,
    pass_for_visit,
    use_visit,
)
from bardge_async.sandbox.behaviours._providers import provider_named
from bardge_async.sandbox.behaviours._sessions import LASTS, close_session, open_session, session_named
from bardge_async.sandbox.behaviours._spas import Choice, chosen, chosen_before


def initiate_spa_booking(call: Call) -> JSON:
    """Answer ``bookings.initiate_spa``.

    The sandbox's choice: what the pass covers costs nothing; elsewhere a spa that offers co-pay needs a co-pay
    purchase before the confirmation, and any other is paid in credits, which must be there from the start.
    """
    fields = call.fields
    provider = provider_named(call, fields.text("provider_id"), "SPA")
    choice, (date, time, when) = chosen(call, provider), slot_of(call)
    client = visitor(call)
    for name in ("first_name", "last_name"):
        fields.text_if_given(name)
    require_slot(call, provider["seq"], date, time)
    outcome, issued = _outcome(call, client, provider)
    if outcome == "credits":
        require_credits(call, client, choice.total)
    amount = 0 if outcome == "covered" else choice.total
    session = open_session(
        call,
        client,
        outcome,
        {
            "provider": provider["seq"],
            "issued": issued,
            "services": choice.key,
            "date": date,
            "time": time,
            "amount": amount,
        },
    )
    about = {"session_id": session, "copay_required": outcome == "copay", "amount": money(amount)}
    slot = {"date": date, "time": time, "scheduled_for": seconds(when), "provider_name": provider["name"]}
    return {**about, **slot, **_initiation(call, choice, covered=outcome == "covered")}


def _outcome(call: Call, client: Row, provider: Row) -> tuple[str, int | None]:
    held = pass_for_visit(call, client)
    if held is not None and held.covers(provider):
        return "covered", held.row["seq"]
    return ("copay" if provider["copay_available"] else "credits"), None


def _initiation(call: Call, choice: Choice, *, covered: bool) -> JSON:
    return {
        "object": "spa_booking_initiation",
        "status": "PENDING",
        "type": "spa",
        "service_name": choice.name,
        "services": choice.preview(covered=covered),
        "currency": CURRENCY,
        "expires_at": call.now + LASTS,
        "message": "Spa booking initiated, confirm it to take the slot",
    }


def confirm_spa_booking(call: Call) -> JSON:
    """Answer ``bookings.confirm_spa``: the slot is taken and paid for."""
    session, client = session_named(call, "spa")
    choice = chosen_before(call, session["services"])
    require_slot(call, session["provider"], session["date"], session["time"])
    booking = book(call, client["seq"], _paid(call, session, client, _plan(session, choice)))
    close_session(call, session, booking)
    return booking_json(call, booking, client["id"], "Spa booking confirmed successfully")


def _plan(session: Row, choice: Choice) -> Plan:
    date, time = session["date"], session["time"]
    when = instant(dt.date.fromisoformat(date), dt.time.fromisoformat(time))
    return Plan("spa", choice.name, session["provider"], date, time, when)


def _paid(call: Call, session: Row, client: Row, plan: Plan) -> Plan:
    if session["outcome"] == "covered":
        use_visit(call, session["issued"], "SPA")
        return attrs.evolve(plan, issued=session["issued"], visits_deducted=1)
    if session["outcome"] == "credits":
        spend(call, client, session["amount"], plan.name)
        return attrs.evolve(plan, credits_spent=session["amount"])
    copay = copay_with_visits(call, client, session["provider"], session["services"])
    if copay is None:
        message = "session_id: this session needs a spa co-pay purchase for its services first"
        raise Refusal(400, INVALID, VALIDATION, message)
    change_copay_visits(call, copay, -1)
    return attrs.evolve(plan, copay=copay, visits_deducted=1)
