"""Resellers, their clients, and the clients' passes and credits."""

from __future__ import annotations

import datetime as dt
import hashlib
import random
from collections.abc import Iterator
from typing import Final

import attrs

from bardge_async.sandbox._formats import DAY, SECOND, end_of_day
from bardge_async.sandbox._store import Row, Store, Value
from bardge_async.sandbox.seed._names import FIRST_NAMES, ISSUERS, LAST_NAMES, RESELLERS

_KNOWN_CLIENTS: Final = (
    "client_abc123",
    "client_visits_used",
    "client_expired",
    "client_cancelled",
    "client_no_pass",
    "client_lookup",
)
_FIRST_RESELLER_CLIENTS: Final = 200
_OTHER_RESELLER_CLIENTS: Final = 12
_OPENING_CREDITS: Final = 5_000
_SPENT_CREDITS: Final = 2_500
_CLIENT_COLUMNS: Final = [
    "seq",
    "reseller",
    "id",
    "first_name",
    "last_name",
    "email",
    "phone_number",
    "credits",
    "created",
]
_ISSUED_COLUMNS: Final = [
    "seq",
    "client",
    "pass",
    "id",
    "passcode",
    "cancelled",
    "transaction_id",
    "tx_ref",
    "start_date",
    "expires_at",
    "created",
]
_CATEGORY_COLUMNS: Final = ("issued", "type", "visits_allowed", "visits_used")
_ENTRY_COLUMNS: Final = ["id", "book", "reseller", "client", "type", "amount", "description", "timestamp"]


def derive_api_key(seed: int, slug: str) -> str:
    """Derive a reseller's API key, the same for the same seed."""
    return f"bardge_sandbox_{hashlib.sha256(f'{seed}:{slug}'.encode()).hexdigest()[:32]}"


def seed_resellers(store: Store, seed: int, count: int) -> None:
    """Create the accounts: those with a key, the disabled one, and issuers that only appear in the list."""
    extra = ((f"reseller_{n:02d}", f"Reseller {n}") for n in range(len(RESELLERS) + 1, count + 1))
    enabled = (*RESELLERS[:count], *extra)
    for slug, name in (*enabled, ("disabled", "Dormant Savings")):
        _insert_reseller(store, slug, name, derive_api_key(seed, slug), enabled=slug != "disabled")
    for name in ISSUERS:
        _insert_reseller(store, name.lower().replace(" ", "_"), name, None, enabled=True)


def _insert_reseller(store: Store, slug: str, name: str, key: str | None, *, enabled: bool) -> None:
    store.insert_row("resellers", {"id": f"iss_{slug}", "slug": slug, "name": name, "api_key": key, "enabled": enabled})


@attrs.define
class _SeedRows:
    """The rows of all clients, written in one batch."""

    midnight: dt.datetime
    rng: random.Random
    clients: list[tuple[Value, ...]] = attrs.field(factory=list[tuple[Value, ...]])
    issued: list[tuple[Value, ...]] = attrs.field(factory=list[tuple[Value, ...]])
    categories: list[tuple[Value, ...]] = attrs.field(factory=list[tuple[Value, ...]])
    entries: list[tuple[Value, ...]] = attrs.field(factory=list[tuple[Value, ...]])

    def days_ago(self, days: int) -> int:
        return int((self.midnight - dt.timedelta(days=days)).timestamp()) * SECOND


def seed_clients(store: Store, rng: random.Random, midnight: dt.datetime) -> None:
    """Create the clients: 200 for the first reseller, 12 for each of the others."""
    rows = _SeedRows(midnight, rng)
    passes = store.fetch_all("SELECT * FROM passes ORDER BY seq DESC")
    types = {row["seq"]: _category_rows(store, row) for row in passes}
    for reseller in store.fetch_all("SELECT * FROM resellers ORDER BY seq"):
        for id in _client_ids(_FIRST_RESELLER_CLIENTS if reseller["seq"] == 1 else _OTHER_RESELLER_CLIENTS):
            _seed_client(rows, reseller["seq"], id)
            if id != "client_no_pass":
                package = passes[0] if id in _KNOWN_CLIENTS else rng.choice(passes)
                _seed_pass(rows, id, package, types[package["seq"]])
    store.insert_rows("clients", _CLIENT_COLUMNS, rows.clients)
    store.insert_rows("issued_passes", _ISSUED_COLUMNS, rows.issued)
    store.insert_rows("issued_categories", _CATEGORY_COLUMNS, rows.categories)
    store.insert_rows("entries", _ENTRY_COLUMNS, rows.entries)


def _client_ids(count: int) -> Iterator[str]:
    yield from _KNOWN_CLIENTS
    for n in range(len(_KNOWN_CLIENTS) + 1, count + 1):
        yield f"client_{n:04d}"


def _category_rows(store: Store, package: Row) -> list[Row]:
    return store.fetch_all("SELECT type, visits_allowed FROM pass_categories WHERE pass = ?", package["seq"])


def _seed_client(rows: _SeedRows, reseller: int, id: str) -> None:
    seq = len(rows.clients) + 1
    first, last = rows.rng.choice(FIRST_NAMES), rows.rng.choice(LAST_NAMES)
    email = f"{first}.{last}.{seq}@example.com".lower()
    phone = f"+23480{rows.rng.randrange(10**8):08d}"
    no_credits = id == "client_no_pass"
    created = rows.days_ago(200) - rows.rng.randrange(100) * DAY
    credits = 0 if no_credits else _OPENING_CREDITS - _SPENT_CREDITS
    rows.clients.append((seq, reseller, id, first, last, email, phone, credits, created))
    if not no_credits:
        for kind, amount, text in (
            ("CREDIT", _OPENING_CREDITS, "Credits purchase — 50 Credits Pack"),
            ("DEBIT", _SPENT_CREDITS, "Spa booking — Zen Wellness Spa"),
        ):
            entry = f"txn_{rows.rng.getrandbits(64):016x}"
            time = rows.days_ago(60 if kind == "CREDIT" else 30)
            rows.entries.append((entry, "credits", reseller, seq, kind, amount, text, time))


def _seed_pass(rows: _SeedRows, id: str, package: Row, categories: list[Row]) -> None:
    seq, number = len(rows.issued) + 1, rows.rng.getrandbits(64)
    own = "brgpass_abc123" if id == "client_abc123" else f"brgpass_{number:016x}"
    start = rows.days_ago(90)
    days = -10 if id == "client_expired" else 275 if id in _KNOWN_CLIENTS else rows.rng.randrange(-60, 300)
    end = end_of_day((rows.midnight + dt.timedelta(days=days)).date())
    code, words = f"{number % 10**8:08d}", f"{number:016X}"
    # fmt: off
    rows.issued.append((
        seq, len(rows.clients), package["seq"], own, code, id == "client_cancelled", f"txn_{number:016x}",
        f"FLW-TXN-{words[:8]}", start, end, start,
    ))
    # fmt: on
    for category in categories:
        allowed = category["visits_allowed"]
        used = allowed if id == "client_visits_used" and category["type"] == "GYM" else 1
        rows.categories.append((seq, category["type"], allowed, used))
