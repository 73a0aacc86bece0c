"""Classes for the next four weeks, and past bookings."""

from __future__ import annotations

import datetime as dt
import random
from typing import Final

from bardge_async.sandbox._formats import SECOND
from bardge_async.sandbox._store import Row, Store, Value
from bardge_async.sandbox.seed._names import CATEGORIES, CLASSES, FIRST_NAMES, LAST_NAMES

_WEEKS: Final = 4
_PER_GYM: Final = 4
_BOOKING_COUNTS: Final = {"client_abc123": 1_200, "client_lookup": 1_500}
_USUAL_BOOKINGS: Final = 4
_TIMES: Final = ("06:30", "07:00", "12:15", "18:00")
_CLASS_COLUMNS: Final = ["seq", "id", "name", "description", "category", "provider", "credit_price", "created"]
_INSTANCE_COLUMNS: Final = ["id", "class", "date", "time", "scheduled_for", "capacity", "taken", "instructor"]
_BOOKING_COLUMNS: Final = [
    "client",
    "reseller",
    "id",
    "type",
    "status",
    "name",
    "provider",
    "date",
    "time",
    "scheduled_for",
    "visits_deducted",
    "credits_spent",
    "created",
]


def seed_classes(store: Store, rng: random.Random, midnight: dt.datetime) -> None:
    """Create the categories, four classes per gym, and three dates a week per class."""
    store.insert_rows(
        "class_categories", ("id", "name"), [(f"ccat_{n}", name) for n, name in enumerate(CATEGORIES, start=1)]
    )
    gyms = store.fetch_all("SELECT * FROM providers WHERE category = 'GYM' ORDER BY seq DESC")
    classes: list[tuple[Value, ...]] = []
    instances: list[tuple[Value, ...]] = []
    for gym in gyms:
        for _ in range(_PER_GYM):
            classes.append(_class_row(gym, len(classes) + 1, midnight))
            instances.extend(_instance_row(rng, len(classes), midnight, n) for n in range(_WEEKS * 3))
    store.insert_rows("classes", _CLASS_COLUMNS, classes)
    store.insert_rows("class_instances", _INSTANCE_COLUMNS, instances)
    _set_known_instances(store)


def _class_row(gym: Row, seq: int, midnight: dt.datetime) -> tuple[Value, ...]:
    name, category = CLASSES[seq % len(CLASSES)]
    created = int(midnight.timestamp()) * SECOND - (1_000 - seq) * 3_600 * SECOND
    text = f"{name} at {gym['name']} for every level."
    return (seq, f"class_{seq:04d}", name, text, category, gym["seq"], None, created)


def _instance_row(rng: random.Random, class_seq: int, midnight: dt.datetime, number: int) -> tuple[Value, ...]:
    day = (midnight + dt.timedelta(days=1 + number * 7 // 3)).date()
    time = _TIMES[(class_seq + number) % len(_TIMES)]
    start = dt.datetime.combine(day, dt.time.fromisoformat(time), midnight.tzinfo)
    capacity = rng.randrange(10, 30)
    who = f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"
    when = int(start.timestamp()) * SECOND
    return (
        f"ci_{rng.getrandbits(64):016x}",
        class_seq,
        day.isoformat(),
        time,
        when,
        capacity,
        rng.randrange(capacity),
        who,
    )


def _set_known_instances(store: Store) -> None:
    standard, premium = (_classes_of(store, id) for id in ("prov_gym_standard", "prov_gym_premium"))
    store.execute("UPDATE classes SET credit_price = 500 WHERE seq = ?", standard[1])
    known = {
        "ci_abc123": (standard[0], 1_000, 0),
        "ci_premium": (premium[0], 1_000, 0),
        "ci_credits": (standard[1], 1_000, 0),
        "ci_full": (standard[2], 10, 10),
        "ci_last": (standard[3], 10, 9),
    }
    for id, (owner, capacity, taken) in known.items():
        # The seventh of three dates a week: about two weeks ahead.
        sql = (
            "UPDATE class_instances SET id = ?, capacity = ?, taken = ? WHERE seq = "
            "(SELECT seq FROM class_instances WHERE class = ? ORDER BY scheduled_for LIMIT 1 OFFSET 6)"
        )
        store.execute(sql, id, capacity, taken, owner)


def _classes_of(store: Store, provider: str) -> list[int]:
    sql = "SELECT c.seq FROM classes c JOIN providers p ON p.seq = c.provider WHERE p.id = ? ORDER BY c.seq"
    return [row["seq"] for row in store.fetch_all(sql, provider)]


def seed_bookings(store: Store, rng: random.Random, midnight: dt.datetime) -> None:
    """Create past bookings: long lists for two clients of the first reseller, a few for the others."""
    providers = store.fetch_all("SELECT * FROM providers ORDER BY seq")
    rows: list[tuple[Value, ...]] = []
    for client in store.fetch_all("SELECT * FROM clients ORDER BY seq"):
        count = _BOOKING_COUNTS.get(client["id"], _USUAL_BOOKINGS) if client["reseller"] == 1 else _USUAL_BOOKINGS
        rows.extend(_booking_row(rng, client, rng.choice(providers), midnight, count - n) for n in range(count))
    store.insert_rows("bookings", _BOOKING_COLUMNS, rows)


def _booking_row(
    rng: random.Random, client: Row, provider: Row, midnight: dt.datetime, half_days_ago: int
) -> tuple[Value, ...]:
    spa = provider["category"] == "SPA"
    name = "Deep Tissue Massage, Aromatherapy" if spa else rng.choice(CLASSES)[0]
    start = midnight - dt.timedelta(hours=12 * half_days_ago - 7)
    when = int(start.timestamp()) * SECOND
    status = "CANCELLED" if rng.random() < 0.1 else "COMPLETED"  # noqa: PLR2004
    id, kind = f"booking_{rng.getrandbits(64):016x}", "spa" if spa else "class"
    day, time = start.date().isoformat(), start.strftime("%H:%M")
    created = when - 3 * 86_400 * SECOND
    visits = 0 if spa else 1
    return (
        client["seq"],
        client["reseller"],
        id,
        kind,
        status,
        name,
        provider["seq"],
        day,
        time,
        when,
        visits,
        0,
        created,
    )
