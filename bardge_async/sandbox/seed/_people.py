"""Resellers, their clients, and the passes and credits these hold."""

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

_KNOWN: Final = (
    "client_abc123",
    "client_visits_used",
    "client_expired",
    "client_cancelled",
    "client_no_pass",
    "client_lookup",
)
_MOST: Final = 200
_FEW: Final = 12
_OPENING: Final = 5_000
_SPENT: Final = 2_500
_CLIENT: Final = [
    "seq",
    "reseller",
    "id",
    "first_name",
    "last_name",
    "email",
    "phone_number",
    "lookup_enabled",
    "credits",
    "created",
]
_ISSUED: Final = [
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
_GRANT: Final = ("issued", "type", "visits_allowed", "visits_used")
_ENTRY: Final = ["id", "book", "reseller", "client", "type", "amount", "description", "timestamp"]


def api_key(seed: int, slug: str) -> str:
    """Derive a reseller's key: the same every time for a seed."""
    return f"bardge_sandbox_{hashlib.sha256(f'{seed}:{slug}'.encode()).hexdigest()[:32]}"


def sow_resellers(store: Store, seed: int, count: int) -> None:
    """Make the accounts: those with a key, the disabled one, and issuers that only stand in the list."""
    extra = ((f"reseller_{n:02d}", f"Reseller {n}") for n in range(len(RESELLERS) + 1, count + 1))
    enabled = (*RESELLERS[:count], *extra)
    for slug, name in (*enabled, ("disabled", "Dormant Savings")):
        _reseller(store, slug, name, api_key(seed, slug), enabled=slug != "disabled")
    for name in ISSUERS:
        _reseller(store, name.lower().replace(" ", "_"), name, None, enabled=True)


def _reseller(store: Store, slug: str, name: str, key: str | None, *, enabled: bool) -> None:
    store.insert("resellers", {"id": f"iss_{slug}", "slug": slug, "name": name, "api_key": key, "enabled": enabled})


@attrs.define
class _Fields:
    """The rows of everybody, to be written at once."""

    midnight: dt.datetime
    dice: random.Random
    clients: list[tuple[Value, ...]] = attrs.field(factory=list[tuple[Value, ...]])
    issued: list[tuple[Value, ...]] = attrs.field(factory=list[tuple[Value, ...]])
    grants: list[tuple[Value, ...]] = attrs.field(factory=list[tuple[Value, ...]])
    entries: list[tuple[Value, ...]] = attrs.field(factory=list[tuple[Value, ...]])

    def days_ago(self, days: int) -> int:
        return int((self.midnight - dt.timedelta(days=days)).timestamp()) * SECOND


def sow_clients(store: Store, dice: random.Random, midnight: dt.datetime) -> None:
    """Make the clients: 200 for the first reseller, a dozen for the others."""
    sown = _Fields(midnight, dice)
    passes = store.all("SELECT * FROM passes ORDER BY seq DESC")
    types = {row["seq"]: _types(store, row) for row in passes}
    for reseller in store.all("SELECT * FROM resellers ORDER BY seq"):
        for id in _ids(_MOST if reseller["seq"] == 1 else _FEW):
            _sow_client(sown, reseller["seq"], id)
            if id != "client_no_pass":
                package = passes[0] if id in _KNOWN else dice.choice(passes)
                _sow_pass(sown, id, package, types[package["seq"]])
    store.fill("clients", _CLIENT, sown.clients)
    store.fill("issued_passes", _ISSUED, sown.issued)
    store.fill("issued_categories", _GRANT, sown.grants)
    store.fill("entries", _ENTRY, sown.entries)


def _ids(count: int) -> Iterator[str]:
    yield from _KNOWN
    for n in range(len(_KNOWN) + 1, count + 1):
        yield f"client_{n:04d}"


def _types(store: Store, package: Row) -> list[Row]:
    return store.all("SELECT type, visits_allowed FROM pass_categories WHERE pass = ?", package["seq"])


def _sow_client(sown: _Fields, reseller: int, id: str) -> None:
    seq = len(sown.clients) + 1
    first, last = sown.dice.choice(FIRST_NAMES), sown.dice.choice(LAST_NAMES)
    email = f"{first}.{last}.{seq}@example.com".lower()
    phone = f"+23480{sown.dice.randrange(10**8):08d}"
    poor = id == "client_no_pass"
    created = sown.days_ago(200) - sown.dice.randrange(100) * DAY
    credits = 0 if poor else _OPENING - _SPENT
    looked_up = id == "client_lookup" or (id not in _KNOWN and sown.dice.random() < 0.3)  # noqa: PLR2004
    sown.clients.append((seq, reseller, id, first, last, email, phone, looked_up, credits, created))
    if not poor:
        for kind, amount, text in (("CREDIT", _OPENING, "50 Credits Pack"), ("DEBIT", _SPENT, "Spa appointment")):
            entry = f"txn_{sown.dice.getrandbits(64):016x}"
            time = sown.days_ago(60 if kind == "CREDIT" else 30)
            sown.entries.append((entry, "credits", reseller, seq, kind, amount, text, time))


def _sow_pass(sown: _Fields, id: str, package: Row, types: list[Row]) -> None:
    seq, number = len(sown.issued) + 1, sown.dice.getrandbits(64)
    own = "brgpass_abc123" if id == "client_abc123" else f"brgpass_{number:016x}"
    start = sown.days_ago(90)
    days = -10 if id == "client_expired" else 275 if id in _KNOWN else sown.dice.randrange(-60, 300)
    end = end_of_day((sown.midnight + dt.timedelta(days=days)).date())
    code, words = f"{number % 10**8:08d}", f"{number:016X}"
    # fmt: off
    sown.issued.append((
        seq, len(sown.clients), package["seq"], own, code, id == "client_cancelled", f"txn_{number:016x}",
        f"FLW-TXN-{words[:8]}", start, end, start,
    ))
    # fmt: on
    for grant in types:
        allowed = grant["visits_allowed"]
        used = allowed if id == "client_visits_used" and grant["type"] == "GYM" else 1
        sown.grants.append((seq, grant["type"], allowed, used))
