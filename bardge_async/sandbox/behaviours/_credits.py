"""Credit packages and purchases: credits are added the moment a purchase succeeds (page: Credits)."""

from __future__ import annotations

from typing import Final

from bardge_async.sandbox._errors import not_found
from bardge_async.sandbox._formats import CURRENCY, money, new_id
from bardge_async.sandbox._ledger import debit_reseller, grant
from bardge_async.sandbox._pages import Listing, page
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row
from bardge_async.sandbox.behaviours._clients import client_named

_PACKAGES: Final = Listing("credit_packages")


def list_credit_packages(call: Call) -> JSON:
    """Answer ``credits.list_packages``."""
    return page(call, _PACKAGES, _package, noun="Credit packages")


def _package(row: Row) -> JSON:
    return {
        "object": "credit_package",
        "id": row["id"],
        "name": row["name"],
        "credits": money(row["credits"]),
        "amount": money(row["amount"]),
        "currency": CURRENCY,
        "created": row["created"],
    }


def purchase_credits(call: Call) -> JSON:
    """Answer ``credits.purchase``: the client gets the credits, the reseller pays."""
    client_id, package_id = call.fields.text("client_id"), call.fields.text("package_id")
    client = client_named(call, client_id)
    package = call.store.one("SELECT * FROM credit_packages WHERE id = ?", package_id)
    if package is None:
        raise not_found("credit package", package_id)
    balance = grant(call, client, package["credits"], package["name"])
    debit_reseller(call, client, package["amount"], package["name"])
    return {
        "object": "credit_purchase",
        "id": new_id("cpur"),
        "client_id": client_id,
        "package_id": package_id,
        "credits": money(package["credits"]),
        "amount": money(package["amount"]),
        "currency": CURRENCY,
        "balance": money(balance),
        "created": call.now,
        "message": "Credits purchased successfully",
    }
