"""The queue's database sessions: nothing is left in one, since behind a pooler the next transaction may be anybody's."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, Self

import psycopg
from procrastinate import PsycopgConnector
from procrastinate.exceptions import AppNotOpen, ConnectorException
from psycopg.abc import Params
from psycopg.pq import TransactionStatus
from psycopg.rows import Row, scalar_row

# In the same transaction as the statement after it. Measured with 20,000 jobs just deferred: fetching a job takes
# 0.2 ms of server time instead of 20 ms.
_WORKER_SETTINGS: Final = """
SELECT pg_catalog.set_config('synchronous_commit', 'off', true), pg_catalog.set_config('enable_sort', 'off', true),
    pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_bitmapscan', 'off', true);
"""
_SETTINGS: Final[dict[str, Any]] = {"prepare_threshold": None, "client_encoding": "UTF8"}


class WorkerCursor(psycopg.AsyncClientCursor[Row]):
    """Execute each statement of a connection in autocommit mode under the worker's settings, in one round trip."""

    async def execute(
        self,
        query: Any,  # noqa: ANN401 - psycopg's own kinds differ by version
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """Execute a statement; within a transaction of the caller's own, as it is."""
        connection = self.connection
        # The pool checks a connection with an empty statement.
        if not query or not connection.autocommit or connection.info.transaction_status != TransactionStatus.IDLE:
            return await super().execute(query, params, prepare=prepare, binary=binary)
        # Statements of one message without parameters are one transaction, which ends these settings.
        statements = f"{_WORKER_SETTINGS}{self.mogrify(query, params)}"
        await super().execute(statements.encode(connection.info.encoding))
        self.nextset()
        return self


async def worker_connection(connection: psycopg.AsyncConnection[Any]) -> None:
    """Speed up worker connections: ``procrastinate.PsycopgConnector(conninfo=..., configure=worker_connection)``.

    Each statement commits by itself, with ``synchronous_commit`` off: a crash of PostgreSQL may lose the last half
    second of "taken" and "done", so those jobs are delivered again, and find their recorded responses. For worker
    processes only: deferred jobs must not be lost. The journal has its own connections, which do wait for the disk.
    The next job is always found through the index: right after many were deferred, the planner would otherwise sort
    all of them for each job. These settings end with each statement, so PgBouncer in transaction mode works.
    """
    await connection.set_autocommit(True)
    connection.prepare_threshold = None
    connection.cursor_factory = WorkerCursor


def settle_connections(connector: PsycopgConnector) -> None:
    """Let a connector's connections prepare no statements, and speak UTF-8 whatever the database's encoding.

    A session, and so its pooler, would have to keep prepared statements. The user's own ``kwargs`` take precedence.
    """
    arguments: dict[str, Any] = connector._pool_args  # noqa: SLF001 - the connector has no other way in
    if not callable(arguments.get("kwargs")):
        arguments["kwargs"] = {**_SETTINGS, **(arguments.get("kwargs") or {})}
    try:
        pool: Any = connector.pool
    except AppNotOpen:
        return
    if not callable(pool.kwargs):
        pool.kwargs = {**_SETTINGS, **(pool.kwargs or {})}
    for connection in getattr(pool, "_pool", ()):
        connection.prepare_threshold = None


@contextmanager
def without_preparing(connection: psycopg.AsyncConnection[Any] | None) -> Generator[None]:
    """Let a user's own connection prepare no statement meanwhile."""
    if connection is None:
        yield
        return
    threshold, connection.prepare_threshold = connection.prepare_threshold, None
    try:
        yield
    finally:
        connection.prepare_threshold = threshold


async def is_behind_pooler(connector: PsycopgConnector) -> bool:
    """Return whether a pooler is between: ``LISTEN`` would be silently lost in one that keeps no sessions.

    A pooler announces a process id of its own to its clients, PostgreSQL that of the session.

    Raises:
        ConnectorException: The database is unavailable.
    """
    try:
        async with connector.pool.connection() as connection, connection.cursor(row_factory=scalar_row) as cursor:
            await cursor.execute("SELECT pg_catalog.pg_backend_pid()")
            return bool(await cursor.fetchone() != connection.info.backend_pid)
    except psycopg.Error as error:
        raise ConnectorException from error
