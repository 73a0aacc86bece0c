"""The first data: Nigerian names, the same every time for a seed; dates count from the day of the start.

Ids to build on, for every reseller:

* ``client_abc123`` holds ``brgpass_abc123`` (active, visits at STANDARD gyms and spas) and 25 credits.
* ``client_visits_used`` has no gym visit left on an active pass, ``client_expired`` an expired pass,
  ``client_cancelled`` a cancelled one, ``client_no_pass`` none and no credits.
* ``client_lookup`` lets other resellers look it up.

And for all of them: passes ``pass_abc123``; credit packages ``cpkg_10`` to ``cpkg_500``; gyms ``prov_gym_standard`` and
``prov_gym_premium`` (co-pay option ``copay_abc123``), spas ``prov_spa_standard`` (covered by the pass),
``prov_spa_premium`` (co-pay by quote) and ``prov_spa_credits`` (paid in credits), each with services ``svc_<provider's
words>_1`` to ``_4``; class instances ``ci_abc123`` (covered), ``ci_premium`` (co-pay), ``ci_credits`` (5 credits),
``ci_full`` (no place left) and ``ci_last`` (one place left), all of them about two weeks ahead.
"""

from __future__ import annotations

import datetime as dt
import functools
import random

from bardge_async.sandbox._formats import LAGOS
from bardge_async.sandbox._settings import Settings
from bardge_async.sandbox._store import Store
from bardge_async.sandbox.seed._calendar import sow_bookings, sow_classes
from bardge_async.sandbox.seed._people import api_key, sow_clients, sow_resellers
from bardge_async.sandbox.seed._products import sow_credit_packages, sow_passes
from bardge_async.sandbox.seed._providers import sow_providers

__all__ = ["api_key", "sow"]


def sow(store: Store, settings: Settings, now: dt.datetime) -> None:
    """Make the tables and fill them, all or nothing; in memory the work is done once per process and day."""
    midnight = dt.datetime.combine(now.astimezone(LAGOS).date(), dt.time(), LAGOS)
    if settings.db is None:
        store.load(_grown(settings.seed, settings.resellers, midnight))
    else:
        _sow(store, settings.seed, settings.resellers, midnight)


@functools.lru_cache(maxsize=4)
def _grown(seed: int, resellers: int, midnight: dt.datetime) -> bytes:
    store = Store()
    try:
        _sow(store, seed, resellers, midnight)
        return store.dump()
    finally:
        store.close()


def _sow(store: Store, seed: int, resellers: int, midnight: dt.datetime) -> None:
    dice = random.Random(seed)  # noqa: S311 - the same every time is the point
    with store.transaction():
        store.create()
        sow_providers(store, dice, midnight)
        sow_passes(store, midnight)
        sow_credit_packages(store, midnight)
        sow_resellers(store, seed, resellers)
        sow_clients(store, dice, midnight)
        sow_classes(store, dice, midnight)
        sow_bookings(store, dice, midnight)
