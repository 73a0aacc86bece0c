"""A queue in the run's private PostgreSQL, with a scripted server to work on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import attrs
import procrastinate
import pytest
from procrastinate.schema import SchemaManager

from bardge_async import BardgeClient, Operation, PostgresJournal, RetryPolicy
from bardge_async.integrations.procrastinate import BardgeQueue, worker_connection
from tests.support.postgres import Database
from tests.support.rig import PURCHASE
from tests.support.server import ScriptedServer, Step

JOB = "renewals-2026-11"
ONCE = RetryPolicy(max_attempts=1, base=0)


def make_purchase(number: int = 0) -> Operation[Any, Any]:
    return Operation("credits.purchase", request=PURCHASE, id=f"order-{number}")


def make_connector(dsn: str) -> procrastinate.PsycopgConnector:
    return procrastinate.PsycopgConnector(conninfo=dsn, configure=worker_connection, min_size=1, max_size=4)


@attrs.frozen
class QueueRig:
    """A queue, its database, and a server that plays a script."""

    database: Database
    app: procrastinate.App
    queue: BardgeQueue
    server: ScriptedServer
    opened: list[str]

    @property
    def request_count(self) -> int:
        return len(self.server.requests)

    @property
    def keys(self) -> set[str | None]:
        return {request.headers.get("idempotency-key") for request in self.server.requests}

    def open_client(self) -> AbstractAsyncContextManager[BardgeClient]:
        return open_worker_client(self.database.dsn, self.server.base_url, self.opened)

    async def run_worker(self) -> None:
        """Run a worker until no job is due."""
        await self.queue.run_worker(wait=False, signals=False)

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        found = self.database.admin.execute(sql.encode(), values)
        return found.fetchall() if found.description else []

    def read_statuses(self) -> list[str]:
        return [status for (status,) in self.query("SELECT status::text FROM procrastinate_jobs ORDER BY id")]

    def redeliver_jobs(self) -> None:
        """Make every job due again, as after a worker's death."""
        self.query("UPDATE procrastinate_jobs SET status = 'todo', scheduled_at = NULL")


@asynccontextmanager
async def open_worker_client(dsn: str, base_url: str, opened: list[str]) -> AsyncGenerator[BardgeClient]:
    """Make a worker's client and its journal, and record when they are opened and closed."""
    async with (
        PostgresJournal(dsn) as journal,
        BardgeClient("key", base_url, journal=journal, retry=ONCE, timeout=5) as bardge,
    ):
        opened.append("opened")
        yield bardge
        opened.append("closed")


Make: TypeAlias = Callable[..., AbstractAsyncContextManager[QueueRig]]


@pytest.fixture
def make(postgres: Database) -> Make:
    """Return a function that opens a queue over emptied tables, with a server that plays a script."""
    if postgres.admin.execute("SELECT to_regclass('procrastinate_jobs') IS NULL").fetchone() == (True,):
        postgres.admin.execute(SchemaManager.get_schema().encode())
    postgres.admin.execute("TRUNCATE procrastinate_jobs, procrastinate_workers, procrastinate_events CASCADE")
    postgres.clear()

    @asynccontextmanager
    async def open_rig(*script: Step, port: int | None = None) -> AsyncGenerator[QueueRig]:
        dsn = postgres.dsn if port is None else postgres.dsn.replace(f":{postgres.server.port}", f":{port}")
        app = procrastinate.App(connector=make_connector(dsn))
        async with ScriptedServer(*script) as server, app.open_async():
            notes: list[str] = []
            queue = BardgeQueue(app, lambda: open_worker_client(dsn, server.base_url, notes))
            yield QueueRig(postgres, app, queue, server, notes)

    return open_rig


async def wait_until(reached: Callable[[], bool]) -> None:
    """Wait until other processes or the database have made a condition true."""
    async with asyncio.timeout(30):
        while not reached():  # noqa: ASYNC110 - there is no signal to wait for
            await asyncio.sleep(0.01)
