"""The server's state: its key store, by section 3 of the API notes, and what was charged to whom."""

from __future__ import annotations

import asyncio
import enum
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

import attrs

REMEMBERED: Final = 90.0
MARGIN: Final = 10.0
"""The promise assumes that the handling of every request starts within this time of its being sent."""


@attrs.frozen
class Received:
    """One request; the recorder on the client's side sets ``delivery`` and ``sent_at``."""

    method: str
    path: str
    key: str | None
    body: bytes
    delivery: int = 0
    sent_at: float = 0.0
    fragile: bool = False
    """The call may be cancelled at any moment, so that its response may not be seen."""

    @property
    def row(self) -> str:
        head, *rest = self.path.strip("/").split("/")
        if self.method == "GET":
            return "get"
        single = {"credit_purchases": "purchase", "lookups": "lookup", "issued_passes": "expiry" if rest else "issue"}
        return single[head] if head in single else rest[-1]

    @property
    def content(self) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", json.loads(self.body)) if self.body else {}

    @property
    def business(self) -> str:
        """The operation's id: what must be charged once."""
        parts = self.path.strip("/").split("/")
        return parts[1] if len(parts) > 1 else str(self.content.get("client_id", "probe"))

    @property
    def is_probe(self) -> bool:
        """Whether it only asks for the server's time."""
        return self.method == "GET" and self.path == "/passes"


@attrs.frozen
class Said:
    """The response of the handler."""

    status: int
    payload: Mapping[str, Any]
    replayed: bool = False

    @property
    def ok(self) -> bool:
        return self.status < 400


class Fate(enum.Enum):
    """How the handler ends, if it runs at all."""

    WELL = enum.auto()
    FAIL_BEFORE = enum.auto()
    FAIL_CACHED = enum.auto()
    """It fails before the work, and the failure is cached."""
    FAIL_AFTER = enum.auto()
    """It fails after the work, and the failure is cached."""
    FAIL_AFTER_KEPT = enum.auto()
    """It fails after the work, and the success is cached."""
    FAIL_AFTER_FORGOTTEN = enum.auto()


def failure(status: int, kind: str, code: str | None = None) -> Said:
    detail = {"type": kind, "code": code, "message": "no", "request_id": "req_1"}
    return Said(status, {"error": {name: value for name, value in detail.items() if value is not None}})


FAILED: Final = failure(500, "api_error")
REUSED: Final = failure(409, "idempotency_error", "idempotency_key_reused")
RUNNING: Final = failure(409, "idempotency_error", "request_in_progress")
REFUSED: Final = failure(400, "invalid_request_error", "validation_error")
CANCELLED: Final = failure(409, "resource_conflict_error", "already_cancelled")


@attrs.frozen
class Charge:
    """One execution; ``late``: it started after the key had expired, by a request that was long in flight."""

    at: float
    delivery: int
    late: bool


class Ledger:
    """Record every execution by business id."""

    def __init__(self) -> None:
        self.charges: dict[str, list[Charge]] = defaultdict(list)

    def count(self, business: str) -> int:
        """Return the number of executions, without those that no client can prevent."""
        return sum(not charge.late for charge in self.charges[business])

    def by(self, business: str, delivery: int) -> int:
        """Return the number of executions that one delivery caused, without those that no client can prevent."""
        return sum(charge.delivery == delivery and not charge.late for charge in self.charges[business])

    def execute(self, request: Received, now: float, *, late: bool) -> Said:
        """Execute the request, or refuse it."""
        business = request.business
        if request.row == "get":
            return Said(200, {"balance": len(self.charges[business]), "currency": "NGN", "transactions": []})
        if "wrong" in request.content.values():
            return REFUSED
        if request.row == "cancel" and self.charges[business]:
            return CANCELLED
        self.charges[business].append(Charge(now, request.delivery, late))
        return Said(200, {"object": request.row, "id": business, "client_id": business, "message": "done"})


@attrs.define
class Entry:
    """What the server stores for a key."""

    body: bytes
    received: float
    done: asyncio.Event
    said: Said | None = None
    until: float = float("inf")


@attrs.frozen
class Rules:
    """Rules that the vendor's pages leave open."""

    from_receipt: bool = True
    cache_errors: bool = False
    waits: bool = True
    honours_unproven: bool = False


class Store:
    """Handle requests once per key, by section 3 of the API notes; the caller chooses how the handler ends."""

    def __init__(self, rules: Rules, now: Callable[[], float]) -> None:
        self.rules = rules
        self.ledger = Ledger()
        self.now = now
        self._entries: dict[str, Entry] = {}

    async def refuse(self, request: Received, refusal: Said) -> Said:
        """Refuse a request, truly: unless something was done for it, or it has an answer already."""
        if self.ledger.charges[request.business] or request.key in self._entries:
            return await self.handle(request)
        if self.rules.cache_errors and request.key is not None and self._honours(request):
            self._finish(request.key, self._add_entry(request, request.key), Fate.FAIL_BEFORE, refusal, refusal)
        return refusal

    async def handle(
        self, request: Received, fate: Fate = Fate.WELL, work: Callable[[], Awaitable[object]] | None = None
    ) -> Said:
        """Handle a request: replay, refuse, wait for the running one, or execute."""
        key = request.key if self._honours(request) else None
        entry, expired = self._find(key)
        if entry is None:
            late = expired and self.now() - request.sent_at > MARGIN
            return await self._execute(request, key, fate, work, late=late)
        if entry.body != request.body:
            return REUSED
        if entry.said is None:
            if not self.rules.waits:
                return RUNNING
            await entry.done.wait()
        assert entry.said is not None
        return attrs.evolve(entry.said, replayed=True)

    def _honours(self, request: Received) -> bool:
        return self.rules.honours_unproven or request.row != "cancel"

    def _find(self, key: str | None) -> tuple[Entry | None, bool]:
        entry = None if key is None else self._entries.get(key)
        if entry is not None and self.now() >= entry.until:
            return None, True
        return entry, False

    async def _execute(
        self,
        request: Received,
        key: str | None,
        fate: Fate,
        work: Callable[[], Awaitable[object]] | None,
        *,
        late: bool,
    ) -> Said:
        entry = self._add_entry(request, key)
        if work is not None:
            await work()
        before = fate in {Fate.FAIL_BEFORE, Fate.FAIL_CACHED}
        done = FAILED if before else self.ledger.execute(request, self.now(), late=late)
        said = FAILED if done.ok and fate is not Fate.WELL else done
        self._finish(key, entry, fate, done, said)
        return said

    def _add_entry(self, request: Received, key: str | None) -> Entry:
        entry = Entry(request.body, self.now(), asyncio.Event())
        if key is not None:
            self._entries[key] = entry
        return entry

    def _finish(self, key: str | None, entry: Entry, fate: Fate, done: Said, said: Said) -> None:
        entry.said = done if fate is Fate.FAIL_AFTER_KEPT else said
        entry.until = (entry.received if self.rules.from_receipt else self.now()) + REMEMBERED
        entry.done.set()
        kept = said.ok or self.rules.cache_errors or fate in {Fate.FAIL_CACHED, Fate.FAIL_AFTER, Fate.FAIL_AFTER_KEPT}
        if key is not None and (not kept or fate is Fate.FAIL_AFTER_FORGOTTEN):
            del self._entries[key]
