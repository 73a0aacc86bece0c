"""Sessions between initiating and confirming a booking; they reserve no spot (the sandbox's choice)."""

from __future__ import annotations

from typing import Final

from bardge_async.sandbox._errors import conflict_error, not_found_error
from bardge_async.sandbox._formats import MINUTE, new_id
from bardge_async.sandbox._request import SandboxRequest
from bardge_async.sandbox._store import Row, Value

SESSION_LIFETIME: Final = 15 * MINUTE
"""How long a session can be confirmed; the sandbox's choice."""


def open_session(request: SandboxRequest, client: Row, outcome: str, details: dict[str, Value]) -> str:
    """Store what the confirmation needs and return the session's id."""
    id = new_id("sess")
    row: dict[str, Value] = {"id": id, "reseller": request.reseller.seq, "client": client["seq"], "outcome": outcome}
    request.store.insert_row("sessions", {**row, "expires_at": request.now_ms + SESSION_LIFETIME, **details})
    return id


def find_session(request: SandboxRequest, kind: str) -> tuple[Row, Row]:
    """Return the session in the path and its client; ``kind`` is "class" or "spa".

    Raises:
        ErrorAnswer: 404, there is none, or it has expired; 409, it was already confirmed.
    """
    id = request.path["session_id"]
    row = request.store.fetch_one("SELECT * FROM sessions WHERE id = ? AND reseller = ?", id, request.reseller.seq)
    if row is None or (row["instance"] is None) is (kind == "class") or row["expires_at"] <= request.now_ms:
        raise not_found_error("session", id)
    if row["booking"] is not None:
        raise conflict_error("session_already_confirmed", f"Session {id} was confirmed as {row['booking']}.")
    return row, request.store.fetch_all("SELECT * FROM clients WHERE seq = ?", row["client"])[0]


def close_session(request: SandboxRequest, session: Row, booking: Row) -> None:
    """Mark a session as confirmed."""
    request.store.execute("UPDATE sessions SET booking = ? WHERE id = ?", booking["id"], session["id"])
