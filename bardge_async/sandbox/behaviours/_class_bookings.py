"""Class bookings: booked immediately, or visits or a co-pay are needed first (page: Initiate a class booking)."""

from __future__ import annotations

from typing import Final

from bardge_async.sandbox._errors import validation_error
from bardge_async.sandbox._formats import format_money, to_seconds
from bardge_async.sandbox._ledger import debit_reseller, spend_credits
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row
from bardge_async.sandbox.behaviours._availability import (
    BookingDraft,
    booking_json,
    create_booking,
    find_instance,
    get_instance,
    require_spot,
)
from bardge_async.sandbox.behaviours._clients import find_visiting_client
from bardge_async.sandbox.behaviours._copay import buy_option, option_json
from bardge_async.sandbox.behaviours._entitlements import (
    HeldPass,
    add_visits,
    change_copay_visits,
    find_copay,
    require_usable_pass,
    use_visit,
)
from bardge_async.sandbox.behaviours._sessions import close_session, find_session, open_session

# Hundredths of a naira, by the gym's tier.
COST_PER_VISIT: Final = {"STANDARD": 350_000, "PREMIUM": 600_000}


def initiate_class_booking(request: SandboxRequest) -> JSON:
    """Answer ``bookings.initiate_class``.

    A client without a valid pass is refused (guide: Passes). The sandbox's choice: a class priced in credits is paid in
    credits; for any other the pass covers it, has no visit left, or does not include the gym's tier.
    """
    instance = find_instance(request, request.fields.read_str("class_instance_id"))
    client = find_visiting_client(request)
    # Validated only: nothing here stores the names.
    for name in ("first_name", "last_name"):
        request.fields.read_optional_str(name)
    require_spot(instance)
    held = require_usable_pass(request, client)
    if instance["credit_price"] is not None:
        return _pay_in_credits(request, client, instance)
    provider = request.store.fetch_all("SELECT * FROM providers WHERE seq = ?", instance["provider"])[0]
    return _use_pass(request, client, instance, provider, held)


def _pay_in_credits(request: SandboxRequest, client: Row, instance: Row) -> JSON:
    price = instance["credit_price"]
    spend_credits(request, client, price, f"Class booking — {instance['class_name']}")
    return _book_class(request, client, instance, _draft_booking(instance, credits_spent=price))


def _use_pass(request: SandboxRequest, client: Row, instance: Row, provider: Row, held: HeldPass) -> JSON:
    issued = held.row["seq"]
    if held.covers(provider):
        use_visit(request, issued, "GYM")
        return _book_class(request, client, instance, _draft_booking(instance, issued=issued, visits_deducted=1))
    if held.find_category(provider) is not None:
        return _ask_for_visits(request, client, instance, provider, issued)
    copay = find_copay(request, client, provider["seq"])
    if copay is not None:
        change_copay_visits(request, copay, -1)
        return _book_class(request, client, instance, _draft_booking(instance, copay=copay, visits_deducted=1))
    return _ask_for_copay(request, client, instance, provider)


def _draft_booking(
    instance: Row,
    *,
    issued: int | None = None,
    copay: int | None = None,
    visits_deducted: int = 0,
    credits_spent: int = 0,
) -> BookingDraft:
    return BookingDraft(
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


def _book_class(request: SandboxRequest, client: Row, instance: Row, draft: BookingDraft) -> JSON:
    booking = create_booking(request, client["seq"], draft)
    return {
        **_initiation_json(instance, booking["provider_name"], "Class booked successfully"),
        "booking_id": booking["id"],
        "visits_deducted": booking["visits_deducted"],
        "created": to_seconds(booking["created"]),
    }


def _initiation_json(instance: Row, provider_name: str, message: str) -> JSON:
    return {
        "object": "class_booking_initiation",
        "copay_required": False,
        "additional_visits_required": False,
        "status": "PENDING",
        "class_name": instance["class_name"],
        "provider_name": provider_name,
        "date": instance["date"],
        "time": instance["time"],
        "scheduled_for": to_seconds(instance["scheduled_for"]),
        "message": message,
    }


def _ask_for_visits(request: SandboxRequest, client: Row, instance: Row, provider: Row, issued: int) -> JSON:
    cost = COST_PER_VISIT[provider["tier"]]
    session = _open_class_session(request, client, "visits", instance, issued=issued, amount=cost)
    message = "Additional visits are required: confirm with number_of_visits and duration"
    extra = {"additional_visits_required": True, "session_id": session, "cost_per_visit": format_money(cost)}
    return {**_initiation_json(instance, provider["name"], message), **extra}


def _ask_for_copay(request: SandboxRequest, client: Row, instance: Row, provider: Row) -> JSON:
    options = request.store.fetch_all("SELECT * FROM copay_options WHERE provider = ? ORDER BY seq", provider["seq"])
    if not options:
        raise validation_error("user_pass_id", "the client's pass does not cover this provider")
    session = _open_class_session(request, client, "copay", instance, issued=None, amount=0)
    message = "A co-pay is required: confirm with copay_package_id"
    extra = {"copay_required": True, "session_id": session, "copay_options": [option_json(row) for row in options]}
    return {**_initiation_json(instance, provider["name"], message), **extra}


def _open_class_session(
    request: SandboxRequest, client: Row, outcome: str, instance: Row, *, issued: int | None, amount: int
) -> str:
    seq, provider = instance["seq"], instance["provider"]
    return open_session(
        request, client, outcome, {"instance": seq, "provider": provider, "issued": issued, "amount": amount}
    )


def confirm_class_booking(request: SandboxRequest) -> JSON:
    """Answer ``bookings.confirm_class``: the reseller's account is debited (page)."""
    session, client = find_session(request, "class")
    instance = get_instance(request, session["instance"])
    draft = (_buy_visits if session["outcome"] == "visits" else _buy_copay)(request, session, client, instance)
    booking = create_booking(request, client["seq"], draft)
    close_session(request, session, booking)
    return booking_json(request, booking, client["id"], "Class booking confirmed successfully")


def _buy_visits(request: SandboxRequest, session: Row, client: Row, instance: Row) -> BookingDraft:
    fields = request.fields
    visits, duration = fields.read_int("number_of_visits"), fields.read_str("duration")
    if duration.upper() not in ("MONTHLY", "ANNUALLY"):
        raise validation_error("duration", f'expected "MONTHLY" or "ANNUALLY", got {duration[:40]!r}')
    debit_reseller(request, client, session["amount"] * visits, f"{visits} additional visits, {instance['class_name']}")
    add_visits(request, session["issued"], "GYM", visits)
    use_visit(request, session["issued"], "GYM")
    return _draft_booking(instance, issued=session["issued"], visits_deducted=1)


def _buy_copay(request: SandboxRequest, session: Row, client: Row, instance: Row) -> BookingDraft:
    purchase = buy_option(request, client, session["provider"], request.fields.read_str("copay_package_id"))
    change_copay_visits(request, purchase["seq"], -1)
    return _draft_booking(instance, copay=purchase["seq"], visits_deducted=1)
