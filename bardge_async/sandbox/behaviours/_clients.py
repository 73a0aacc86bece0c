"""Clients and their credits; the credits response has no ``object`` field (page)."""

from __future__ import annotations

from typing import Final

from bardge_async.sandbox._errors import not_found_error, permission_error, validation_error
from bardge_async.sandbox._formats import CURRENCY, format_money
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row

_MAX_TRANSACTIONS: Final = 100
"""How many of the newest transactions are returned; the page shows no pagination for them."""


def get_client(request: SandboxRequest) -> JSON:
    """Answer ``clients.get``."""
    client = find_client(request, request.path["client_id"])
    sql = "SELECT p.id, p.name FROM issued_passes i JOIN passes p ON p.seq = i.pass WHERE i.client = ? ORDER BY i.seq DESC"
    return {
        "object": "client",
        "id": client["id"],
        "first_name": client["first_name"],
        "last_name": client["last_name"],
        "email": client["email"],
        "phone_number": client["phone_number"],
        "passes": [
            {"pass_id": row["id"], "pass_name": row["name"]} for row in request.store.fetch_all(sql, client["seq"])
        ],
        "lookup_enabled": request.reseller.lookup_enabled,
        "created": client["created"],
    }


def get_client_credits(request: SandboxRequest) -> JSON:
    """Answer ``clients.get_credits``."""
    client = find_client(request, request.path["client_id"])
    sql = "SELECT * FROM entries WHERE client = ? AND book = 'credits' ORDER BY seq DESC LIMIT ?"
    return {
        "balance": format_money(client["credits"]),
        "currency": CURRENCY,
        "transactions": [
            _transaction_json(row) for row in request.store.fetch_all(sql, client["seq"], _MAX_TRANSACTIONS)
        ],
        "message": "Credits retrieved successfully",
    }


def _transaction_json(row: Row) -> JSON:
    return {
        "type": row["type"],
        "amount": format_money(row["amount"]),
        "description": row["description"],
        "timestamp": row["timestamp"],
    }


def find_client(request: SandboxRequest, id: str) -> Row:
    """Return a client of this reseller.

    Raises:
        ErrorAnswer: 404, there is none.
    """
    row = request.store.fetch_one("SELECT * FROM clients WHERE reseller = ? AND id = ?", request.reseller.seq, id)
    if row is None:
        raise not_found_error("client", id)
    return row


def find_visiting_client(request: SandboxRequest) -> Row:
    """Return the client for an endpoint that takes a lookup token: this reseller's own, or the token's.

    Raises:
        ErrorAnswer: 403, the token is unknown, expired or another reseller's; 400, it names another client.
    """
    id = request.fields.read_str("client_id")
    if request.lookup_token is None:
        return find_client(request, id)
    sql = (
        "SELECT c.* FROM lookups l JOIN clients c ON c.seq = l.client "
        "WHERE l.token = ? AND l.reseller = ? AND l.token_expires_at > ?"
    )
    client = request.store.fetch_one(sql, request.lookup_token, request.reseller.seq, request.now_ms)
    if client is None:
        raise permission_error("The lookup token is not valid.")
    if client["id"] != id:
        raise validation_error("client_id", "the lookup token belongs to another client")
    return client
