"""Clients and their credits; the credits answer has no ``object`` field (page)."""

from __future__ import annotations

from typing import Final

from bardge_async.sandbox._errors import forbidden, invalid, not_found
from bardge_async.sandbox._formats import CURRENCY, money
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row

_SHOWN: Final = 100
"""So many of the newest transactions are answered; the page shows no paging for them."""


def get_client(call: Call) -> JSON:
    """Answer ``clients.get``."""
    client = client_named(call, call.path["client_id"])
    sql = "SELECT p.id, p.name FROM issued_passes i JOIN passes p ON p.seq = i.pass WHERE i.client = ? ORDER BY i.seq DESC"
    return {
        "object": "client",
        "id": client["id"],
        "first_name": client["first_name"],
        "last_name": client["last_name"],
        "email": client["email"],
        "phone_number": client["phone_number"],
        "passes": [{"pass_id": row["id"], "pass_name": row["name"]} for row in call.store.all(sql, client["seq"])],
        "lookup_enabled": bool(client["lookup_enabled"]),
        "created": client["created"],
    }


def get_client_credits(call: Call) -> JSON:
    """Answer ``clients.get_credits``."""
    client = client_named(call, call.path["client_id"])
    sql = "SELECT * FROM entries WHERE client = ? AND book = 'credits' ORDER BY seq DESC LIMIT ?"
    return {
        "balance": money(client["credits"]),
        "currency": CURRENCY,
        "transactions": [_transaction(row) for row in call.store.all(sql, client["seq"], _SHOWN)],
        "message": "Client credits retrieved successfully",
    }


def _transaction(row: Row) -> JSON:
    return {
        "type": row["type"],
        "amount": money(row["amount"]),
        "description": row["description"],
        "timestamp": row["timestamp"],
    }


def client_named(call: Call, id: str) -> Row:
    """Find a client of this reseller.

    Raises:
        Refusal: 404, nobody has that id.
    """
    row = call.store.one("SELECT * FROM clients WHERE reseller = ? AND id = ?", call.reseller.seq, id)
    if row is None:
        raise not_found("client", id)
    return row


def visitor(call: Call) -> Row:
    """Find the client of a row that takes a lookup token: this reseller's own, or the one whom the token names.

    Raises:
        Refusal: 403, the token is unknown, expired or another reseller's; 400, it names another client.
    """
    id = call.fields.text("client_id")
    if call.lookup_token is None:
        return client_named(call, id)
    sql = (
        "SELECT c.* FROM lookups l JOIN clients c ON c.seq = l.client "
        "WHERE l.token = ? AND l.reseller = ? AND l.token_expires_at > ?"
    )
    client = call.store.one(sql, call.lookup_token, call.reseller.seq, call.now)
    if client is None:
        raise forbidden("The lookup token is not valid.")
    if client["id"] != id:
        raise invalid("client_id", "the lookup token belongs to another client")
    return client
