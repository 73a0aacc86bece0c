"""Providers: newest first, or nearest first where a place is given (guide: Providers)."""

from __future__ import annotations

import math
from typing import Final

from bardge_async.sandbox._errors import invalid, not_found, pass_not_found
from bardge_async.sandbox._pages import Listing, envelope, page, slice_of, window_of
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row, Value

_ALL: Final = Listing("providers")
_OF_PASS: Final = Listing(
    "providers",
    "EXISTS (SELECT 1 FROM pass_categories c, json_each(c.tiers) t "
    "WHERE c.pass = ? AND c.type = providers.category AND t.value = providers.tier)",
)
_NOUN: Final = "Providers"
_EARTH_KM: Final = 6371.0088
_BOUNDS: Final = {"lat": 90.0, "lon": 180.0}


def list_providers(call: Call) -> JSON:
    """Answer ``providers.list``."""
    return _listed(call, _ALL)


def list_providers_for_pass(call: Call) -> JSON:
    """Answer ``providers.list_for_pass``."""
    id = call.path["pass_id"]
    package = call.store.one("SELECT seq FROM passes WHERE id = ?", id)
    if package is None:
        raise pass_not_found(f"No pass exists with id {id}.")
    return _listed(call, _OF_PASS, package["seq"])


def provider_named(call: Call, id: str, category: str | None = None) -> Row:
    """Find a provider, of a category where one is given.

    Raises:
        Refusal: 404, there is none.
    """
    row = call.store.one("SELECT * FROM providers WHERE id = ? AND category = coalesce(?, category)", id, category)
    if row is None:
        raise not_found({"GYM": "gym", "SPA": "spa"}.get(category or "", "provider"), id)
    return row


def _listed(call: Call, listing: Listing, *bounds: Value) -> JSON:
    place = _place(call)
    if place is None:
        return page(call, listing, lambda row: _provider(row, None), *bounds, noun=_NOUN)
    window = window_of(call)
    rows = call.store.all(f"SELECT * FROM providers WHERE {listing.scope}", *bounds)  # noqa: S608 - a constant
    near = sorted(((_distance(place, row), row) for row in rows), key=lambda pair: (pair[0], pair[1]["seq"]))
    shown, more = slice_of(window, near, lambda pair: str(pair[1]["id"]))
    return envelope(call, [_provider(row, distance) for distance, row in shown], more=more, noun=_NOUN)


def _place(call: Call) -> tuple[float, float] | None:
    if not call.query.keys() & _BOUNDS.keys():
        return None
    return _degrees(call, "lat"), _degrees(call, "lon")


def _degrees(call: Call, name: str) -> float:
    bound = _BOUNDS[name]
    text = call.query.get(name, "")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= bound:
        raise invalid(name, f"expected degrees from -{bound:g} to {bound:g}, got {text[:40]!r}")
    return value


def _distance(place: tuple[float, float], row: Row) -> float:
    # Haversine; the API does not say its unit, kilometres are the sandbox's choice.
    lat, lon, here, there = map(math.radians, (*place, row["lat"], row["lon"]))
    chord = math.sin((here - lat) / 2) ** 2 + math.cos(lat) * math.cos(here) * math.sin((there - lon) / 2) ** 2
    return round(2 * _EARTH_KM * math.asin(math.sqrt(chord)), 3)


def _provider(row: Row, distance: float | None) -> JSON:
    shown = {
        "object": "provider",
        "id": row["id"],
        "name": row["name"],
        "category": row["category"],
        "tier": row["tier"],
        "address": row["address"],
        "city": row["city"],
        "lat": row["lat"],
        "lon": row["lon"],
        "copay_available": bool(row["copay_available"]),
        "created": row["created"],
    }
    return shown if distance is None else {**shown, "distance": distance}
