"""Credit packages and purchases: credits are added as soon as a purchase succeeds (page: Credits)."""

from __future__ import annotations

from typing import Final

from bardge_async.sandbox._errors import not_found_error
from bardge_async.sandbox._formats import CURRENCY, format_money, new_id
from bardge_async.sandbox._ledger import add_credits, debit_reseller
from bardge_async.sandbox._pages import Listing, render_page
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row
from bardge_async.sandbox.behaviours._clients import find_client

_PACKAGES: Final = Listing("credit_packages")


def list_credit_packages(request: SandboxRequest) -> JSON:
    """Answer ``credits.list_packages``."""
    return render_page(request, _PACKAGES, _package_json, noun="Credit packages")


def _package_json(row: Row) -> JSON:
    return {
        "object": "credit_package",
        "id": row["id"],
        "name": row["name"],
        "credits": format_money(row["credits"]),
        "amount": format_money(row["amount"]),
        "currency": CURRENCY,
        "created": row["created"],
    }


def purchase_credits(request: SandboxRequest) -> JSON:
    """Answer ``credits.purchase``: the client gets the credits, the reseller pays."""
    client_id, package_id = request.fields.read_str("client_id"), request.fields.read_str("package_id")
    client = find_client(request, client_id)
    package = request.store.fetch_one("SELECT * FROM credit_packages WHERE id = ?", package_id)
    if package is None:
        raise not_found_error("credit package", package_id)
    balance = add_credits(request, client, package["credits"], f"Credits purchase — {package['name']}")
    debit_reseller(request, client, package["amount"], package["name"])
    return {
        "object": "credit_purchase",
        "id": new_id("cpur"),
        "client_id": client_id,
        "package_id": package_id,
        "credits": format_money(package["credits"]),
        "amount": format_money(package["amount"]),
        "currency": CURRENCY,
        "balance": format_money(balance),
        "created": request.now_ms,
        "message": "Credits purchased successfully",
    }
