"""Pass packages in three families, and credit packages."""

from __future__ import annotations

import datetime as dt
from typing import Final

import attrs
import orjson

from bardge_async.sandbox._formats import SECOND
from bardge_async.sandbox._store import Store, Value

_BOTH: Final = ("STANDARD", "PREMIUM")
_STANDARD: Final = ("STANDARD",)


@attrs.frozen
class _Family:
    slug: str
    name: str
    tiers: dict[str, tuple[str, ...]]
    price_per_visit: int


_FAMILIES: Final = (
    _Family("eko_active", "Eko Active", {"GYM": _BOTH}, 250_000),
    _Family("oasis", "Oasis", {"SPA": _BOTH}, 900_000),
    _Family("ilera_total", "Ilera Total", {"GYM": _STANDARD, "SPA": _STANDARD}, 500_000),
)
_SIZES: Final = {"monthly": (4, 8, 12, None), "annually": (48, 96, 120, None)}
_UNLIMITED_COSTS: Final = 20
"""A month of unlimited visits is priced as this many visits."""
_PACKAGES: Final = (10, 20, 25, 50, 75, 100, 150, 200, 250, 300, 400, 500)


def seed_passes(store: Store, midnight: dt.datetime) -> None:
    """Create the pass packages; the newest is ``pass_abc123``."""
    created = int((midnight - dt.timedelta(days=400)).timestamp()) * SECOND
    for family in _FAMILIES:
        for duration, sizes in _SIZES.items():
            for visits in sizes:
                created += 86_400 * SECOND
                _seed_pass(store, family, duration, visits, created)
    _seed_pass(store, _FAMILIES[-1], "annually", 240, created + SECOND)
    store.execute("UPDATE passes SET id = 'pass_abc123' WHERE id = 'pass_ilera_total_240_annually'")


def _seed_pass(store: Store, family: _Family, duration: str, visits: int | None, created: int) -> None:
    size = "unlimited visits" if visits is None else f"{visits} visits"
    months = 1 if duration == "monthly" else 10
    seq = store.insert_row(
        "passes",
        {
            "id": f"pass_{family.slug}_{visits or 'unlimited'}_{duration}",
            "name": f"{family.name} {duration.title()}, {size}",
            "description": f"{' and '.join(family.tiers)} access with {size}, {duration}.",
            "price": (visits or _UNLIMITED_COSTS * months) * family.price_per_visit,
            "duration": duration,
            "provider_count": sum(_count_providers(store, kind, tiers) for kind, tiers in family.tiers.items()),
            "created": created,
        },
    )
    for kind, tiers in family.tiers.items():
        row: dict[str, Value] = {
            "pass": seq,
            "type": kind,
            "tiers": orjson.dumps(tiers).decode(),
            "credit_allocated": 2_000,
        }
        store.insert_row("pass_categories", {**row, "visits_allowed": visits})


def _count_providers(store: Store, kind: str, tiers: tuple[str, ...]) -> int:
    sql = "SELECT count(*) AS n FROM providers WHERE category = ? AND tier IN (?, ?)"
    row = store.fetch_one(sql, kind, tiers[0], tiers[-1])
    return int(row["n"]) if row else 0


def seed_credit_packages(store: Store, midnight: dt.datetime) -> None:
    """Create the credit packages, ``cpkg_50`` among them; some prices include a fraction of a naira."""
    created = int((midnight - dt.timedelta(days=300)).timestamp()) * SECOND
    for index, size in enumerate(_PACKAGES):
        row: dict[str, Value] = {
            "id": f"cpkg_{size}",
            "name": f"{size} Credits Pack",
            "credits": size * 100,
            "amount": size * 95_000 + size % 2 * 50,
        }
        store.insert_row("credit_packages", {**row, "created": created + index * 86_400 * SECOND})
