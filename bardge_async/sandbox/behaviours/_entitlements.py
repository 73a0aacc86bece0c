"""What a client may use: issued passes with their visits, and co-pay visits bought for a provider."""

from __future__ import annotations

from typing import Final

import attrs
import orjson

from bardge_async.sandbox._errors import pass_not_found_error, validation_error
from bardge_async.sandbox._request import SandboxRequest
from bardge_async.sandbox._store import Row

_SELECT_ISSUED: Final = (
    "SELECT i.*, p.id AS pass_id, p.name AS pass_name, p.duration FROM issued_passes i JOIN passes p ON p.seq = i.pass "
)
_SELECT_CATEGORIES: Final = (
    "SELECT g.*, c.tiers, c.credit_allocated FROM issued_categories g "
    "JOIN issued_passes i ON i.seq = g.issued JOIN pass_categories c ON c.pass = i.pass AND c.type = g.type "
    "WHERE g.issued = ? ORDER BY g.type"
)
_MAX_PASSES: Final = 50
"""How many of a client's newest passes are considered."""


@attrs.frozen
class HeldPass:
    """An issued pass with its categories."""

    row: Row
    categories: tuple[Row, ...]

    def status_at(self, now: int) -> str:
        """Return the status: active, expired (by date or by visits), or cancelled."""
        if self.row["cancelled"]:
            return "CANCELLED"
        return "ACTIVE" if self.is_unexpired(now) and any(map(_has_visits, self.categories)) else "EXPIRED"

    def is_unexpired(self, now: int) -> bool:
        """Return whether it is neither cancelled nor past its date; its visits may be used up."""
        return not self.row["cancelled"] and bool(self.row["expires_at"] >= now)

    def find_category(self, provider: Row) -> Row | None:
        """Return the category that covers a provider, if any."""
        for category in self.categories:
            if category["type"] == provider["category"] and provider["tier"] in orjson.loads(category["tiers"]):
                return category
        return None

    def covers(self, provider: Row) -> bool:
        """Return whether a visit at a provider is left."""
        category = self.find_category(provider)
        return category is not None and _has_visits(category)


def _has_visits(category: Row) -> bool:
    return category["visits_allowed"] is None or category["visits_used"] < category["visits_allowed"]


def _load_pass(request: SandboxRequest, row: Row) -> HeldPass:
    return HeldPass(row, tuple(request.store.fetch_all(_SELECT_CATEGORIES, row["seq"])))


def _newest_passes(request: SandboxRequest, client: Row) -> list[HeldPass]:
    rows = request.store.fetch_all(
        _SELECT_ISSUED + "WHERE i.client = ? ORDER BY i.seq DESC LIMIT ?", client["seq"], _MAX_PASSES
    )
    return [_load_pass(request, row) for row in rows]


def find_current_pass(request: SandboxRequest, client: Row) -> HeldPass:
    """Return a client's current pass: the newest active one, otherwise the newest of any status.

    Raises:
        ErrorAnswer: 404, the client has never had one.
    """
    passes = _newest_passes(request, client)
    if not passes:
        raise pass_not_found_error(f"No pass was issued to client {client['id']}.")
    return next((held for held in passes if held.status_at(request.now_ms) == "ACTIVE"), passes[0])


def find_usable_pass(request: SandboxRequest, client: Row) -> HeldPass | None:
    """Return the pass for a booking: ``user_pass_id`` if given, otherwise the current one; None if no longer valid.

    Raises:
        ErrorAnswer: 404, the client has no pass with that id.
    """
    id = request.fields.read_optional_str("user_pass_id")
    if id is None:
        usable = [held for held in _newest_passes(request, client) if held.is_unexpired(request.now_ms)]
        active = (held for held in usable if held.status_at(request.now_ms) == "ACTIVE")
        return next(active, usable[0] if usable else None)
    row = request.store.fetch_one(_SELECT_ISSUED + "WHERE i.client = ? AND i.id = ?", client["seq"], id)
    if row is None:
        raise pass_not_found_error(f"No pass exists with id {id}.")
    held = _load_pass(request, row)
    return held if held.is_unexpired(request.now_ms) else None


def require_usable_pass(request: SandboxRequest, client: Row) -> HeldPass:
    """Return the pass for a visit.

    Raises:
        ErrorAnswer: 404, there is none, or it is no longer valid.
    """
    held = find_usable_pass(request, client)
    if held is None:
        raise pass_not_found_error(f"No active pass exists for client {client['id']}.")
    return held


def use_visit(request: SandboxRequest, issued: int, category: str) -> None:
    """Use one visit of a pass.

    Raises:
        ErrorAnswer: 400, none is left.
    """
    sql = (
        "UPDATE issued_categories SET visits_used = visits_used + 1 "
        "WHERE issued = ? AND type = ? AND (visits_allowed IS NULL OR visits_used < visits_allowed)"
    )
    if not request.store.execute(sql, issued, category):
        raise validation_error("client_id", "no visit is left on the client's pass")


def restore_visit(request: SandboxRequest, issued: int, category: str) -> None:
    """Return an unused visit to a pass."""
    sql = "UPDATE issued_categories SET visits_used = max(visits_used - 1, 0) WHERE issued = ? AND type = ?"
    request.store.execute(sql, issued, category)


def add_visits(request: SandboxRequest, issued: int, category: str, visits: int) -> None:
    """Raise the visit limit of a pass."""
    sql = "UPDATE issued_categories SET visits_allowed = visits_allowed + ? WHERE issued = ? AND type = ?"
    request.store.execute(sql, visits, issued, category)


def find_copay(request: SandboxRequest, client: Row, provider: int, services: str | None = None) -> int | None:
    """Return a purchased co-pay with visits left: an option (no services), or a quote for exactly these services."""
    sql = (
        "SELECT seq FROM copay_purchases WHERE client = ? AND provider = ? AND visits_left > 0 "
        "AND (services IS NULL OR services = ?) ORDER BY seq LIMIT 1"
    )
    row = request.store.fetch_one(sql, client["seq"], provider, services)
    return row["seq"] if row else None


def change_copay_visits(request: SandboxRequest, copay: int, delta: int) -> None:
    """Use visits of a purchased co-pay (negative ``delta``), or return them."""
    request.store.execute("UPDATE copay_purchases SET visits_left = visits_left + ? WHERE seq = ?", delta, copay)
