"""Forty providers in Lagos and Abuja: gyms with co-pay options, spas with services."""

from __future__ import annotations

import datetime as dt
import random
from typing import Final

import attrs

from bardge_async.sandbox._formats import DAY, SECOND
from bardge_async.sandbox._store import Store, Value
from bardge_async.sandbox.seed._names import CITIES, GYM_WORDS, SERVICES, SPA_WORDS, STREETS

_COUNT: Final = 40
_CREDIT_PRICES: Final = (600, 800, 450, 1_000)
_NAIRA_PRICES: Final = (2_500_000, 1_800_000, 1_550_050, 3_200_000)
_OPTIONS: Final = (
    (1, 350_000, "MONTHLY"),
    (5, 1_500_000, "MONTHLY"),
    (12, 3_200_000, "MONTHLY"),
    (60, 14_000_000, "ANNUALLY"),
)


@attrs.frozen
class _Known:
    id: str
    category: str
    tier: str
    copay: bool


_KNOWN: Final = (
    _Known("prov_gym_standard", "GYM", "STANDARD", copay=False),
    _Known("prov_gym_premium", "GYM", "PREMIUM", copay=True),
    _Known("prov_spa_standard", "SPA", "STANDARD", copay=False),
    _Known("prov_spa_premium", "SPA", "PREMIUM", copay=True),
    _Known("prov_spa_credits", "SPA", "PREMIUM", copay=False),
)


def sow_providers(store: Store, dice: random.Random, midnight: dt.datetime) -> None:
    """Make the providers, the known ones first, in turns in both cities."""
    opened = int(midnight.timestamp()) * SECOND - 500 * DAY
    for place in range(_COUNT):
        known = _KNOWN[place] if place < len(_KNOWN) else _any(place)
        seq = _sow_provider(store, dice, known, place, opened + place * DAY)
        if known.category == "SPA":
            _sow_services(store, seq, known)
        elif known.copay:
            _sow_options(store, seq, known)


def _any(place: int) -> _Known:
    category = "SPA" if place % 5 < 2 else "GYM"  # noqa: PLR2004 - two spas to three gyms
    premium = place % 3 == 0
    return _Known(f"prov_{place + 1:04d}", category, "PREMIUM" if premium else "STANDARD", copay=premium)


def _sow_provider(store: Store, dice: random.Random, known: _Known, place: int, opened: int) -> int:
    city, lat, lon, areas = CITIES[place % 2]
    word = (SPA_WORDS if known.category == "SPA" else GYM_WORDS)[place // 2 % 8]
    area = areas[place // 5 % 8]
    return store.insert(
        "providers",
        {
            "id": known.id,
            "name": f"{word} {'Spa' if known.category == 'SPA' else 'Gym'} {area}",
            "category": known.category,
            "tier": known.tier,
            "address": f"{dice.randrange(1, 200)} {dice.choice(STREETS)}, {area}",
            "city": city,
            "lat": round(lat + dice.uniform(-0.15, 0.15), 6),
            "lon": round(lon + dice.uniform(-0.15, 0.15), 6),
            "copay_available": known.copay,
            "created": opened,
        },
    )


def _sow_services(store: Store, provider: int, known: _Known) -> None:
    in_credits = known.tier == "PREMIUM" and not known.copay
    prices = _CREDIT_PRICES if in_credits else _NAIRA_PRICES
    for number, ((name, minutes), price) in enumerate(zip(SERVICES, prices, strict=True), start=1):
        id = f"{known.id.replace('prov', 'svc', 1)}_{number}"
        row: dict[str, Value] = {
            "id": id,
            "provider": provider,
            "name": name,
            "price": price,
            "duration_minutes": minutes,
        }
        store.insert("services", row)


def _sow_options(store: Store, provider: int, known: _Known) -> None:
    for number, (visits, price, duration) in enumerate(_OPTIONS, start=1):
        own = "copay_abc123" if known.id == "prov_gym_premium" and number == 1 else f"copay_{known.id[5:]}_{number}"
        row: dict[str, Value] = {"id": own, "provider": provider, "name": f"{visits} co-pay visits, {duration.lower()}"}
        store.insert(
            "copay_options", {**row, "price": price, "duration": duration, "visits": visits, "tier": known.tier}
        )
