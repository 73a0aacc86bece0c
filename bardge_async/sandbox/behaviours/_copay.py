"""Co-pay: gym options, spa quotes and their purchases (guide: Co-pay).

That the reseller's account pays is known for a class's confirmation only (page); here it is the sandbox's choice.
"""

from __future__ import annotations

from typing import Final

from bardge_async.sandbox._errors import not_found_error, validation_error
from bardge_async.sandbox._formats import CURRENCY, MINUTE, format_money, new_id
from bardge_async.sandbox._ledger import debit_reseller
from bardge_async.sandbox._pages import Listing, render_page
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row
from bardge_async.sandbox.behaviours._clients import find_client
from bardge_async.sandbox.behaviours._entitlements import find_usable_pass
from bardge_async.sandbox.behaviours._providers import find_provider
from bardge_async.sandbox.behaviours._spas import read_services

_OPTIONS: Final = Listing("copay_options", "provider = ?")
_QUOTE_LIFETIME: Final = 30 * MINUTE
"""The sandbox's choice."""


def list_gym_options(request: SandboxRequest) -> JSON:
    """Answer ``copay.list_gym_options``; its items have no ``id``: the cursors are ``copay_package_id``."""
    gym = find_provider(request, request.path["provider_branch_id"], "GYM")
    return render_page(request, _OPTIONS, option_json, gym["seq"], noun="Co-pay options")


def option_json(row: Row) -> JSON:
    """Return a co-pay option as JSON."""
    return {
        "copay_package_id": row["id"],
        "name": row["name"],
        "price": format_money(row["price"]),
        "currency": CURRENCY,
        "duration": row["duration"],
        "visits": row["visits"],
        "tier": row["tier"],
    }


def quote_spa_copay(request: SandboxRequest) -> JSON:
    """Answer ``copay.quote_spa``: nothing is due if the client's pass covers it.

    A spa without co-pay serves only clients whose pass covers it (guide: Co-pay), and a credit price is quoted by none.
    """
    spa = find_provider(request, request.path["provider_id"], "SPA")
    client = find_client(request, request.fields.read_str("client_id"))
    selection = read_services(request, spa)
    held = find_usable_pass(request, client)
    covered = held is not None and held.covers(spa)
    if not covered and (selection.in_credits or not spa["copay_available"]):
        raise validation_error("provider_id", "no co-pay is offered for these services")
    amount = 0 if covered else selection.total
    id, expires_at = new_id("quote"), request.now_ms + _QUOTE_LIFETIME
    row = {"id": id, "client": client["seq"], "provider": spa["seq"], "services": selection.key, "amount": amount}
    request.store.insert_row("quotes", {**row, "expires_at": expires_at})
    return {
        "quote_id": id,
        "amount": format_money(amount),
        "currency": CURRENCY,
        "expires_at": expires_at,
        "services": selection.services_json(covered=covered),
    }


def purchase_gym_copay(request: SandboxRequest) -> JSON:
    """Answer ``copay.purchase_gym``."""
    fields = request.fields
    option, gym_id = fields.read_str("copay_package_id"), fields.read_str("provider_id")
    client, gym = find_client(request, fields.read_str("client_id")), find_provider(request, gym_id, "GYM")
    return _receipt_json(buy_option(request, client, gym["seq"], option), "gym_copay_purchase")


def purchase_spa_copay(request: SandboxRequest) -> JSON:
    """Answer ``copay.purchase_spa``; a second purchase of a quote charges again, as the table says."""
    fields = request.fields
    quote, spa_id = fields.read_str("quote_id"), fields.read_str("provider_id")
    client, spa = find_client(request, fields.read_str("client_id")), find_provider(request, spa_id, "SPA")
    return _receipt_json(_buy_quote(request, client, spa["seq"], quote), "spa_copay_purchase")


def purchase_copay_package(request: SandboxRequest) -> JSON:
    """Answer ``copay.purchase_package``: by quote, else by option. That the quote prevails is the sandbox's choice."""
    fields = request.fields
    client = find_client(request, fields.read_str("client_id"))
    provider = find_provider(request, fields.read_str("provider_id"))
    if fields.is_given("quote_id"):
        purchase = _buy_quote(request, client, provider["seq"], fields.read_str("quote_id"))
    else:
        purchase = buy_option(request, client, provider["seq"], fields.read_str("copay_package_id"))
    return _receipt_json(purchase, "copay_purchase")


def buy_option(request: SandboxRequest, client: Row, provider: int, id: str) -> Row:
    """Buy a gym's co-pay option and return the purchase.

    Raises:
        ErrorAnswer: 400, the gym has no such option.
    """
    option = request.store.fetch_one("SELECT * FROM copay_options WHERE provider = ? AND id = ?", provider, id)
    if option is None:
        raise validation_error("copay_package_id", f"no co-pay option of this provider has the id {id[:80]!r}")
    debit_reseller(request, client, option["price"], f"Co-pay {option['name']}")
    return _record_purchase(request, client, provider, option["price"], visits=option["visits"])


def _buy_quote(request: SandboxRequest, client: Row, provider: int, id: str) -> Row:
    sql = "SELECT * FROM quotes WHERE id = ? AND client = ? AND provider = ? AND expires_at > ?"
    quote = request.store.fetch_one(sql, id, client["seq"], provider, request.now_ms)
    if quote is None:
        raise not_found_error("quote", id)
    debit_reseller(request, client, quote["amount"], f"Spa co-pay {id}")
    return _record_purchase(request, client, provider, quote["amount"], visits=1, services=quote["services"])


def _record_purchase(
    request: SandboxRequest, client: Row, provider: int, amount: int, *, visits: int, services: str | None = None
) -> Row:
    seq = request.store.insert_row(
        "copay_purchases",
        {
            "id": new_id("cop"),
            "client": client["seq"],
            "provider": provider,
            "services": services,
            "amount": amount,
            "visits_left": visits,
            "created": request.now_ms,
        },
    )
    return request.store.fetch_all("SELECT * FROM copay_purchases WHERE seq = ?", seq)[0]


def _receipt_json(purchase: Row, object: str) -> JSON:
    return {
        "object": object,
        "copay_purchase_id": purchase["id"],
        "status": "COMPLETED",
        "amount": format_money(purchase["amount"]),
        "currency": CURRENCY,
        "created": purchase["created"],
        "message": "Co-pay purchased successfully",
    }
