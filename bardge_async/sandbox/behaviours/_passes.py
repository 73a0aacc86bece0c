"""Pass packages and issued passes: instants in milliseconds, durations in both cases (page: Passes)."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Final

import orjson

from bardge_async.sandbox._errors import pass_not_found
from bardge_async.sandbox._formats import CURRENCY, day_of, end_of_day, instant, money, new_id
from bardge_async.sandbox._ledger import debit_reseller
from bardge_async.sandbox._pages import Listing, page
from bardge_async.sandbox._request import JSON, Call, Fields
from bardge_async.sandbox._store import Row, Value
from bardge_async.sandbox.behaviours._clients import client_named
from bardge_async.sandbox.behaviours._entitlements import Held, current_pass

_PASSES: Final = Listing("passes")
_DAYS: Final = {"monthly": 30, "annually": 365}
_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_DETAILS: Final = ("first_name", "last_name", "email", "phone_number")


def list_passes(call: Call) -> JSON:
    """Answer ``passes.list``."""
    return page(call, _PASSES, lambda row: _package(call, row), noun="Passes")


def _package(call: Call, row: Row) -> JSON:
    grants = call.store.all("SELECT * FROM pass_categories WHERE pass = ? ORDER BY type", row["seq"])
    return {
        "object": "pass",
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "price": money(row["price"]),
        "currency": CURRENCY,
        "duration": row["duration"],
        "categories": [_package_category(grant, row["duration"]) for grant in grants],
        "livemode": False,
        "created": row["created"],
        "payment_model": "SUBSCRIPTION",
        "provider_count": row["provider_count"],
    }


def _package_category(grant: Row, duration: str) -> JSON:
    return {
        "type": grant["type"],
        "tiers": orjson.loads(grant["tiers"]),
        "duration": duration,
        "credit_allocated": money(grant["credit_allocated"]),
        **_visits(grant),
    }


def _visits(grant: Row) -> JSON:
    # The page shows a number; how it tells "without a limit" is not shown: left out here, never null.
    return {} if grant["visits_allowed"] is None else {"visits_allowed": grant["visits_allowed"]}


def _issued(call: Call, held: Held, client: Row, message: str) -> JSON:
    row = held.row
    return {
        "object": "issued_pass",
        "id": row["id"],
        "passcode": row["passcode"],
        "status": held.state(call.now),
        "categories": [_issued_category(grant, row["duration"]) for grant in held.categories],
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


def _issued_category(grant: Row, duration: str) -> JSON:
    return {
        "type": grant["type"],
        "duration": duration.upper(),
        "credit_allocated": money(grant["credit_allocated"]),
        **_visits(grant),
    }


def get_issued_pass(call: Call) -> JSON:
    """Answer ``passes.get_issued``."""
    client = client_named(call, call.path["client_id"])
    return _issued(call, current_pass(call, client), client, "Issued pass retrieved successfully")


def issue_pass(call: Call) -> JSON:
    """Answer ``passes.issue``; a client id that is new here makes the client, since no other endpoint does."""
    fields = call.fields
    id, pass_id = fields.text("client_id"), fields.text("pass_id")
    start = fields.day_if_given("start_date")
    details = {name: fields.text_if_given(name) for name in _DETAILS}
    package = call.store.one("SELECT * FROM passes WHERE id = ?", pass_id)
    if package is None:
        raise pass_not_found(f"No pass exists with id {pass_id}.")
    client = _client_for(call, id, details)
    _issue(call, client, package, start, fields)
    debit_reseller(call, client, package["price"], f"Pass {package['name']}")
    return _issued(call, current_pass(call, client), client, "Pass issued successfully")


def _client_for(call: Call, id: str, details: dict[str, str | None]) -> Row:
    sql = "SELECT 1 FROM clients WHERE reseller = ? AND id = ?"
    if call.store.one(sql, call.reseller.seq, id) is None:
        new: dict[str, Value] = {"reseller": call.reseller.seq, "id": id, "created": call.now}
        call.store.insert("clients", {**new, "lookup_enabled": 0, "credits": 0, **details})
    client = client_named(call, id)
    _describe(call, client, details)
    return client


def _describe(call: Call, client: Row, details: dict[str, str | None]) -> None:
    sql = (
        "UPDATE clients SET first_name = coalesce(?, first_name), last_name = coalesce(?, last_name), "
        "email = coalesce(?, email), phone_number = coalesce(?, phone_number) WHERE seq = ?"
    )
    call.store.change(sql, *(details[name] for name in _DETAILS), client["seq"])


def _issue(call: Call, client: Row, package: Row, start: dt.date | None, fields: Fields) -> None:
    begin = call.now if start is None else instant(start, dt.time())
    end = end_of_day(day_of(begin) + dt.timedelta(days=_DAYS[package["duration"]]))
    issued = call.store.insert(
        "issued_passes",
        {
            "client": client["seq"],
            "pass": package["seq"],
            "id": new_id("brgpass"),
            "passcode": "".join(secrets.choice(_LETTERS) for _ in range(8)),
            "transaction_id": new_id("txn"),
            "tx_ref": fields.text_if_given("tx_ref") or f"FLW-TXN-{secrets.token_hex(4).upper()}",
            "start_date": begin,
            "expires_at": end,
            "created": call.now,
        },
    )
    sql = (
        "INSERT INTO issued_categories (issued, type, visits_allowed, visits_used) "
        "SELECT ?, type, visits_allowed, 0 FROM pass_categories WHERE pass = ?"
    )
    call.store.change(sql, issued, package["seq"])


def update_issued_pass(call: Call) -> JSON:
    """Answer ``passes.update``."""
    fields = call.fields
    client = client_named(call, fields.text("client_id"))
    details = {name: fields.text_if_given(name) for name in _DETAILS}
    current_pass(call, client)
    _describe(call, client, details)
    return {"object": "issued_pass", "message": "Pass updated successfully"}


def update_expiry(call: Call) -> JSON:
    """Answer ``passes.update_expiry`` (page: it extends or updates the active issued pass).

    The sandbox's choice: any day is taken, and a pass that expired may be extended, so that the same request keeps
    having the same effect; a cancelled one is not found.
    """
    day = call.fields.day("expiry_date")
    client = client_named(call, call.path["client_id"])
    held = current_pass(call, client)
    if held.row["cancelled"]:
        raise pass_not_found(f"No active pass exists for client {client['id']}.")
    sql = "UPDATE issued_passes SET expires_at = ? WHERE seq = ?"
    call.store.change(sql, end_of_day(day), held.row["seq"])
    return {"object": "issued_pass", "message": "Pass expiry updated successfully"}
