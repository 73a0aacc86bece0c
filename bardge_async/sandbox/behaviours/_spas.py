"""Spa services: what was selected, and what the pass covers."""

from __future__ import annotations

import attrs
import orjson

from bardge_async.sandbox._errors import validation_error
from bardge_async.sandbox._formats import CURRENCY, format_money
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row


@attrs.frozen
class ServiceSelection:
    """The services of one visit, in the requested order."""

    rows: tuple[Row, ...]

    @property
    def total(self) -> int:
        """Total price: in credits if ``in_credits``, else in naira; a number of one is never taken as the other."""
        return sum(row["price"] for row in self.rows)

    @property
    def in_credits(self) -> bool:
        """Whether the services are priced in credits."""
        return bool(self.rows[0]["in_credits"])

    @property
    def currency(self) -> str:
        """What the prices count; "CREDITS" is the sandbox's word, no page shows one."""
        return "CREDITS" if self.in_credits else CURRENCY

    @property
    def name(self) -> str:
        """Their names as bookings show them: "Deep Tissue Massage, Aromatherapy" (page)."""
        return ", ".join(row["name"] for row in self.rows)

    @property
    def key(self) -> str:
        """The same string for the same services in any order."""
        return orjson.dumps(sorted(row["id"] for row in self.rows)).decode()

    def services_json(self, *, covered: bool) -> list[JSON]:
        """Return the services as JSON; ``covered``: the pass pays."""
        return [
            {"id": row["id"], "name": row["name"], "price": format_money(row["price"]), "covered": covered}
            for row in self.rows
        ]


def read_services(request: SandboxRequest, provider: Row) -> ServiceSelection:
    """Read ``service_ids``.

    Raises:
        ErrorAnswer: 400, not a list of strings, an id that is not a service of the spa, or prices of both kinds.
    """
    ids = request.fields.read_strs("service_ids")
    selection = ServiceSelection(tuple(_find_service(request, provider, id) for id in ids))
    if len({row["in_credits"] for row in selection.rows}) > 1:
        raise validation_error("service_ids", "services priced in credits and in naira need a booking each")
    return selection


def load_services(request: SandboxRequest, key: str) -> ServiceSelection:
    """Return the services of a session or quote."""
    ids: list[str] = orjson.loads(key)
    return ServiceSelection(tuple(request.store.fetch_all("SELECT * FROM services WHERE id = ?", id)[0] for id in ids))


def _find_service(request: SandboxRequest, provider: Row, id: str) -> Row:
    row = request.store.fetch_one("SELECT * FROM services WHERE provider = ? AND id = ?", provider["seq"], id)
    if row is None:
        raise validation_error("service_ids", f"no service of {provider['id']} has the id {id[:80]!r}")
    return row
