"""The queue that the web service defers jobs to and the workers run."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import procrastinate
import psycopg
from bardge_async import BardgeClient, PostgresJournal
from bardge_async.integrations.procrastinate import BardgeQueue
from procrastinate.schema import SchemaManager

JOB = "orders"
Configure = Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]]


def make_queue(
    dsn: str, api_key: str | None = None, base_url: str | None = None, configure: Configure | None = None
) -> tuple[procrastinate.App, BardgeQueue]:
    """Return procrastinate's app, not yet opened, and the queue on it."""

    @asynccontextmanager
    async def client() -> AsyncGenerator[BardgeClient]:
        async with PostgresJournal(dsn) as journal, BardgeClient(api_key, base_url, journal=journal) as bardge:
            yield bardge

    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, configure=configure))
    return app, BardgeQueue(app, client)


async def make_tables(dsn: str) -> None:
    """Create the tables of orders and of the queue, once; the journal creates its own."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.execute(
            "CREATE TABLE orders "
            "(number text PRIMARY KEY, client_id text NOT NULL, package_id text NOT NULL, job bigint)"
        )
        await connection.execute(SchemaManager.get_schema().encode())
