"""Spa bookings: a session, then a confirmation without a body.

The page shows the confirmation; that every spa booking needs one is the sandbox's choice.
"""

from __future__ import annotations

import datetime as dt

import attrs

from bardge_async.sandbox._errors import INVALID_REQUEST, VALIDATION_CODE, ErrorAnswer, validation_error
from bardge_async.sandbox._formats import format_money, lagos_instant, to_seconds
from bardge_async.sandbox._ledger import require_credits, spend_credits
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row
from bardge_async.sandbox.behaviours._availability import (
    BookingDraft,
    booking_json,
    create_booking,
    read_slot,
    require_free_slot,
)
from bardge_async.sandbox.behaviours._clients import find_visiting_client
from bardge_async.sandbox.behaviours._entitlements import (
    change_copay_visits,
    find_copay,
    require_usable_pass,
    use_visit,
)
from bardge_async.sandbox.behaviours._providers import find_provider
from bardge_async.sandbox.behaviours._sessions import SESSION_LIFETIME, close_session, find_session, open_session
from bardge_async.sandbox.behaviours._spas import ServiceSelection, load_services, read_services


def initiate_spa_booking(request: SandboxRequest) -> JSON:
    """Answer ``bookings.initiate_spa``.

    A client without a valid pass is refused, and so is one whose pass does not cover a spa that offers no co-pay
    (guides: Passes, Co-pay). The sandbox's choice: what the pass covers is free; otherwise services priced in credits
    are paid from the balance, which must suffice from the start, and those priced in naira need a co-pay purchase
    before the confirmation.
    """
    fields = request.fields
    provider = find_provider(request, fields.read_str("provider_id"), "SPA")
    selection, (date, time, when) = read_services(request, provider), read_slot(request)
    client = find_visiting_client(request)
    # Validated only: nothing here stores the names.
    for name in ("first_name", "last_name"):
        fields.read_optional_str(name)
    require_free_slot(request, provider["seq"], date, time)
    outcome, issued = _choose_outcome(request, client, provider, selection)
    if outcome == "credits":
        require_credits(request, client, selection.total)
    amount = 0 if outcome == "covered" else selection.total
    session = open_session(
        request,
        client,
        outcome,
        {
            "provider": provider["seq"],
            "issued": issued,
            "services": selection.key,
            "date": date,
            "time": time,
            "amount": amount,
        },
    )
    about = {"session_id": session, "copay_required": outcome == "copay", "amount": format_money(amount)}
    slot = {"date": date, "time": time, "scheduled_for": to_seconds(when), "provider_name": provider["name"]}
    return {**about, **slot, **_initiation_json(request, selection, covered=outcome == "covered")}


def _choose_outcome(
    request: SandboxRequest, client: Row, provider: Row, selection: ServiceSelection
) -> tuple[str, int | None]:
    held = require_usable_pass(request, client)
    if held.covers(provider):
        return "covered", held.row["seq"]
    if selection.in_credits:
        return "credits", None
    if provider["copay_available"]:
        return "copay", None
    raise validation_error("user_pass_id", "the client's pass does not cover this provider")


def _initiation_json(request: SandboxRequest, selection: ServiceSelection, *, covered: bool) -> JSON:
    return {
        "object": "spa_booking_initiation",
        "status": "PENDING",
        "type": "spa",
        "service_name": selection.name,
        "services": selection.services_json(covered=covered),
        "currency": selection.currency,
        "expires_at": request.now_ms + SESSION_LIFETIME,
        "message": "Spa booking initiated, confirm it to take the slot",
    }


def confirm_spa_booking(request: SandboxRequest) -> JSON:
    """Answer ``bookings.confirm_spa``: the slot is taken and paid for."""
    session, client = find_session(request, "spa")
    selection = load_services(request, session["services"])
    require_free_slot(request, session["provider"], session["date"], session["time"])
    booking = create_booking(
        request, client["seq"], _pay_booking(request, session, client, _draft_booking(session, selection))
    )
    close_session(request, session, booking)
    return booking_json(request, booking, client["id"], "Spa booking confirmed successfully")


def _draft_booking(session: Row, selection: ServiceSelection) -> BookingDraft:
    date, time = session["date"], session["time"]
    when = lagos_instant(dt.date.fromisoformat(date), dt.time.fromisoformat(time))
    return BookingDraft("spa", selection.name, session["provider"], date, time, when)


def _pay_booking(request: SandboxRequest, session: Row, client: Row, draft: BookingDraft) -> BookingDraft:
    if session["outcome"] == "covered":
        use_visit(request, session["issued"], "SPA")
        return attrs.evolve(draft, issued=session["issued"], visits_deducted=1)
    if session["outcome"] == "credits":
        provider = request.store.fetch_all("SELECT name FROM providers WHERE seq = ?", session["provider"])[0]
        spend_credits(request, client, session["amount"], f"Spa booking — {provider['name']}")
        return attrs.evolve(draft, credits_spent=session["amount"])
    copay = find_copay(request, client, session["provider"], session["services"])
    if copay is None:
        message = "session_id: this session needs a spa co-pay purchase for its services first"
        raise ErrorAnswer(400, INVALID_REQUEST, VALIDATION_CODE, message)
    change_copay_visits(request, copay, -1)
    return attrs.evolve(draft, copay=copay, visits_deducted=1)
