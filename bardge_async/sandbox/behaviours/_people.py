"""Who a request is about."""

from __future__ import annotations

from bardge_async.sandbox._errors import forbidden, invalid, not_found
from bardge_async.sandbox._request import Call
from bardge_async.sandbox._store import Row


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
