"""The journal in PostgreSQL as one event loop has it: three connections, and the leases that its tasks hold."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import attrs
import psycopg
from psycopg import AsyncConnection

from bardge_async._core.entry import EntryState, Identity, Record
from bardge_async._core.secret import Secret
from bardge_async._journal import postgres_statements as rows
from bardge_async._journal.postgres_queries import Query, Reads
from bardge_async._journal.postgres_schema import migrate
from bardge_async._journal.postgres_statements import Entry
from bardge_async._postgres.connection import Lane, Link, ended
from bardge_async._postgres.schema import filled
from bardge_async._runtime.clock import Clock, TimeLimit
from bardge_async.errors import JournalError

_LOG: Final = logging.getLogger("bardge_async")
_LIMIT: Final = 10.0
_WITHDRAWAL: Final = 2.0
_READING_LIMIT: Final = 300.0
_RENEWALS: Final = 3
"""How often a lease is renewed in its time."""

Granted: TypeAlias = Sequence[Any] | None
Write: TypeAlias = tuple[str, Entry]


@attrs.frozen
class Settings:
    """Where the tables are, and how long things last, in seconds."""

    dsn: Secret
    schema: str
    lease: float
    patience: float
    clock: Clock


@attrs.define(eq=False)
class Lease:
    """A key that a task of this loop holds; ``begun`` is when it was last granted or renewed, as asked for."""

    identity: Identity
    token: str
    clock: Clock
    begun: float
    lost: bool = False
    ended: bool = False


class OneLoop:
    """Claim, write and read in one event loop; ``dropped`` is told of every key that its end lets go of."""

    def __init__(self, settings: Settings, dropped: Callable[[Identity], None]) -> None:
        self._settings = settings
        self._dropped = dropped
        self._leases: dict[Identity, Lease] = {}
        self._ready = asyncio.Lock()
        self._migrated = False
        self._renewing = False
        self._pruning: asyncio.Task[None] | None = None
        self._claims: Lane[Entry, Granted] = self._lane(self._claim_all)
        self._writes: Lane[Write, bool] = self._lane(self._write_all)
        self._questions: Lane[Query, Any] = self._lane(_ask_all, _READING_LIMIT)
        self.reads = Reads(self._questions, settings.schema)
        self._guard = _guard(self)
        # One step by hand registers the generator with the running loop, which closes it when it ends.
        with contextlib.suppress(StopIteration):
            self._guard.__anext__().send(None)

    def _lane(self, serve: Callable[..., Awaitable[Any]], limit: float = _LIMIT) -> Lane[Any, Any]:
        settings = self._settings
        link = Link(settings.dsn, self._prepare, settings.clock, limit)
        return Lane(link, serve, settings.clock, settings.patience)

    async def _prepare(self, connection: AsyncConnection[Any]) -> None:
        async with self._ready:
            if not self._migrated:
                await migrate(connection, self._settings.schema)
                self._migrated = True

    async def claim(self, identity: Identity, clock: Clock) -> tuple[bool, Record | None]:
        """Ask once for a key's lease; tell whether it was granted, and what is on record."""
        entry = Entry(identity, os.urandom(12).hex())
        begun = self._settings.clock.elapsed()
        asked = self._claims.add(entry, identity, lambda got: self._let_go(entry) if got is not None else None)
        try:
            row = await asked
        except asyncio.CancelledError:
            if asked.done() and not asked.cancelled() and asked.exception() is None and asked.result() is not None:
                # Granted and cancelled at the same turn of the loop.
                self._let_go(entry)
            raise
        if row is None:
            return False, None
        assert entry.token is not None  # noqa: S101 - made above
        self._leases[identity] = Lease(identity, entry.token, clock, begun)
        self._renew_later()
        return True, rows.here(rows.record_of(row[1:21]), row[21], clock)

    def release(self, identity: Identity) -> asyncio.Future[bool] | None:
        """Give a key's lease back; the future tells when, None where there is none any more."""
        lease = self._leases.pop(identity, None)
        return None if lease is None or lease.ended else self._let_go(Entry(identity, lease.token))

    def _let_go(self, entry: Entry) -> asyncio.Future[bool]:
        future = self._writes.add((rows.RELEASE, entry), entry.identity)
        # Where it fails the lease runs out by itself.
        future.add_done_callback(_looked_at)
        return future

    async def put(self, record: Record) -> None:
        """Keep a record; an intent of a claimed key only while the claim holds.

        Raises:
            JournalError: It could not be kept.
        """
        lease = self._leases.get(record.identity)
        finished = record.state in {EntryState.DONE, EntryState.REFUSED}
        if lease is None or finished:
            kept = await self._write(rows.KEEP, _entry(record, lease))
            if not kept and record.state is not EntryState.DONE:
                raise _taken(record.identity)
            if lease is not None and record.state is EntryState.DONE:
                lease.ended = True
            return
        # What took longer than a lease to be written may be another's by the time it is.
        while not await self._intended(lease, record):
            pass

    async def _intended(self, lease: Lease, record: Record) -> bool:
        """Write an intent; False where that took so long that the lease may have ended again."""
        clock = self._settings.clock
        begun = clock.elapsed()
        if lease.lost or not await self._write(rows.INTEND, _entry(record, lease)):
            raise _taken(record.identity)
        lease.begun = begun
        return clock.elapsed() - begun < self._settings.lease

    async def remove(self, identity: Identity) -> None:
        """Forget a record; a claimed key stays claimed.

        Raises:
            JournalError: It could not be written, or another process has taken the key.
        """
        lease = self._leases.get(identity)
        if lease is None:
            await self._write(rows.FORGET, Entry(identity, None))
        elif not await self._withdrawn(Entry(identity, lease.token)):
            raise _taken(identity)

    async def _withdrawn(self, entry: Entry) -> bool:
        """Take an intent back; a call that has ended does not wait for a database that is away, the work does."""
        future = self._writes.add((rows.INTEND, entry), entry.identity)
        future.add_done_callback(_looked_at)
        with TimeLimit(self._settings.clock, _WITHDRAWAL):
            return await asyncio.shield(future)
        raise JournalError("the database is away; the intent is taken back when it is there again")

    async def _write(self, statement: str, entry: Entry) -> bool:
        return await self._writes.add((statement, entry), entry.identity)

    async def _execute(
        self, connection: AsyncConnection[Any], statement: str, given: Sequence[object] | dict[str, object]
    ) -> psycopg.AsyncCursor[Any]:
        return await connection.execute(filled(statement, self._settings.schema), given, binary=True)

    async def _claim_all(self, connection: AsyncConnection[Any], entries: Sequence[Entry]) -> list[Granted]:
        given = [self._settings.lease, *rows.arrays([entry.keys() for entry in entries])]
        found = await self._execute(connection, rows.CLAIM, given)
        granted = {row[0]: row for row in await found.fetchall()}
        return [granted.get(entry.token) for entry in entries]

    async def _write_all(self, connection: AsyncConnection[Any], writes: Sequence[Write]) -> list[bool]:
        """Do each kind of write in a statement of its own; whatever is done twice after an error does no harm."""
        applied: set[int] = set()
        for statement in (rows.KEEP, rows.INTEND, rows.FORGET, rows.RELEASE, rows.RENEW):
            chosen = [place for place, write in enumerate(writes) if write[0] is statement]
            if chosen:
                applied.update(await self._write_kind(connection, statement, writes, chosen))
        return [place in applied for place in range(len(writes))]

    async def _write_kind(
        self, connection: AsyncConnection[Any], statement: str, writes: Sequence[Write], chosen: Sequence[int]
    ) -> list[int]:
        entries = [writes[place][1] for place in chosen]
        whole = statement in {rows.KEEP, rows.INTEND}
        given: list[Any] = [] if statement in {rows.FORGET, rows.RELEASE} else [self._settings.lease]
        given += rows.arrays([entry.row() if whole else entry.keys() for entry in entries])
        found = await self._execute(connection, statement, given)
        if statement is rows.RELEASE:
            return []
        if statement is rows.KEEP:
            kept = {Identity(row[1], row[2], row[0]) for row in await found.fetchall()}
            return [place for place in chosen if writes[place][1].identity in kept]
        return [chosen[row[0] - 1] for row in await found.fetchall()]

    def _renew_later(self) -> None:
        """Look after the leases in a while; no timer runs while nothing is held."""
        if not self._renewing:
            self._renewing = True
            self._settings.clock.timer(self._settings.lease / _RENEWALS, self._renew)

    def _renew(self) -> None:
        self._renewing = False
        now = self._settings.clock.elapsed()
        due = now - self._settings.lease / _RENEWALS / 2
        for lease in self._leases.values():
            if lease.begun <= due and not lease.lost and not lease.ended:
                entry = Entry(lease.identity, lease.token)
                future = self._writes.add((rows.RENEW, entry), entry.identity)
                future.add_done_callback(functools.partial(_renewed, lease, now))
        if self._leases:
            self._renew_later()

    def prune(self, now: float, keep_bodies: float, keep_entries: float) -> bool:
        """Begin to remove what is kept long enough, in the background; False if that is under way."""
        if self._pruning is not None and not self._pruning.done():
            return False
        work = self._pruned(now, keep_bodies, keep_entries)
        self._pruning = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        return True

    async def _pruned(self, now: float, keep_bodies: float, keep_entries: float) -> None:
        try:
            await self.reads.prune_by_the_way(now, keep_bodies, keep_entries)
        except JournalError as error:
            _LOG.warning("the journal was not pruned, and is in an hour: %s", error)

    async def aclose(self) -> None:
        """Give all leases back and close the connections."""
        await self._guard.aclose()

    async def end(self) -> None:
        """Do what ``aclose`` does, once."""
        if self._pruning is not None:
            await ended(self._pruning)
        for identity in list(self._leases):
            self.release(identity)
            self._dropped(identity)
        for lane in (self._claims, self._writes, self._questions):
            await lane.aclose()


async def _guard(one: OneLoop) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await one.end()


async def _ask_all(connection: AsyncConnection[Any], queries: Sequence[Query]) -> list[Any]:
    return [await query(connection) for query in queries]


def _entry(record: Record, lease: Lease | None) -> Entry:
    if lease is None:
        return Entry(record.identity, None, record)
    ages = (rows.ago(record.first_sent, lease.clock), rows.ago(record.last_sent, lease.clock))
    return Entry(record.identity, lease.token, record, *ages)


def _renewed(lease: Lease, begun: float, done: asyncio.Future[bool]) -> None:
    if done.cancelled() or done.exception() is not None:
        return
    if done.result():
        lease.begun = max(lease.begun, begun)
    elif not lease.ended:
        lease.lost = True
        _LOG.warning("the lease of key %s ran out: nothing more is sent under it by this call", lease.identity.key)


def _looked_at(done: asyncio.Future[bool]) -> None:
    if not done.cancelled():
        done.exception()  # asyncio would report one that nobody looked at


def _taken(identity: Identity) -> JournalError:
    return JournalError(f"another process has taken the key {identity.key!r}, or the lease on it has run out")
