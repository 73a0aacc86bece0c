"""Forty providers in Lagos and Abuja: gyms with co-pay options, spas with services."""

from __future__ import annotations

import datetime as dt
import random
from typing import Final

import attrs

from bardge_async.sandbox._formats import DAY, SECOND
from bardge_async.sandbox._store import Store, Value
from bardge_async.sandbox.seed._names import CITIES, GYM_WORDS, SERVICES, SPA_WORDS, STREETS

_PROVIDER_COUNT: Final = 40
_CREDIT_PRICES: Final = (600, 800, 450, 1_000)
_NAIRA_PRICES: Final = (2_500_000, 1_800_000, 1_550_050, 3_200_000)
_OPTIONS: Final = (
    (1, 350_000, "MONTHLY"),
    (5, 1_500_000, "MONTHLY"),
    (12, 3_200_000, "MONTHLY"),
    (60, 14_000_000, "ANNUALLY"),
)


@attrs.frozen
class _ProviderSpec:
    id: str
    category: str
    tier: str
    copay: bool


_KNOWN_PROVIDERS: Final = (
    _ProviderSpec("prov_gym_standard", "GYM", "STANDARD", copay=False),
    _ProviderSpec("prov_gym_premium", "GYM", "PREMIUM", copay=True),
    _ProviderSpec("prov_spa_standard", "SPA", "STANDARD", copay=False),
    _ProviderSpec("prov_spa_premium", "SPA", "PREMIUM", copay=True),
    _ProviderSpec("prov_spa_credits", "SPA", "PREMIUM", copay=False),
)


def seed_providers(store: Store, rng: random.Random, midnight: dt.datetime) -> None:
    """Create the providers, the known ones first, alternating between the two cities."""
    opened = int(midnight.timestamp()) * SECOND - 500 * DAY
    for index in range(_PROVIDER_COUNT):
        spec = _KNOWN_PROVIDERS[index] if index < len(_KNOWN_PROVIDERS) else _make_spec(index)
        seq = _seed_provider(store, rng, spec, index, opened + index * DAY)
        if spec.category == "SPA":
            _seed_services(store, seq, spec)
        elif spec.copay:
            _seed_options(store, seq, spec)


def _make_spec(index: int) -> _ProviderSpec:
    category = "SPA" if index % 5 < 2 else "GYM"  # noqa: PLR2004 - two spas to three gyms
    premium = index % 3 == 0
    return _ProviderSpec(f"prov_{index + 1:04d}", category, "PREMIUM" if premium else "STANDARD", copay=premium)


def _seed_provider(store: Store, rng: random.Random, spec: _ProviderSpec, index: int, opened: int) -> int:
    city, lat, lon, areas = CITIES[index % 2]
    word = (SPA_WORDS if spec.category == "SPA" else GYM_WORDS)[index // 2 % 8]
    area = areas[index // 5 % 8]
    return store.insert_row(
        "providers",
        {
            "id": spec.id,
            "name": f"{word} {'Spa' if spec.category == 'SPA' else 'Gym'} {area}",
            "category": spec.category,
            "tier": spec.tier,
            "address": f"{rng.randrange(1, 200)} {rng.choice(STREETS)}, {area}",
            "city": city,
            "lat": round(lat + rng.uniform(-0.15, 0.15), 6),
            "lon": round(lon + rng.uniform(-0.15, 0.15), 6),
            "copay_available": spec.copay,
            "created": opened,
        },
    )


def _seed_services(store: Store, provider: int, spec: _ProviderSpec) -> None:
    in_credits = spec.tier == "PREMIUM" and not spec.copay
    prices = _CREDIT_PRICES if in_credits else _NAIRA_PRICES
    for number, ((name, minutes), price) in enumerate(zip(SERVICES, prices, strict=True), start=1):
        id = f"{spec.id.replace('prov', 'svc', 1)}_{number}"
        row: dict[str, Value] = {
            "id": id,
            "provider": provider,
            "name": name,
            "price": price,
            "in_credits": in_credits,
            "duration_minutes": minutes,
        }
        store.insert_row("services", row)


def _seed_options(store: Store, provider: int, spec: _ProviderSpec) -> None:
    for number, (visits, price, duration) in enumerate(_OPTIONS, start=1):
        own = "copay_abc123" if spec.id == "prov_gym_premium" and number == 1 else f"copay_{spec.id[5:]}_{number}"
        row: dict[str, Value] = {"id": own, "provider": provider, "name": f"{visits} co-pay visits, {duration.lower()}"}
        store.insert_row(
            "copay_options", {**row, "price": price, "duration": duration, "visits": visits, "tier": spec.tier}
        )
