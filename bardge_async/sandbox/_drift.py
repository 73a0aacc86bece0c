"""Plant differences between the table and the server's answers, as an API has that changed or was guessed wrong.

Only GET rows drift. Each drifts in one place at most, and no row drifts whose ids another one needs, so that every
difference can be found.
"""

from __future__ import annotations

import enum
import random
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import attrs
import orjson

from bardge_async.endpoints import ENDPOINTS, Endpoint
from bardge_async.models import Page, Resource

JSON: TypeAlias = dict[str, Any]
AnyEndpoint: TypeAlias = Endpoint[Any, Any]

_MAX_DRIFTS: Final = 4
# Classes are listed without their dates here.
_NOT_SHOWN: Final = ("classes.list", "data[].instances")
_SOURCES: Final = {
    "providers.list_for_pass": "passes.list",
    "classes.get": "classes.list",
    "copay.list_gym_options": "providers.list",
    "bookings.get_status": "bookings.list_for_client",
}
_NEW_FIELDS: Final = ("loyalty_points", "branch_code", "valid_until", "is_featured")


class DriftKind(enum.StrEnum):
    """How an answer differs from what the table and the models say."""

    PATH = "path"
    """The endpoint answers under another path; the old one is unknown."""
    TYPE = "type"
    """A field has another JSON type."""
    MISSING = "missing"
    """A field is never sent."""
    NEW = "new"
    """A field is sent that the models do not have."""


@attrs.frozen
class Drift:
    """One planted difference; ``field`` leads to it (``data[].price``), and is the new path of a renamed endpoint."""

    endpoint: str
    kind: DriftKind
    field: str


def plan_drifts(seed: int) -> tuple[Drift, ...]:
    """Draw one to four differences, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - seeded, to be reproducible
    rows = [endpoint for endpoint in ENDPOINTS.values() if endpoint.method == "GET"]
    rng.shuffle(rows)
    chosen: list[AnyEndpoint] = []
    for endpoint in rows:
        names = {other.name for other in chosen}
        dependents = {name for name, source in _SOURCES.items() if source == endpoint.name}
        if _SOURCES.get(endpoint.name) not in names and not dependents & names:
            chosen.append(endpoint)
    return tuple(_draw_drift(rng, endpoint) for endpoint in chosen[: rng.randint(1, _MAX_DRIFTS)])


def _draw_drift(rng: random.Random, endpoint: AnyEndpoint) -> Drift:
    kind = rng.choice(list(DriftKind))
    if kind is DriftKind.PATH:
        return Drift(endpoint.name, kind, f"/renamed{endpoint.path}")
    name, hidden = _NOT_SHOWN
    fields = [path for path in _list_fields(endpoint) if endpoint.name != name or not path.startswith(hidden)]
    field = rng.choice(fields)
    if kind is DriftKind.NEW:
        field = f"{field.rpartition('.')[0]}.{rng.choice(_NEW_FIELDS)}".lstrip(".")
    return Drift(endpoint.name, kind, field)


def _list_fields(endpoint: AnyEndpoint) -> list[str]:
    """List the fields of an endpoint's answers, without the ids and the list itself, on which further requests rest."""
    if endpoint.item is None:
        return list(_list_members(endpoint.response, ""))
    page = [name for name in _list_members(Page, "") if name != "request_id"]
    items = (path for path in _list_members(endpoint.item, "data[].") if path != f"data[].{endpoint.cursor}")
    return [name for name in page if not name.startswith("items")] + list(items)


def _list_members(cls: type[Any], prefix: str) -> Iterator[str]:
    hints = typing.get_type_hints(cls)
    for attribute in attrs.fields(cls):
        name: str = attribute.name
        if name in {"extra", "id"}:
            continue
        yield prefix + name
        nested, is_list = _find_nested(hints[name])
        if nested is not None:
            yield from _list_members(nested, f"{prefix}{name}{'[]' if is_list else ''}.")


def _find_nested(hint: Any) -> tuple[type[Any] | None, bool]:  # noqa: ANN401 - any annotation
    members = typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, types.UnionType} else (hint,)
    for member in members:
        is_list = typing.get_origin(member) is tuple
        cls = typing.get_args(member)[0] if is_list else member
        if isinstance(cls, type) and issubclass(cls, Resource):
            return cls, is_list
    return None, False


class DriftPlan:
    """The differences of a sandbox, applied to what it sends."""

    def __init__(self, drifts: Sequence[Drift] = ()) -> None:
        self.drifts = tuple(drifts)
        self._fields = {drift.endpoint: drift for drift in drifts if drift.kind is not DriftKind.PATH}
        self._paths = {drift.endpoint: drift.field for drift in drifts if drift.kind is DriftKind.PATH}

    def find_path(self, endpoint: AnyEndpoint) -> str:
        """Return the path under which an endpoint answers."""
        return self._paths.get(endpoint.name, endpoint.path)

    def change_answer(self, endpoint: AnyEndpoint, body: bytes) -> bytes:
        """Return the body of a successful answer with the endpoint's difference, if it has one."""
        drift = self._fields.get(endpoint.name)
        if drift is None:
            return body
        answer: JSON = orjson.loads(body)
        *parents, name = drift.field.split(".")
        for parent in _find_objects(answer, parents):
            _change_field(parent, name, drift.kind)
        return orjson.dumps(answer)


def _find_objects(value: object, steps: Sequence[str]) -> Iterator[JSON]:
    if isinstance(value, list):
        for item in cast("list[object]", value):
            yield from _find_objects(item, steps)
    elif isinstance(value, dict):
        members = cast("JSON", value)
        if steps:
            yield from _find_objects(members.get(steps[0].removesuffix("[]")), steps[1:])
        else:
            yield members


def _change_field(parent: JSON, name: str, kind: DriftKind) -> None:
    if kind is DriftKind.NEW:
        parent[name] = "new"
    elif kind is DriftKind.MISSING:
        parent.pop(name, None)
    elif parent.get(name) is not None:
        parent[name] = _change_type(parent[name])


def _change_type(value: object) -> object:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return {"count": len(cast("list[object]", value))}
    return "other" if isinstance(value, Mapping) else str(value)
