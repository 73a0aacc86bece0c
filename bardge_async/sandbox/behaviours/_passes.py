"""Pass packages and issued passes: timestamps in milliseconds, durations in upper or lower case (page: Passes)."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Final

import orjson

from bardge_async.sandbox._errors import pass_not_found_error
from bardge_async.sandbox._formats import CURRENCY, end_of_day, format_money, lagos_day, lagos_instant, new_id
from bardge_async.sandbox._ledger import debit_reseller
from bardge_async.sandbox._pages import Listing, render_page
from bardge_async.sandbox._request import JSON, BodyFields, SandboxRequest
from bardge_async.sandbox._store import Row, Value
from bardge_async.sandbox.behaviours._clients import find_client
from bardge_async.sandbox.behaviours._entitlements import HeldPass, find_current_pass

_PASSES: Final = Listing("passes")
_DAYS: Final = {"monthly": 30, "annually": 365}
# Without I, O, 0 and 1, which are easily confused.
_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_DETAILS: Final = ("first_name", "last_name", "email", "phone_number")


def list_passes(request: SandboxRequest) -> JSON:
    """Answer ``passes.list``."""
    return render_page(request, _PASSES, lambda row: _package_json(request, row), noun="Passes")


def _package_json(request: SandboxRequest, row: Row) -> JSON:
    categories = request.store.fetch_all("SELECT * FROM pass_categories WHERE pass = ? ORDER BY type", row["seq"])
    return {
        "object": "pass",
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "price": format_money(row["price"]),
        "currency": CURRENCY,
        "duration": row["duration"],
        "categories": [_package_category_json(category, row["duration"]) for category in categories],
        "livemode": False,
        "created": row["created"],
        "payment_model": "SUBSCRIPTION",
        "provider_count": row["provider_count"],
    }


def _package_category_json(category: Row, duration: str) -> JSON:
    return {
        "type": category["type"],
        "tiers": orjson.loads(category["tiers"]),
        "duration": duration,
        "credit_allocated": format_money(category["credit_allocated"]),
        **_visits_json(category),
    }


def _visits_json(category: Row) -> JSON:
    # The page shows a number, but not how "unlimited" is written: left out here, never null.
    return {} if category["visits_allowed"] is None else {"visits_allowed": category["visits_allowed"]}


def _format_issued_pass(request: SandboxRequest, held: HeldPass, client: Row, message: str) -> JSON:
    row = held.row
    return {
        "object": "issued_pass",
        "id": row["id"],
        "passcode": row["passcode"],
        "status": held.status_at(request.now_ms),
        "categories": [_format_issued_category(category, row["duration"]) for category in held.categories],
        "created": row["created"],
        "message": message,
        "client_id": client["id"],
        "transaction_id": row["transaction_id"],
        "tx_ref": row["tx_ref"],
        "pass_id": row["pass_id"],
        "pass_name": row["pass_name"],
        "start_date": row["start_date"],
        "expires_at": row["expires_at"],
    }


def _format_issued_category(category: Row, duration: str) -> JSON:
    return {
        "type": category["type"],
        "duration": duration.upper(),
        "credit_allocated": format_money(category["credit_allocated"]),
        **_visits_json(category),
    }


def get_issued_pass(request: SandboxRequest) -> JSON:
    """Answer ``passes.get_issued``."""
    client = find_client(request, request.path["client_id"])
    return _format_issued_pass(
        request, find_current_pass(request, client), client, "Issued pass retrieved successfully"
    )


def issue_pass(request: SandboxRequest) -> JSON:
    """Answer ``passes.issue``; an unknown client id creates the client, since no other endpoint does."""
    fields = request.fields
    id, pass_id = fields.read_str("client_id"), fields.read_str("pass_id")
    start = fields.read_optional_date("start_date")
    details = {name: fields.read_optional_str(name) for name in _DETAILS}
    package = request.store.fetch_one("SELECT * FROM passes WHERE id = ?", pass_id)
    if package is None:
        raise pass_not_found_error(f"No pass exists with id {pass_id}.")
    client = _find_or_create_client(request, id, details)
    _insert_pass(request, client, package, start, fields)
    debit_reseller(request, client, package["price"], f"Pass {package['name']}")
    return _format_issued_pass(request, find_current_pass(request, client), client, "Pass issued successfully")


def _find_or_create_client(request: SandboxRequest, id: str, details: dict[str, str | None]) -> Row:
    sql = "SELECT 1 FROM clients WHERE reseller = ? AND id = ?"
    if request.store.fetch_one(sql, request.reseller.seq, id) is None:
        new: dict[str, Value] = {"reseller": request.reseller.seq, "id": id, "created": request.now_ms}
        request.store.insert_row("clients", {**new, "credits": 0, **details})
    client = find_client(request, id)
    _update_details(request, client, details)
    return client


def _update_details(request: SandboxRequest, client: Row, details: dict[str, str | None]) -> None:
    sql = (
        "UPDATE clients SET first_name = coalesce(?, first_name), last_name = coalesce(?, last_name), "
        "email = coalesce(?, email), phone_number = coalesce(?, phone_number) WHERE seq = ?"
    )
    request.store.execute(sql, *(details[name] for name in _DETAILS), client["seq"])


def _insert_pass(request: SandboxRequest, client: Row, package: Row, start: dt.date | None, fields: BodyFields) -> None:
    begin = request.now_ms if start is None else lagos_instant(start, dt.time())
    end = end_of_day(lagos_day(begin) + dt.timedelta(days=_DAYS[package["duration"]]))
    issued = request.store.insert_row(
        "issued_passes",
        {
            "client": client["seq"],
            "pass": package["seq"],
            "id": new_id("brgpass"),
            "passcode": "".join(secrets.choice(_LETTERS) for _ in range(8)),
            "transaction_id": new_id("txn"),
            "tx_ref": fields.read_optional_str("tx_ref") or f"FLW-TXN-{secrets.token_hex(4).upper()}",
            "start_date": begin,
            "expires_at": end,
            "created": request.now_ms,
        },
    )
    sql = (
        "INSERT INTO issued_categories (issued, type, visits_allowed, visits_used) "
        "SELECT ?, type, visits_allowed, 0 FROM pass_categories WHERE pass = ?"
    )
    request.store.execute(sql, issued, package["seq"])


def update_issued_pass(request: SandboxRequest) -> JSON:
    """Answer ``passes.update``."""
    fields = request.fields
    client = find_client(request, fields.read_str("client_id"))
    details = {name: fields.read_optional_str(name) for name in _DETAILS}
    # Raises a 404 if the client has no pass.
    find_current_pass(request, client)
    _update_details(request, client, details)
    return {"object": "issued_pass", "message": "Pass updated successfully"}


def update_expiry(request: SandboxRequest) -> JSON:
    """Answer ``passes.update_expiry`` (page: it extends or updates the active issued pass).

    The sandbox's choice: any day is accepted, and an expired pass can be extended, so that repeating the request has
    the same effect; a cancelled pass is not found.
    """
    day = request.fields.read_date("expiry_date")
    client = find_client(request, request.path["client_id"])
    held = find_current_pass(request, client)
    if held.row["cancelled"]:
        raise pass_not_found_error(f"No active pass exists for client {client['id']}.")
    sql = "UPDATE issued_passes SET expires_at = ? WHERE seq = ?"
    request.store.execute(sql, end_of_day(day), held.row["seq"])
    return {"object": "issued_pass", "message": "Pass expiry updated successfully"}
