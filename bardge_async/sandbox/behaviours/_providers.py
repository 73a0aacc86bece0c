"""Providers: newest first, or nearest first if a position is given (guide: Providers)."""

from __future__ import annotations

import math
from typing import Final

from bardge_async.sandbox._errors import not_found_error, pass_not_found_error, validation_error
from bardge_async.sandbox._pages import Listing, read_page_query, render_page, slice_page, wrap_items
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row, Value

_ALL: Final = Listing("providers")
_OF_PASS: Final = Listing(
    "providers",
    "EXISTS (SELECT 1 FROM pass_categories c, json_each(c.tiers) t "
    "WHERE c.pass = ? AND c.type = providers.category AND t.value = providers.tier)",
)
_NOUN: Final = "Providers"
_EARTH_KM: Final = 6371.0088
_MAX_DEGREES: Final = {"lat": 90.0, "lon": 180.0}


def list_providers(request: SandboxRequest) -> JSON:
    """Answer ``providers.list``."""
    return _list_matching(request, _ALL)


def list_providers_for_pass(request: SandboxRequest) -> JSON:
    """Answer ``providers.list_for_pass``."""
    id = request.path["pass_id"]
    package = request.store.fetch_one("SELECT seq FROM passes WHERE id = ?", id)
    if package is None:
        raise pass_not_found_error(f"No pass exists with id {id}.")
    return _list_matching(request, _OF_PASS, package["seq"])


def find_provider(request: SandboxRequest, id: str, category: str | None = None) -> Row:
    """Return a provider; ``category`` restricts the search.

    Raises:
        ErrorAnswer: 404, there is none.
    """
    row = request.store.fetch_one(
        "SELECT * FROM providers WHERE id = ? AND category = coalesce(?, category)", id, category
    )
    if row is None:
        raise not_found_error({"GYM": "gym", "SPA": "spa"}.get(category or "", "provider"), id)
    return row


def _list_matching(request: SandboxRequest, listing: Listing, *scope_values: Value) -> JSON:
    position = _read_position(request)
    if position is None:
        return render_page(request, listing, lambda row: _provider_json(row, None), *scope_values, noun=_NOUN)
    query = read_page_query(request)
    rows = request.store.fetch_all(f"SELECT * FROM providers WHERE {listing.scope}", *scope_values)  # noqa: S608 - a constant
    near = sorted(((_distance_km(position, row), row) for row in rows), key=lambda pair: (pair[0], pair[1]["seq"]))
    shown, more = slice_page(query, near, lambda pair: str(pair[1]["id"]))
    return wrap_items(request, [_provider_json(row, distance) for distance, row in shown], more=more, noun=_NOUN)


def _read_position(request: SandboxRequest) -> tuple[float, float] | None:
    if not request.query.keys() & _MAX_DEGREES.keys():
        return None
    # One without the other is rejected as missing.
    return _read_degrees(request, "lat"), _read_degrees(request, "lon")


def _read_degrees(request: SandboxRequest, name: str) -> float:
    limit = _MAX_DEGREES[name]
    text = request.query.get(name, "")
    try:
        value = float(text)
    except ValueError:
        # NaN fails the comparison below, as do NaN and infinity in the query.
        value = math.nan
    if not abs(value) <= limit:
        raise validation_error(name, f"expected degrees from -{limit:g} to {limit:g}, got {text[:40]!r}")
    return value


def _distance_km(position: tuple[float, float], row: Row) -> float:
    # Haversine. The API does not state the unit; kilometres are the sandbox's choice.
    lat, lon, here, there = map(math.radians, (*position, row["lat"], row["lon"]))
    chord = math.sin((here - lat) / 2) ** 2 + math.cos(lat) * math.cos(here) * math.sin((there - lon) / 2) ** 2
    return round(2 * _EARTH_KM * math.asin(math.sqrt(chord)), 3)


def _provider_json(row: Row, distance: float | None) -> JSON:
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
