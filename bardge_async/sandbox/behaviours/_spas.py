"""Services of a spa: what was chosen, and what the pass pays for."""

from __future__ import annotations

import attrs
import orjson

from bardge_async.sandbox._errors import validation_error
from bardge_async.sandbox._formats import format_money
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row


@attrs.frozen
class ServiceSelection:
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

    def services_json(self, *, covered: bool) -> list[JSON]:
        """Write them with who pays."""
        return [
            {"id": row["id"], "name": row["name"], "price": format_money(row["price"]), "covered": covered}
            for row in self.rows
        ]


def read_services(request: SandboxRequest, provider: Row) -> ServiceSelection:
    """Read ``service_ids``.

    Raises:
        ErrorAnswer: 400, no list of texts, or an id that is no service of the spa.
    """
    ids = request.fields.read_strs("service_ids")
    return ServiceSelection(tuple(_find_service(request, provider, id) for id in ids))


def load_services(request: SandboxRequest, key: str) -> ServiceSelection:
    """Read the services of a session or quote again."""
    ids: list[str] = orjson.loads(key)
    return ServiceSelection(tuple(request.store.fetch_all("SELECT * FROM services WHERE id = ?", id)[0] for id in ids))


def _find_service(request: SandboxRequest, provider: Row, id: str) -> Row:
    row = request.store.fetch_one("SELECT * FROM services WHERE provider = ? AND id = ?", provider["seq"], id)
    if row is None:
        raise validation_error("service_ids", f"no service of {provider['id']} has the id {id[:80]!r}")
    return row
