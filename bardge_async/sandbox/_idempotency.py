"""The idempotency store, as the vendor's page says (shared notes, section 3).

The page leaves open whether the 90 seconds begin at receipt or at completion, and whether errors are cached: both
are switches. Rows that the page lists honour a key. Rows marked K? and rows without a key ignore it, which is the
pessimistic reading; ``unproven_keys`` lets the K? rows honour it too.

The sandbox's choice: a replay is the first answer as it was, its ``Bardge-Request-Id`` included, so that an error's
``request_id`` goes on to equal the header.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable

import attrs

from bardge_async.endpoints import KeySupport
from bardge_async.sandbox._clock import SandboxClock
from bardge_async.sandbox._errors import key_reused
from bardge_async.sandbox._request import Call
from bardge_async.sandbox._settings import Settings
from bardge_async.sandbox._store import Row, Store


@attrs.frozen
class Answer:
    """One finished answer; ``replayed`` tells that it was kept from an earlier request."""

    status: int
    body: bytes
    request_id: str
    replayed: bool = False


@attrs.frozen
class KeptAnswer:
    """One entry of the idempotency store: ``answer`` is replayed for ``key`` and ``body`` until ``expires_at`` (UTC)."""

    reseller: str
    key: str
    body: bytes
    status: int
    answer: bytes
    request_id: str
    expires_at: dt.datetime


@attrs.define
class _Running:
    body: bytes
    finished: asyncio.Event = attrs.field(factory=asyncio.Event)
    answer: Answer | None = None


class IdempotencyStore:
    """Keep answers by reseller and key, never by path, and hold back a second request while the first runs."""

    def __init__(self, store: Store, clock: SandboxClock, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._running: dict[tuple[int, str | None], _Running] = {}

    def honours(self, call: Call) -> bool:
        """Tell whether a request's key counts."""
        support = call.endpoint.key
        unproven = support is KeySupport.UNPROVEN and self._settings.unproven_keys
        return bool(call.key) and (support is KeySupport.YES or unproven)

    async def once(self, call: Call, execute: Callable[[], Awaitable[Answer]]) -> Answer:
        """Execute a keyed request, or answer it from the store.

        Raises:
            Refusal: The key was used with another body.
        """
        slot = (call.reseller.seq, call.key)
        while running := self._running.get(slot):
            _require_same(running.body, call.body)
            await running.finished.wait()
            if running.answer is not None:
                return attrs.evolve(running.answer, replayed=True)
        return self._kept(call) or await self._first(slot, call, execute)

    def keep(self, call: Call, answer: Answer) -> None:
        """Record an answer in the transaction that holds its work."""
        settings = self._settings
        if answer.status >= 400 and not settings.cache_errors:  # noqa: PLR2004
            return
        begin = call.received if settings.window_from == "received" else self._clock.wall()
        self._store.change("DELETE FROM idempotency WHERE expires_at <= ?", self._clock.wall())
        self._store.change(
            "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, ?, ?)",
            call.reseller.seq,
            call.key,
            call.body,
            answer.status,
            answer.body,
            answer.request_id,
            begin + settings.window,
        )

    def kept(self) -> tuple[KeptAnswer, ...]:
        """Read what is replayed at this time, what ends first first."""
        sql = "SELECT i.*, r.slug FROM idempotency i JOIN resellers r ON r.seq = i.reseller "
        sql += "WHERE i.expires_at > ? ORDER BY i.expires_at, i.key"
        rows = self._store.all(sql, self._clock.wall())
        return tuple(_kept(row) for row in rows)

    def forget(self) -> None:
        """Forget all keys."""
        with self._store.transaction():
            self._store.change("DELETE FROM idempotency")

    async def _first(
        self, slot: tuple[int, str | None], call: Call, execute: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        running = self._running[slot] = _Running(call.body)
        try:
            running.answer = await execute()
            return running.answer
        finally:
            del self._running[slot]
            running.finished.set()

    def _kept(self, call: Call) -> Answer | None:
        sql = "SELECT * FROM idempotency WHERE reseller = ? AND key = ? AND expires_at > ?"
        row = self._store.one(sql, call.reseller.seq, call.key, self._clock.wall())
        if row is None:
            return None
        _require_same(row["body"], call.body)
        return Answer(row["status"], row["answer"], row["request_id"], replayed=True)


def _kept(row: Row) -> KeptAnswer:
    return KeptAnswer(
        reseller=row["slug"],
        key=row["key"],
        body=row["body"],
        status=row["status"],
        answer=row["answer"],
        request_id=row["request_id"],
        expires_at=dt.datetime.fromtimestamp(row["expires_at"], dt.UTC),
    )


def _require_same(first: bytes, second: bytes) -> None:
    if first != second:
        raise key_reused()
