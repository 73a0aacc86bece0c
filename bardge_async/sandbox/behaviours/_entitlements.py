"""What a client may use: issued passes with their visits, and co-pay visits bought at a provider."""

from __future__ import annotations

from typing import Final

import attrs
import orjson

from bardge_async.sandbox._errors import invalid, pass_not_found
from bardge_async.sandbox._request import Call
from bardge_async.sandbox._store import Row

_HELD: Final = (
    "SELECT i.*, p.id AS pass_id, p.name AS pass_name, p.duration FROM issued_passes i JOIN passes p ON p.seq = i.pass "
)
_GRANTS: Final = (
    "SELECT g.*, c.tiers, c.credit_allocated FROM issued_categories g "
    "JOIN issued_passes i ON i.seq = g.issued JOIN pass_categories c ON c.pass = i.pass AND c.type = g.type "
    "WHERE g.issued = ? ORDER BY g.type"
)
_LOOKED_AT: Final = 50


@attrs.frozen
class Held:
    """An issued pass with what it grants."""

    row: Row
    categories: tuple[Row, ...]

    def state(self, now: int) -> str:
        """Tell whether it is active, expired by date or by visits, or cancelled."""
        if self.row["cancelled"]:
            return "CANCELLED"
        return "ACTIVE" if self.in_time(now) and any(map(_has_visits, self.categories)) else "EXPIRED"

    def in_time(self, now: int) -> bool:
        """Tell whether it is neither cancelled nor past its date; its visits may be used up."""
        return not self.row["cancelled"] and bool(self.row["expires_at"] >= now)

    def grant_for(self, provider: Row) -> Row | None:
        """Find the category that covers a provider."""
        for grant in self.categories:
            if grant["type"] == provider["category"] and provider["tier"] in orjson.loads(grant["tiers"]):
                return grant
        return None

    def covers(self, provider: Row) -> bool:
        """Tell whether a visit at a provider is left."""
        grant = self.grant_for(provider)
        return grant is not None and _has_visits(grant)


def _has_visits(grant: Row) -> bool:
    return grant["visits_allowed"] is None or grant["visits_used"] < grant["visits_allowed"]


def _held(call: Call, row: Row) -> Held:
    return Held(row, tuple(call.store.all(_GRANTS, row["seq"])))


def _newest(call: Call, client: Row) -> list[Held]:
    rows = call.store.all(_HELD + "WHERE i.client = ? ORDER BY i.seq DESC LIMIT ?", client["seq"], _LOOKED_AT)
    return [_held(call, row) for row in rows]


def current_pass(call: Call, client: Row) -> Held:
    """Find the pass that a client holds: the newest active one, else the newest of any state.

    Raises:
        Refusal: 404, the client never had one.
    """
    passes = _newest(call, client)
    if not passes:
        raise pass_not_found(f"No pass was issued to client {client['id']}.")
    return next((held for held in passes if held.state(call.now) == "ACTIVE"), passes[0])


def pass_for_visit(call: Call, client: Row) -> Held | None:
    """Find the pass that a booking goes by: ``user_pass_id`` where given, else the current one; None if it is over.

    Raises:
        Refusal: 404, the client has no pass with that id.
    """
    id = call.fields.text_if_given("user_pass_id")
    if id is None:
        usable = [held for held in _newest(call, client) if held.in_time(call.now)]
        active = (held for held in usable if held.state(call.now) == "ACTIVE")
        return next(active, usable[0] if usable else None)
    row = call.store.one(_HELD + "WHERE i.client = ? AND i.id = ?", client["seq"], id)
    if row is None:
        raise pass_not_found(f"No pass exists with id {id}.")
    held = _held(call, row)
    return held if held.in_time(call.now) else None


def require_pass(call: Call, client: Row) -> Held:
    """Find the pass that a visit goes by.

    Raises:
        Refusal: 404, there is none, or it is over.
    """
    held = pass_for_visit(call, client)
    if held is None:
        raise pass_not_found(f"No active pass exists for client {client['id']}.")
    return held


def use_visit(call: Call, issued: int, category: str) -> None:
    """Take a visit from a pass.

    Raises:
        Refusal: 400, none is left.
    """
    sql = (
        "UPDATE issued_categories SET visits_used = visits_used + 1 "
        "WHERE issued = ? AND type = ? AND (visits_allowed IS NULL OR visits_used < visits_allowed)"
    )
    if not call.store.change(sql, issued, category):
        raise invalid("client_id", "no visit is left on the client's pass")


def give_visit_back(call: Call, issued: int, category: str) -> None:
    """Give a visit back to a pass."""
    sql = "UPDATE issued_categories SET visits_used = max(visits_used - 1, 0) WHERE issued = ? AND type = ?"
    call.store.change(sql, issued, category)


def add_visits(call: Call, issued: int, category: str, visits: int) -> None:
    """Raise a pass's cap."""
    sql = "UPDATE issued_categories SET visits_allowed = visits_allowed + ? WHERE issued = ? AND type = ?"
    call.store.change(sql, visits, issued, category)


def copay_with_visits(call: Call, client: Row, provider: int, services: str | None = None) -> int | None:
    """Find a bought co-pay that a visit can go by: an option without services, or a quote for just these services."""
    sql = (
        "SELECT seq FROM copay_purchases WHERE client = ? AND provider = ? AND visits_left > 0 "
        "AND (services IS NULL OR services = ?) ORDER BY seq LIMIT 1"
    )
    row = call.store.one(sql, client["seq"], provider, services)
    return row["seq"] if row else None


def change_copay_visits(call: Call, copay: int, by: int) -> None:
    """Take a visit from a bought co-pay, or give it back."""
    call.store.change("UPDATE copay_purchases SET visits_left = visits_left + ? WHERE seq = ?", by, copay)
