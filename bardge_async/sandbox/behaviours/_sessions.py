"""Sessions between initiating a booking and confirming it; they hold no place (the sandbox's choice)."""

from __future__ import annotations

from typing import Final

from bardge_async.sandbox._errors import conflict, not_found
from bardge_async.sandbox._formats import MINUTE, new_id
from bardge_async.sandbox._request import Call
from bardge_async.sandbox._store import Row, Value

LASTS: Final = 15 * MINUTE
"""How long a session can be confirmed; the sandbox's choice."""


def open_session(call: Call, client: Row, outcome: str, details: dict[str, Value]) -> str:
    """Keep what a confirmation will need and return the session's id."""
    id = new_id("sess")
    row: dict[str, Value] = {"id": id, "reseller": call.reseller.seq, "client": client["seq"], "outcome": outcome}
    call.store.insert("sessions", {**row, "expires_at": call.now + LASTS, **details})
    return id


def session_named(call: Call, kind: str) -> tuple[Row, Row]:
    """Find the session in the path and its client; ``kind`` is "class" or "spa".

    Raises:
        Refusal: 404, there is none, or it has expired; 409, it was confirmed already.
    """
    id = call.path["session_id"]
    row = call.store.one("SELECT * FROM sessions WHERE id = ? AND reseller = ?", id, call.reseller.seq)
    if row is None or (row["instance"] is None) is (kind == "class") or row["expires_at"] <= call.now:
        raise not_found("session", id)
    if row["booking"] is not None:
        raise conflict("session_already_confirmed", f"Session {id} was confirmed as {row['booking']}.")
    return row, call.store.all("SELECT * FROM clients WHERE seq = ?", row["client"])[0]


def close_session(call: Call, session: Row, booking: Row) -> None:
    """Mark a session as confirmed."""
    call.store.change("UPDATE sessions SET booking = ? WHERE id = ?", booking["id"], session["id"])
