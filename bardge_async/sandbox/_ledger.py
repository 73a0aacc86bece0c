"""Money that moved: a client's credits and the reseller's account, one entry per movement."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Final, Literal

import attrs

from bardge_async.sandbox._errors import INVALID, VALIDATION, Refusal
from bardge_async.sandbox._formats import SECOND, new_id
from bardge_async.sandbox._request import Call
from bardge_async.sandbox._store import Row, Store

CREDITS: Final = "credits"
ACCOUNT: Final = "account"
Book = Literal["credits", "account"]

_ENTRIES: Final = "SELECT e.*, c.id AS client_id FROM entries e JOIN clients c ON c.seq = e.client "


@attrs.frozen
class LedgerEntry:
    """One movement; ``type`` is "CREDIT" or "DEBIT", ``timestamp`` an aware UTC instant.

    ``idempotency_key`` is the key of the request that moved it, also where its row ignores keys.
    """

    id: str
    client_id: str
    type: str
    amount: Decimal
    description: str
    timestamp: dt.datetime
    idempotency_key: str | None


def grant(call: Call, client: Row, amount: int, description: str) -> int:
    """Add to a client's credits and return the new balance."""
    call.store.change("UPDATE clients SET credits = credits + ? WHERE seq = ?", amount, client["seq"])
    _enter(call, CREDITS, client, amount, description)
    return credits_of(call.store, client)


def spend(call: Call, client: Row, amount: int, description: str) -> None:
    """Take from a client's credits.

    Raises:
        Refusal: The balance is too small: a 400 validation error (page: Credits).
    """
    require_credits(call, client, amount)
    call.store.change("UPDATE clients SET credits = credits - ? WHERE seq = ?", amount, client["seq"])
    _enter(call, CREDITS, client, -amount, description)


def require_credits(call: Call, client: Row, amount: int) -> None:
    """Refuse when a client has fewer credits than that."""
    if credits_of(call.store, client) < amount:
        message = f"client_id: client {client['id']} has insufficient credits for this booking"
        raise Refusal(400, INVALID, VALIDATION, message)


def debit_reseller(call: Call, client: Row, amount: int, description: str) -> None:
    """Take from the reseller's account, which may go below zero here: no page shows a limit."""
    call.store.change("UPDATE resellers SET balance = balance - ? WHERE seq = ?", amount, call.reseller.seq)
    _enter(call, ACCOUNT, client, -amount, description)


def credits_of(store: Store, client: Row) -> int:
    """Read a client's balance as it is now."""
    row = store.one("SELECT credits FROM clients WHERE seq = ?", client["seq"])
    return int(row["credits"]) if row else 0


def entries(store: Store, book: Book, scope: Literal["client", "reseller"], seq: int) -> tuple[LedgerEntry, ...]:
    """Read a book, oldest first."""
    where = f"WHERE e.{scope} = ? AND e.book = ? ORDER BY e.seq"
    return tuple(_entry(row) for row in store.all(_ENTRIES + where, seq, book))


def _entry(row: Row) -> LedgerEntry:
    return LedgerEntry(
        id=row["id"],
        client_id=row["client_id"],
        type=row["type"],
        amount=Decimal(row["amount"]) / 100,
        description=row["description"],
        timestamp=dt.datetime.fromtimestamp(row["timestamp"] / SECOND, dt.UTC),
        idempotency_key=row["idempotency_key"],
    )


def _enter(call: Call, book: str, client: Row, amount: int, description: str) -> None:
    call.store.insert(
        "entries",
        {
            "id": new_id("txn"),
            "book": book,
            "reseller": call.reseller.seq,
            "client": client["seq"],
            "type": "CREDIT" if amount > 0 else "DEBIT",
            "amount": abs(amount),
            "description": description,
            "timestamp": call.now,
            "idempotency_key": call.key,
        },
    )
