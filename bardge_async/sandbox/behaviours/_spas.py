"""Services of a spa: what was chosen, and what the pass pays for."""

from __future__ import annotations

import attrs
import orjson

from bardge_async.sandbox._errors import invalid
from bardge_async.sandbox._formats import money
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row


@attrs.frozen
class Choice:
    """The services of one visit, in the order asked for."""

    rows: tuple[Row, ...]

    @property
    def total(self) -> int:
        """Price of them all."""
        return sum(row["price"] for row in self.rows)

    @property
    def name(self) -> str:
        """Their names as bookings show them: "Deep Tissue Massage, Aromatherapy" (page)."""
        return ", ".join(row["name"] for row in self.rows)

    @property
    def key(self) -> str:
        """The same text for the same services in any order."""
        return orjson.dumps(sorted(row["id"] for row in self.rows)).decode()

    def preview(self, *, covered: bool) -> list[JSON]:
        """Write them with who pays."""
        return [
            {"id": row["id"], "name": row["name"], "price": money(row["price"]), "covered": covered}
            for row in self.rows
        ]


def chosen(call: Call, provider: Row) -> Choice:
    """Read ``service_ids``.

    Raises:
        Refusal: 400, no list of texts, or an id that is no service of the spa.
    """
    ids = call.fields.texts("service_ids")
    return Choice(tuple(_service(call, provider, id) for id in ids))


def chosen_before(call: Call, key: str) -> Choice:
    """Read the services of a session or quote again."""
    ids: list[str] = orjson.loads(key)
    return Choice(tuple(call.store.all("SELECT * FROM services WHERE id = ?", id)[0] for id in ids))


def _service(call: Call, provider: Row, id: str) -> Row:
    row = call.store.one("SELECT * FROM services WHERE provider = ? AND id = ?", provider["seq"], id)
    if row is None:
        raise invalid("service_ids", f"no service of {provider['id']} has the id {id[:80]!r}")
    return row
