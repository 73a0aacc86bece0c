"""Who a request is about: the client and the pass that it holds now."""

from __future__ import annotations

import attrs

from bardge_async.sandbox._call import Call
from bardge_async.sandbox._refusals import not_found, pass_not_found
from bardge_async.sandbox._store import Row, Store


def client_named(call: Call, id: str) -> Row:
    """Find a client of this reseller.

    Raises:
        Refusal: 404, nobody has that id.
    """
    row = call.store.one("SELECT * FROM clients WHERE reseller = ? AND id = ?", call.reseller.seq, id)
    if row is None:
        raise not_found("client", id)
    return row


@attrs.frozen
class Held:
    """An issued pass with what it grants."""

    row: Row
    categories: tuple[Row, ...]

    def state(self, now: int) -> str:
        """Tell whether it is active, expired by date or by visits, or cancelled."""
        if self.row["cancelled"]:
            return "CANCELLED"
        return "EXPIRED" if self.row["expires_at"] < now or self._used_up else "ACTIVE"

    @property
    def _used_up(self) -> bool:
        return all(c["visits_allowed"] is not None and c["visits_used"] >= c["visits_allowed"] for c in self.categories)


_HELD = (
    "SELECT i.*, p.id AS pass_id, p.name AS pass_name, p.duration FROM issued_passes i JOIN passes p ON p.seq = i.pass "
)
_GRANTS = (
    "SELECT g.*, c.tiers, c.credit_allocated FROM issued_categories g "
    "JOIN issued_passes i ON i.seq = g.issued JOIN pass_categories c ON c.pass = i.pass AND c.type = g.type "
    "WHERE g.issued = ? ORDER BY g.type"
)


def _held(store: Store, row: Row) -> Held:
    return Held(row, tuple(store.all(_GRANTS, row["seq"])))


def current_pass(call: Call, client: Row) -> Held:
    """Find the pass that a client holds: the newest active one, else the newest of any state.

    Raises:
        Refusal: 404, the client never had one.
    """
    rows = call.store.all(_HELD + "WHERE i.client = ? ORDER BY i.seq DESC LIMIT 50", client["seq"])
    passes = [_held(call.store, row) for row in rows]
    if not passes:
        raise pass_not_found(f"No pass was issued to client {client['id']}.")
    return next((held for held in passes if held.state(call.now) == "ACTIVE"), passes[0])


def pass_by_id(call: Call, client: Row, id: str) -> Held:
    """Find one of a client's issued passes.

    Raises:
        Refusal: 404, the client has no such pass.
    """
    row = call.store.one(_HELD + "WHERE i.client = ? AND i.id = ?", client["seq"], id)
    if row is None:
        raise pass_not_found(f"No pass exists with id {id}.")
    return _held(call.store, row)
