"""The initial data: Nigerian names, the same for the same seed; dates count from the day of the start.

Ids to build on, for every reseller:

* ``client_abc123`` holds ``brgpass_abc123`` (active, visits at STANDARD gyms and spas) and 25 credits.
* ``client_visits_used`` has no gym visit left on an active pass, ``client_expired`` an expired pass,
  ``client_cancelled`` a cancelled one, ``client_no_pass`` none and no credits.
* ``client_lookup`` has the longest list of bookings.

Shared by all: passes ``pass_abc123``; credit packages ``cpkg_10`` to ``cpkg_500``; gyms ``prov_gym_standard`` and
``prov_gym_premium`` (co-pay option ``copay_abc123``), spas ``prov_spa_standard`` (covered by the pass),
``prov_spa_premium`` (co-pay by quote) and ``prov_spa_credits`` (paid in credits), each with services ``svc_<provider's
words>_1`` to ``_4``; class instances ``ci_abc123`` (covered), ``ci_premium`` (co-pay), ``ci_credits`` (5 credits),
``ci_full`` (no spot left) and ``ci_last`` (one spot left), all of them about two weeks ahead.
"""

from __future__ import annotations

import datetime as dt
import functools
import random

from bardge_async.sandbox._formats import LAGOS
from bardge_async.sandbox._settings import SandboxSettings
from bardge_async.sandbox._store import Store
from bardge_async.sandbox.seed._calendar import seed_bookings, seed_classes
from bardge_async.sandbox.seed._people import derive_api_key, seed_clients, seed_resellers
from bardge_async.sandbox.seed._products import seed_credit_packages, seed_passes
from bardge_async.sandbox.seed._providers import seed_providers

__all__ = ["derive_api_key", "load_seed"]


def load_seed(store: Store, settings: SandboxSettings, now: dt.datetime) -> None:
    """Create and fill the tables, all or nothing; in memory the result is cached per process and day."""
    midnight = dt.datetime.combine(now.astimezone(LAGOS).date(), dt.time(), LAGOS)
    if settings.db is None:
        store.load_state(_serialize_seeding(settings.seed, settings.resellers, midnight))
    else:
        _write_seed(store, settings.seed, settings.resellers, midnight)


@functools.lru_cache(maxsize=4)
def _serialize_seeding(seed: int, resellers: int, midnight: dt.datetime) -> bytes:
    store = Store()
    try:
        _write_seed(store, seed, resellers, midnight)
        return store.dump_state()
    finally:
        store.close()


def _write_seed(store: Store, seed: int, resellers: int, midnight: dt.datetime) -> None:
    rng = random.Random(seed)  # noqa: S311 - seeded, to be reproducible
    with store.transaction():
        store.create_tables()
        seed_providers(store, rng, midnight)
        seed_passes(store, midnight)
        seed_credit_packages(store, midnight)
        seed_resellers(store, seed, resellers)
        seed_clients(store, rng, midnight)
        seed_classes(store, rng, midnight)
        seed_bookings(store, rng, midnight)
