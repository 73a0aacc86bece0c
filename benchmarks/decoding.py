"""Decode a page into objects, without a network: our decoder, stock cattrs into equivalent classes, and plain dicts.

Every decoder returns the number of items and the last id. To add a decoder, write a function and add a line to
:data:`DECODERS`.
"""

from __future__ import annotations

import datetime as dt
import enum
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

Decode = Callable[[bytes], tuple[int, str]]

BASE: Final = "stock cattrs"


def _ours() -> Decode:
    from bardge_async import Booking, Page  # noqa: PLC0415 - in this decoder's process only
    from bardge_async._core.converter import parse_json, structure_value  # noqa: PLC0415

    def decode(body: bytes) -> tuple[int, str]:
        page = structure_value(parse_json(body), body, Page[Booking])
        return len(page.items), str(page.items[-1].id)

    return decode


class _State(enum.StrEnum):
    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    COMPLETED = "COMPLETED"


class _Type(enum.StrEnum):
    SPA = "spa"
    CLASS = "class"


def _stock() -> Decode:
    """Decode as a cattrs user would: no detailed validation, unknown fields dropped, values coerced by default."""
    import attrs  # noqa: PLC0415
    import cattrs  # noqa: PLC0415
    import orjson  # noqa: PLC0415

    optional = ["object", "id", "service_name", "class_name", "provider_name", "time", "message", "client_id"]
    fields: dict[str, Any] = {
        **dict.fromkeys(optional, str | None),
        "status": _State | None,
        "type": _Type | None,
        "date": dt.date | None,
        "scheduled_for": dt.datetime | None,
        "created": dt.datetime | None,
        "visits_deducted": int | None,
    }
    made = {name: attrs.field(default=None, type=kind) for name, kind in fields.items()}
    booking: Any = attrs.make_class("Booking", made, frozen=True, slots=True, kw_only=True)
    page = attrs.make_class(
        "Page", {"data": attrs.field(type=list[booking]), "has_more": attrs.field(type=bool)}, frozen=True, slots=True
    )
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook(dt.datetime, lambda value, _: dt.datetime.fromtimestamp(value, dt.UTC))
    converter.register_structure_hook(dt.date, lambda value, _: dt.date.fromisoformat(value))

    def decode(body: bytes) -> tuple[int, str]:
        found: Any = converter.structure(orjson.loads(body), page)
        return len(found.data), str(found.data[-1].id)

    return decode


def _dicts(loads: Callable[[bytes], Any]) -> Decode:
    def decode(body: bytes) -> tuple[int, str]:
        items = loads(body)["data"]
        return len(items), str(items[-1]["id"])

    return decode


def _orjson() -> Decode:
    import orjson  # noqa: PLC0415

    return _dicts(orjson.loads)


DECODERS: Final[Mapping[str, Callable[[], Decode]]] = {
    "bardge-async": _ours,
    BASE: _stock,
    "orjson dicts": _orjson,
    "json dicts": lambda: _dicts(json.loads),
}
