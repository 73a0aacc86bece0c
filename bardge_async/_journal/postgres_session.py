"""One event loop's part of the journal in PostgreSQL: three connections, and the leases that its tasks hold."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import attrs
import psycopg
from psycopg import AsyncConnection

from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity
from bardge_async._core.secret import Secret
from bardge_async._journal import postgres_statements as statements
from bardge_async._journal.postgres_queries import JournalQueries, Query
from bardge_async._journal.postgres_schema import migrate_tables
from bardge_async._journal.postgres_spellings import respell_rows
from bardge_async._journal.postgres_statements import RowValues
from bardge_async._journal.pruning import PruneTime
from bardge_async._postgres.connection import PostgresConnection
from bardge_async._postgres.group_commit import GroupCommitQueue
from bardge_async._postgres.schema import fill_schema
from bardge_async._runtime.clock import Clock, TimeLimit
from bardge_async._runtime.tasks import end_task
from bardge_async.errors import JournalError

_LOG: Final = logging.getLogger("bardge_async")
_STATEMENT_TIMEOUT: Final = 10.0
_WITHDRAWAL_TIMEOUT: Final = 2.0
_QUERY_TIMEOUT: Final = 300.0
_RENEWALS_PER_LEASE: Final = 3
"""Number of renewals per lease duration."""

GrantedRow: TypeAlias = Sequence[Any] | None
Write: TypeAlias = tuple[str, RowValues]


@attrs.frozen
class SessionSettings:
    """The location of the tables, and durations in seconds."""

    dsn: Secret
    schema: str
    lease: float
    timeout: float
    clock: Clock


@attrs.define(eq=False)
class Lease:
    """A key that a task of this loop holds; ``renewed_at`` is when its last granted claim or renewal was requested."""

    identity: KeyIdentity
    token: str
    clock: Clock
    renewed_at: float
    lost: bool = False
    ended: bool = False


class PostgresSession:
    """Claim, write and read in one event loop; ``on_key_dropped`` is called for every key that closing releases."""

    def __init__(self, settings: SessionSettings, on_key_dropped: Callable[[KeyIdentity], None]) -> None:
        self._settings = settings
        self._on_key_dropped = on_key_dropped
        self._leases: dict[KeyIdentity, Lease] = {}
        self._migration_lock = asyncio.Lock()
        self._is_migrated = False
        self._renewal_scheduled = False
        self._pruning_task: asyncio.Task[None] | None = None
        self._claim_queue: GroupCommitQueue[RowValues, GrantedRow] = self._make_queue(self._claim_all)
        self._write_queue: GroupCommitQueue[Write, bool] = self._make_queue(self._write_all)
        self._query_queue: GroupCommitQueue[Query, Any] = self._make_queue(_run_queries, _QUERY_TIMEOUT)
        self.queries = JournalQueries(self._query_queue, settings.schema, settings.clock)

    def _make_queue(
        self, process: Callable[..., Awaitable[Any]], timeout: float = _STATEMENT_TIMEOUT
    ) -> GroupCommitQueue[Any, Any]:
        settings = self._settings
        connection = PostgresConnection(settings.dsn, self._migrate_once, settings.clock, timeout)
        return GroupCommitQueue(connection, process, settings.clock, settings.timeout)

    async def _migrate_once(self, connection: AsyncConnection[Any]) -> None:
        async with self._migration_lock:
            if not self._is_migrated:
                await migrate_tables(connection, self._settings.schema)
                await respell_rows(connection, self._settings.schema)
                self._is_migrated = True

    async def try_claim(self, identity: KeyIdentity, clock: Clock) -> tuple[bool, JournalEntry | None]:
        """Request a key's lease once; return whether it was granted, and the key's entry."""
        values = RowValues(identity, os.urandom(12).hex())
        started_at = self._settings.clock.elapsed()
        future = self._claim_queue.add_item(
            values, identity, lambda got: self._release_lease(values) if got is not None else None
        )
        try:
            row = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None and future.result() is not None:
                # Granted and cancelled in the same iteration of the loop.
                self._release_lease(values)
            raise
        if row is None:
            return False, None
        assert values.token is not None
        self._leases[identity] = Lease(identity, values.token, clock, started_at)
        self._schedule_renewal()
        return True, statements.rebase_first_sent(statements.parse_entry(row[1:-1]), row[-1], clock)

    @property
    def outage(self) -> str | None:
        """The cause for which claims or writes are being retried, None if they are not."""
        return self._write_queue.outage or self._claim_queue.outage

    def release(self, identity: KeyIdentity) -> asyncio.Future[bool] | None:
        """Release a key's lease; return a future for its completion, or None if there is no lease any more."""
        lease = self._leases.pop(identity, None)
        return None if lease is None or lease.ended else self._release_lease(RowValues(identity, lease.token))

    def _release_lease(self, values: RowValues) -> asyncio.Future[bool]:
        future = self._write_queue.add_item((statements.RELEASE, values), values.identity)
        # If this fails, the lease expires by itself.
        future.add_done_callback(_retrieve_exception)
        return future

    async def put(self, entry: JournalEntry) -> None:
        """Store an entry; an intent only while the claim on its key holds.

        Raises:
            JournalError: The entry could not be stored.
        """
        lease = self._leases.get(entry.identity)
        finished = entry.state in {EntryState.DONE, EntryState.REFUSED}
        if lease is None or finished:
            is_recorded = await self._write_values(statements.RECORD_OUTCOME, _make_values(entry, lease))
            if not is_recorded and entry.state is not EntryState.DONE:
                raise _key_taken_error(entry.identity)
            if lease is not None and entry.state is EntryState.DONE:
                lease.ended = True
            return
        # If writing took longer than a lease, another process may hold the key by now: write again, which fails then.
        while not await self._write_intent(lease, entry):
            pass

    async def put_later(self, entry: JournalEntry) -> None:
        """Store an entry; if the caller is cancelled, the write goes on, and its key is released after it.

        Raises:
            JournalError: The entry could not be stored.
        """
        lease = self._leases.get(entry.identity)
        outcome = lease is None or entry.state is not EntryState.SENT
        statement = statements.RECORD_OUTCOME if outcome else statements.RECORD_INTENT
        future = self._write_queue.add_item((statement, _make_values(entry, lease)), entry.identity)
        future.add_done_callback(functools.partial(_log_late_write, entry))
        if not await asyncio.shield(future) and entry.state is not EntryState.DONE:
            raise _key_taken_error(entry.identity)

    async def _write_intent(self, lease: Lease, entry: JournalEntry) -> bool:
        """Write an intent; return False if that took so long that the lease may have expired again."""
        clock = self._settings.clock
        started_at = clock.elapsed()
        if lease.lost or not await self._write_values(statements.RECORD_INTENT, _make_values(entry, lease)):
            raise _key_taken_error(entry.identity)
        lease.renewed_at = started_at
        return clock.elapsed() - started_at < self._settings.lease

    async def remove(self, identity: KeyIdentity) -> None:
        """Remove an entry; a claimed key stays claimed.

        Raises:
            JournalError: The removal could not be written, or another process has claimed the key.
        """
        lease = self._leases.get(identity)
        if lease is None:
            await self._write_values(statements.FORGET, RowValues(identity, None))
        elif not await self._write_withdrawal(RowValues(identity, lease.token)):
            raise _key_taken_error(identity)

    async def _write_withdrawal(self, values: RowValues) -> bool:
        """Withdraw an intent; the call waits 2 s at most, while the write itself keeps being retried."""
        future = self._write_queue.add_item((statements.RECORD_INTENT, values), values.identity)
        future.add_done_callback(_retrieve_exception)
        with TimeLimit(self._settings.clock, _WITHDRAWAL_TIMEOUT):
            return await asyncio.shield(future)
        raise JournalError(
            f"the journal's database cannot be reached, start it or check dsn=: {self.outage or 'no answer'}; the intent "
            "is withdrawn once it is back"
        )

    async def _write_values(self, statement: str, values: RowValues) -> bool:
        return await self._write_queue.add_item((statement, values), values.identity)

    async def _execute_statement(
        self, connection: AsyncConnection[Any], statement: str, parameters: Sequence[object] | dict[str, object]
    ) -> psycopg.AsyncCursor[Any]:
        return await connection.execute(fill_schema(statement, self._settings.schema), parameters, binary=True)

    async def _claim_all(self, connection: AsyncConnection[Any], batch: Sequence[RowValues]) -> list[GrantedRow]:
        parameters = [self._settings.lease, *statements.transpose_rows([entry.key_columns() for entry in batch])]
        cursor = await self._execute_statement(connection, statements.CLAIM, parameters)
        granted = {row[0]: row for row in await cursor.fetchall()}
        return [granted.get(entry.token) for entry in batch]

    async def _write_all(self, connection: AsyncConnection[Any], writes: Sequence[Write]) -> list[bool]:
        """Write each kind in one statement; all are idempotent, so repeating them after an error is safe."""
        applied: set[int] = set()
        for statement in (
            statements.RECORD_OUTCOME,
            statements.RECORD_INTENT,
            statements.FORGET,
            statements.RELEASE,
            statements.RENEW,
        ):
            indices = [place for place, write in enumerate(writes) if write[0] is statement]
            if indices:
                applied.update(await self._write_kind(connection, statement, writes, indices))
        return [place in applied for place in range(len(writes))]

    async def _write_kind(
        self, connection: AsyncConnection[Any], statement: str, writes: Sequence[Write], indices: Sequence[int]
    ) -> list[int]:
        batch = [writes[place][1] for place in indices]
        needs_all_columns = statement in {statements.RECORD_OUTCOME, statements.RECORD_INTENT}
        parameters: list[Any] = [] if statement in {statements.FORGET, statements.RELEASE} else [self._settings.lease]
        parameters += statements.transpose_rows(
            [entry.all_columns() if needs_all_columns else entry.key_columns() for entry in batch]
        )
        cursor = await self._execute_statement(connection, statement, parameters)
        if statement is statements.RELEASE:
            return []
        if statement is statements.RECORD_OUTCOME:
            recorded = {KeyIdentity(row[1], row[2], row[0]) for row in await cursor.fetchall()}
            return [place for place in indices if writes[place][1].identity in recorded]
        return [indices[row[0] - 1] for row in await cursor.fetchall()]

    def _schedule_renewal(self) -> None:
        """Schedule the next renewal; no timer runs while no lease is held."""
        if not self._renewal_scheduled:
            self._renewal_scheduled = True
            self._settings.clock.timer(self._settings.lease / _RENEWALS_PER_LEASE, self._renew_leases)

    def _renew_leases(self) -> None:
        self._renewal_scheduled = False
        now = self._settings.clock.elapsed()
        due = now - self._settings.lease / _RENEWALS_PER_LEASE / 2
        for lease in self._leases.values():
            if lease.renewed_at <= due and not lease.lost and not lease.ended:
                values = RowValues(lease.identity, lease.token)
                future = self._write_queue.add_item((statements.RENEW, values), values.identity)
                future.add_done_callback(functools.partial(_apply_renewal, lease, now))
        if self._leases:
            self._schedule_renewal()

    def start_pruning(self, time: PruneTime, keep_bodies: float, keep_entries: float) -> bool:
        """Start pruning in the background; return False if it is already running."""
        if self._pruning_task is not None and not self._pruning_task.done():
            return False
        work = self._prune_entries(time, keep_bodies, keep_entries)
        self._pruning_task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        return True

    async def _prune_entries(self, time: PruneTime, keep_bodies: float, keep_entries: float) -> None:
        try:
            await self.queries.prune_if_due(time, keep_bodies, keep_entries)
        except JournalError as error:
            _LOG.warning("the journal could not be pruned; retrying in an hour: %s", error)

    async def aclose(self) -> None:
        """Release all leases and close the connections."""
        if self._pruning_task is not None:
            await end_task(self._pruning_task)
        for identity in list(self._leases):
            self.release(identity)
            self._on_key_dropped(identity)
        # First: a claim that was abandoned is released, which is a write.
        await self._claim_queue.aclose()
        await asyncio.gather(self._write_queue.aclose(), self._query_queue.aclose())


async def _run_queries(connection: AsyncConnection[Any], queries: Sequence[Query]) -> list[Any]:
    return [await query(connection) for query in queries]


def _make_values(entry: JournalEntry, lease: Lease | None) -> RowValues:
    if lease is None:
        return RowValues(entry.identity, None, entry)
    ages = (
        statements.seconds_since(entry.first_sent, lease.clock),
        statements.seconds_since(entry.last_sent, lease.clock),
    )
    return RowValues(entry.identity, lease.token, entry, *ages)


def _apply_renewal(lease: Lease, started_at: float, future: asyncio.Future[bool]) -> None:
    if future.cancelled() or future.exception() is not None:
        return
    if future.result():
        lease.renewed_at = max(lease.renewed_at, started_at)
    elif not lease.ended:
        lease.lost = True
        _LOG.warning("the lease on key %s expired: this call sends nothing more under it", lease.identity.key)


def _log_late_write(entry: JournalEntry, future: asyncio.Future[bool]) -> None:
    error = None if future.cancelled() else future.exception()
    if error is not None:
        _LOG.error("%s: the outcome of key %s was not recorded: %s", entry.endpoint, entry.identity.key, error)


def _retrieve_exception(future: asyncio.Future[bool]) -> None:
    if not future.cancelled():
        future.exception()  # asyncio logs an exception that was never retrieved


def _key_taken_error(identity: KeyIdentity) -> JournalError:
    return JournalError(
        f"another process has claimed the key {identity.key!r}, or its lease has expired; call again under the same key"
    )
