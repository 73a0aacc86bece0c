"""Co-pay: options of gyms, quotes of spas, and their purchases, which the reseller's account pays (guide: Co-pay)."""

from __future__ import annotations

from typing import Final

from bardge_async.sandbox._errors import invalid, not_found
from bardge_async.sandbox._formats import CURRENCY, MINUTE, money, new_id
from bardge_async.sandbox._ledger import debit_reseller
from bardge_async.sandbox._pages import Listing, page
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row
from bardge_async.sandbox.behaviours._clients import client_named
from bardge_async.sandbox.behaviours._entitlements import pass_for_visit
from bardge_async.sandbox.behaviours._providers import provider_named
from bardge_async.sandbox.behaviours._spas import chosen

_OPTIONS: Final = Listing("copay_options", "provider = ?")
_QUOTE_LASTS: Final = 30 * MINUTE
"""The sandbox's choice."""


def list_gym_options(call: Call) -> JSON:
    """Answer ``copay.list_gym_options``; its items have no ``id``, the cursors are ``copay_package_id``."""
    gym = provider_named(call, call.path["provider_branch_id"], "GYM")
    return page(call, _OPTIONS, option_json, gym["seq"], noun="Co-pay options")


def option_json(row: Row) -> JSON:
    """Write a co-pay option."""
    return {
        "copay_package_id": row["id"],
        "name": row["name"],
        "price": money(row["price"]),
        "currency": CURRENCY,
        "duration": row["duration"],
        "visits": row["visits"],
        "tier": row["tier"],
    }


def quote_spa_copay(call: Call) -> JSON:
    """Answer ``copay.quote_spa``: nothing is due for what the client's pass covers."""
    spa = provider_named(call, call.path["provider_id"], "SPA")
    client = client_named(call, call.fields.text("client_id"))
    choice = chosen(call, spa)
    held = pass_for_visit(call, client)
    covered = held is not None and held.covers(spa)
    amount = 0 if covered else choice.total
    id, expires_at = new_id("quote"), call.now + _QUOTE_LASTS
    row = {"id": id, "client": client["seq"], "provider": spa["seq"], "services": choice.key, "amount": amount}
    call.store.insert("quotes", {**row, "expires_at": expires_at})
    return {
        "quote_id": id,
        "amount": money(amount),
        "currency": CURRENCY,
        "expires_at": expires_at,
        "services": choice.preview(covered=covered),
    }


def purchase_gym_copay(call: Call) -> JSON:
    """Answer ``copay.purchase_gym``."""
    fields = call.fields
    option, gym_id = fields.text("copay_package_id"), fields.text("provider_id")
    client, gym = client_named(call, fields.text("client_id")), provider_named(call, gym_id, "GYM")
    return _receipt(buy_option(call, client, gym["seq"], option), "gym_copay_purchase")


def purchase_spa_copay(call: Call) -> JSON:
    """Answer ``copay.purchase_spa``; buying a quote again charges again, as the table says."""
    fields = call.fields
    quote, spa_id = fields.text("quote_id"), fields.text("provider_id")
    client, spa = client_named(call, fields.text("client_id")), provider_named(call, spa_id, "SPA")
    return _receipt(_buy_quote(call, client, spa["seq"], quote), "spa_copay_purchase")


def purchase_copay_package(call: Call) -> JSON:
    """Answer ``copay.purchase_package``: by option or by quote."""
    fields = call.fields
    client = client_named(call, fields.text("client_id"))
    provider = provider_named(call, fields.text("provider_id"))
    by_option, by_quote = fields.given("copay_package_id"), fields.given("quote_id")
    if by_option == by_quote:
        raise invalid("copay_package_id", "give either copay_package_id or quote_id")
    if by_option:
        bought = buy_option(call, client, provider["seq"], fields.text("copay_package_id"))
    else:
        bought = _buy_quote(call, client, provider["seq"], fields.text("quote_id"))
    return _receipt(bought, "copay_purchase")


def buy_option(call: Call, client: Row, provider: int, id: str) -> Row:
    """Buy a co-pay option of a gym.

    Raises:
        Refusal: 400, the gym has no such option.
    """
    option = call.store.one("SELECT * FROM copay_options WHERE provider = ? AND id = ?", provider, id)
    if option is None:
        raise invalid("copay_package_id", f"no co-pay option of this provider has the id {id[:80]!r}")
    debit_reseller(call, client, option["price"], f"Co-pay {option['name']}")
    return _purchase(call, client, provider, option["price"], visits=option["visits"])


def _buy_quote(call: Call, client: Row, provider: int, id: str) -> Row:
    sql = "SELECT * FROM quotes WHERE id = ? AND client = ? AND provider = ? AND expires_at > ?"
    quote = call.store.one(sql, id, client["seq"], provider, call.now)
    if quote is None:
        raise not_found("quote", id)
    debit_reseller(call, client, quote["amount"], f"Spa co-pay {id}")
    return _purchase(call, client, provider, quote["amount"], visits=1, services=quote["services"])


def _purchase(call: Call, client: Row, provider: int, amount: int, *, visits: int, services: str | None = None) -> Row:
    seq = call.store.insert(
        "copay_purchases",
        {
            "id": new_id("cop"),
            "client": client["seq"],
            "provider": provider,
            "services": services,
            "amount": amount,
            "visits_left": visits,
            "created": call.now,
        },
    )
    return call.store.all("SELECT * FROM copay_purchases WHERE seq = ?", seq)[0]


def _receipt(bought: Row, object: str) -> JSON:
    return {
        "object": object,
        "copay_purchase_id": bought["id"],
        "status": "COMPLETED",
        "amount": money(bought["amount"]),
        "currency": CURRENCY,
        "created": bought["created"],
        "message": "Co-pay purchased successfully",
    }
