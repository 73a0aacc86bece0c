"""The idempotency store, as the vendor's page describes it (shared notes, section 3).

The page leaves open whether the 90 seconds start at receipt or at completion, and whether errors are cached: both
are settings. Endpoints that the page lists honour a key. Endpoints marked K? and those without a key ignore it, which
is the pessimistic reading; ``keyed`` sets for each endpoint whether it honours keys.

The sandbox's choice: a replay is the first response unchanged, its ``Bardge-Request-Id`` included, so that an error's
``request_id`` still matches the header.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable

import attrs

from bardge_async.sandbox._clock import SandboxClock
from bardge_async.sandbox._errors import key_reused_error
from bardge_async.sandbox._request import SandboxRequest
from bardge_async.sandbox._settings import SandboxSettings
from bardge_async.sandbox._store import Row, Store


@attrs.frozen
class SandboxResponse:
    """One finished response; ``replayed`` marks the repetition of an earlier one."""

    status: int
    body: bytes
    request_id: str
    replayed: bool = False


@attrs.frozen
class KeptAnswer:
    """One stored response: ``answer`` is replayed for ``key`` and ``body`` until ``expires_at`` (UTC)."""

    reseller: str
    key: str
    body: bytes
    status: int
    answer: bytes
    request_id: str
    expires_at: dt.datetime


@attrs.define
class _RunningRequest:
    body: bytes
    finished: asyncio.Event = attrs.field(factory=asyncio.Event)
    response: SandboxResponse | None = None


class IdempotencyStore:
    """Store responses by reseller and key, never by path; a second request waits while the first is running."""

    def __init__(self, store: Store, clock: SandboxClock, settings: SandboxSettings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._running: dict[tuple[int, str | None], _RunningRequest] = {}

    def honours_key(self, request: SandboxRequest) -> bool:
        """Return whether a request's key is honoured."""
        return bool(request.idempotency_key) and self._settings.honours_key(request.endpoint.name)

    async def execute_once(
        self, request: SandboxRequest, execute: Callable[[], Awaitable[SandboxResponse]]
    ) -> SandboxResponse:
        """Execute a keyed request, or replay its stored response.

        Raises:
            ErrorAnswer: The key was used with another body.
        """
        slot = (request.reseller.seq, request.idempotency_key)
        while running := self._running.get(slot):
            _require_same_body(running.body, request.body)
            await running.finished.wait()
            # None: the first request was cancelled; the loop checks whether another one took its place.
            if running.response is not None:
                return attrs.evolve(running.response, replayed=True)
        return self._find_kept(request) or await self._execute_first(slot, request, execute)

    def store_response(self, request: SandboxRequest, response: SandboxResponse) -> None:
        """Store a response, in the transaction that holds its work."""
        settings = self._settings
        if response.status >= 400 and not settings.cache_errors:  # noqa: PLR2004
            return
        window_start = request.received_at if settings.window_from == "received" else self._clock.wall()
        # Expired entries are deleted on every write, so that the table does not grow.
        self._store.execute("DELETE FROM idempotency WHERE expires_at <= ?", self._clock.wall())
        self._store.execute(
            "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, ?, ?)",
            request.reseller.seq,
            request.idempotency_key,
            request.body,
            response.status,
            response.body,
            response.request_id,
            window_start + settings.window,
        )

    def list_kept_answers(self) -> tuple[KeptAnswer, ...]:
        """Return what is replayed now, earliest expiry first."""
        sql = "SELECT i.*, r.slug FROM idempotency i JOIN resellers r ON r.seq = i.reseller "
        sql += "WHERE i.expires_at > ? ORDER BY i.expires_at, i.key"
        rows = self._store.fetch_all(sql, self._clock.wall())
        return tuple(_to_kept_answer(row) for row in rows)

    def forget_all(self) -> None:
        """Remove all entries."""
        with self._store.transaction():
            self._store.execute("DELETE FROM idempotency")

    async def _execute_first(
        self, slot: tuple[int, str | None], request: SandboxRequest, execute: Callable[[], Awaitable[SandboxResponse]]
    ) -> SandboxResponse:
        running = self._running[slot] = _RunningRequest(request.body)
        try:
            running.response = await execute()
            return running.response
        finally:
            # Also after a cancellation: requests that wait for this one must go on.
            del self._running[slot]
            running.finished.set()

    def _find_kept(self, request: SandboxRequest) -> SandboxResponse | None:
        sql = "SELECT * FROM idempotency WHERE reseller = ? AND key = ? AND expires_at > ?"
        row = self._store.fetch_one(sql, request.reseller.seq, request.idempotency_key, self._clock.wall())
        if row is None:
            return None
        _require_same_body(row["body"], request.body)
        return SandboxResponse(row["status"], row["answer"], row["request_id"], replayed=True)


def _to_kept_answer(row: Row) -> KeptAnswer:
    return KeptAnswer(
        reseller=row["slug"],
        key=row["key"],
        body=row["body"],
        status=row["status"],
        answer=row["answer"],
        request_id=row["request_id"],
        expires_at=dt.datetime.fromtimestamp(row["expires_at"], dt.UTC),
    )


def _require_same_body(first: bytes, second: bytes) -> None:
    if first != second:
        raise key_reused_error()
