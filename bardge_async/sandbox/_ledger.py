"""Money movements: a client's credits and the reseller's account, one entry each."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Final, Literal, Protocol

import attrs

from bardge_async.sandbox._errors import INVALID_REQUEST, VALIDATION_CODE, ErrorAnswer
from bardge_async.sandbox._formats import SECOND, new_id
from bardge_async.sandbox._request import Reseller, SandboxRequest
from bardge_async.sandbox._store import Row, Store

CREDITS: Final = "credits"
ACCOUNT: Final = "account"
Book = Literal["credits", "account"]

_ENTRIES: Final = "SELECT e.*, c.id AS client_id FROM entries e JOIN clients c ON c.seq = e.client "


@attrs.frozen
class LedgerEntry:
    """One movement; ``type`` is "CREDIT" or "DEBIT", ``timestamp`` an aware UTC instant.

    ``idempotency_key`` is the key of the request that caused it, even if the endpoint ignores keys.
    """

    id: str
    client_id: str
    type: str
    amount: Decimal
    description: str
    timestamp: dt.datetime
    idempotency_key: str | None


class LedgerContext(Protocol):
    """What causes a movement: a request, or a visit at a gym."""

    @property
    def store(self) -> Store:
        """The sandbox's tables."""
        ...

    @property
    def reseller(self) -> Reseller:
        """The account that it concerns."""
        ...

    @property
    def now_ms(self) -> int:
        """The time of the sandbox's clock, in milliseconds."""
        ...

    @property
    def idempotency_key(self) -> str | None:
        """The key of the request, if there is one."""
        ...


def add_credits(request: SandboxRequest, client: Row, amount: int, description: str) -> int:
    """Add to a client's credits and return the new balance."""
    request.store.execute("UPDATE clients SET credits = credits + ? WHERE seq = ?", amount, client["seq"])
    _record_entry(request, CREDITS, client, amount, description)
    return read_balance(request.store, client)


def spend_credits(request: LedgerContext, client: Row, amount: int, description: str) -> None:
    """Deduct from a client's credits.

    Raises:
        ErrorAnswer: The balance is too small: a 400 validation error (page: Credits).
    """
    require_credits(request, client, amount)
    request.store.execute("UPDATE clients SET credits = credits - ? WHERE seq = ?", amount, client["seq"])
    _record_entry(request, CREDITS, client, -amount, description)


def require_credits(request: LedgerContext, client: Row, amount: int) -> None:
    """Raise unless a client has that many credits."""
    if read_balance(request.store, client) < amount:
        message = f"client_id: client {client['id']} has insufficient credits for this booking"
        raise ErrorAnswer(400, INVALID_REQUEST, VALIDATION_CODE, message)


def debit_reseller(request: SandboxRequest, client: Row, amount: int, description: str) -> None:
    """Debit the reseller's account, which may go negative here: no page shows a limit."""
    request.store.execute("UPDATE resellers SET balance = balance - ? WHERE seq = ?", amount, request.reseller.seq)
    _record_entry(request, ACCOUNT, client, -amount, description)


def read_balance(store: Store, client: Row) -> int:
    """Return a client's current balance."""
    row = store.fetch_one("SELECT credits FROM clients WHERE seq = ?", client["seq"])
    return int(row["credits"]) if row else 0


def read_entries(store: Store, book: Book, scope: Literal["client", "reseller"], seq: int) -> tuple[LedgerEntry, ...]:
    """Return a book's entries, oldest first."""
    where = f"WHERE e.{scope} = ? AND e.book = ? ORDER BY e.seq"
    return tuple(_to_ledger_entry(row) for row in store.fetch_all(_ENTRIES + where, seq, book))


def _to_ledger_entry(row: Row) -> LedgerEntry:
    return LedgerEntry(
        id=row["id"],
        client_id=row["client_id"],
        type=row["type"],
        amount=Decimal(row["amount"]) / 100,
        description=row["description"],
        timestamp=dt.datetime.fromtimestamp(row["timestamp"] / SECOND, dt.UTC),
        idempotency_key=row["idempotency_key"],
    )


def _record_entry(request: LedgerContext, book: str, client: Row, amount: int, description: str) -> None:
    request.store.insert_row(
        "entries",
        {
            "id": new_id("txn"),
            "book": book,
            "reseller": request.reseller.seq,
            "client": client["seq"],
            "type": "CREDIT" if amount > 0 else "DEBIT",
            "amount": abs(amount),
            "description": description,
            "timestamp": request.now_ms,
            "idempotency_key": request.idempotency_key,
        },
    )
