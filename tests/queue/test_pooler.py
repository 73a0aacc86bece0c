"""A queue behind PgBouncer in transaction mode, which keeps no sessions: no user setting is needed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import procrastinate
import psycopg
import pytest
from procrastinate.schema import SchemaManager

from bardge_async.integrations.procrastinate import BardgeQueue, Progress, worker_connection
from bardge_async.integrations.procrastinate._sessions import WorkerCursor
from tests.queue.conftest import JOB, make_purchase, open_worker_client, wait_until
from tests.support.postgres import Database, Pooler, open_pooler
from tests.support.server import ScriptedServer, reply

DONE = reply(201, {"balance": 5})
COUNT = 40
"""More than it takes for psycopg to prepare each statement on each connection."""


@pytest.fixture
def pooler(postgres: Database) -> Iterator[Pooler]:
    """A pooler with PgBouncer's own default: what is set in a session stays there for the next client."""
    if postgres.admin.execute(b"SELECT to_regclass('procrastinate_jobs') IS NULL").fetchone() == (True,):
        postgres.admin.execute(SchemaManager.get_schema().encode())
    postgres.admin.execute(b"TRUNCATE procrastinate_jobs, procrastinate_workers, procrastinate_events CASCADE")
    postgres.clear()
    with open_pooler(postgres.server, stateless=False) as it:
        yield it


@attrs.frozen
class Pooled:
    """A queue and its app behind a pooler."""

    app: procrastinate.App
    queue: BardgeQueue
    server: ScriptedServer


@asynccontextmanager
async def open_pooled(dsn: str, *, open_first: bool = False, **options: Any) -> AsyncGenerator[Pooled]:
    """Open a queue as its documentation shows; ``open_first`` opens the app before the queue is made."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, min_size=2, max_size=2, **options))
    async with ScriptedServer(DONE) as server:

        def make_queue() -> BardgeQueue:
            return BardgeQueue(app, lambda: open_worker_client(dsn, server.base_url, []))

        queue = None if open_first else make_queue()
        async with app.open_async():
            yield Pooled(app, queue or make_queue(), server)


@pytest.mark.parametrize("options", [{}, {"configure": worker_connection}, {"kwargs": {"connect_timeout": 5}}])
@pytest.mark.parametrize("open_first", [False, True])
async def test_jobs_through_a_pooler(pooler: Pooler, options: dict[str, Any], *, open_first: bool) -> None:
    """Jobs are deferred, executed once and counted, with or without settings of the user's own."""
    async with open_pooled(pooler.dsn, open_first=open_first, **options) as it:
        for number in range(6):
            await it.queue.defer(make_purchase(number), job=JOB)
        await it.queue.defer_many((make_purchase(number) for number in range(6, COUNT)), job=JOB)
        await it.queue.run_worker(wait=False, signals=False)
        for _ in range(6):
            assert await it.queue.progress(JOB) == Progress(waiting=0, running=0, done=COUNT, failed=0)
        assert len(it.server.requests) == COUNT


async def test_users_own_connection(pooler: Pooler) -> None:
    """Operations that are deferred in the user's own transactions prepare nothing; the connection stays as it was."""
    async with (
        open_pooled(pooler.dsn) as it,
        await psycopg.AsyncConnection[Any].connect(pooler.dsn, prepare_threshold=0) as own,
    ):
        for number in range(8):
            await it.queue.defer(make_purchase(number), job=JOB, connection=own)
            await own.commit()
        assert own.prepare_threshold == 0
        assert (await it.queue.progress(JOB)).waiting == 8


async def test_polls_instead_of_listening(postgres: Database, pooler: Pooler, caplog: pytest.LogCaptureFixture) -> None:
    """A worker behind a pooler does not ``LISTEN``, which would be lost, and says so; it finds jobs by polling."""
    caplog.set_level(logging.INFO, "bardge_async")
    async with open_pooled(pooler.dsn) as it:
        working = asyncio.create_task(it.queue.run_worker(signals=False))
        await it.queue.defer(make_purchase(), job=JOB)
        while not it.server.requests:  # noqa: ASYNC110 - the worker polls every 5 s
            await asyncio.sleep(0.05)
        working.cancel()
        await asyncio.wait([working])
    assert any("behind a pooler: polling" in text for text in caplog.messages)
    listening = postgres.admin.execute(b"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    assert listening.fetchone() == (0,)


async def test_worker_settings_end_with_their_statement(pooler: Pooler) -> None:
    """What speeds a worker up holds for each of its statements, and is left in no session."""
    names = ("synchronous_commit", "enable_sort", "enable_seqscan", "enable_bitmapscan")
    query = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names) + ", %s::text"
    async with await psycopg.AsyncConnection[Any].connect(pooler.dsn, prepare_threshold=None) as plain:
        before = await (await plain.execute(query.encode(), ("é'%",))).fetchone()
        await plain.commit()
        async with await psycopg.AsyncConnection[Any].connect(pooler.dsn) as tuned:
            await worker_connection(tuned)
            assert tuned.cursor_factory is WorkerCursor
            found = await (await tuned.execute(query.encode(), ("é'%",))).fetchone()
        for _ in range(4):
            assert await (await plain.execute(query.encode(), ("é'%",))).fetchone() == before
            await plain.commit()
    assert found == ("off", "off", "off", "off", "é'%")


async def test_worker_settings_in_a_transaction(pooler: Pooler) -> None:
    """Statements of a transaction that a worker connection opens itself run as they are."""
    async with await psycopg.AsyncConnection[Any].connect(pooler.dsn) as tuned:
        await worker_connection(tuned)
        before = await (await tuned.execute("SELECT 1 AS one")).fetchone()
        async with tuned.transaction():
            found = await (await tuned.execute("SHOW enable_sort")).fetchone()
    assert (before, found) == ((1,), ("on",))


async def test_pooler_killed_twice(pooler: Pooler) -> None:
    """A pooler that is killed twice while a worker works: every job is done, each is sent once."""
    async with open_pooled(pooler.dsn) as it:
        await it.queue.defer_many((make_purchase(number) for number in range(COUNT)), job=JOB)
        working = asyncio.create_task(it.queue.run_worker(concurrency=2, signals=False))
        for part in (COUNT // 4, COUNT // 2):
            await wait_for_requests(it.server, part)
            pooler.kill()
            await asyncio.sleep(0.2)
            await asyncio.to_thread(pooler.start)
        await wait_for_requests(it.server, COUNT)
        await wait_until(lambda: not working.done())
        working.cancel()
        await asyncio.wait([working])
        keys = [request.headers["idempotency-key"] for request in it.server.requests]
    assert (len(set(keys)), len(keys)) == (COUNT, COUNT)


async def wait_for_requests(server: ScriptedServer, count: int) -> None:
    async with asyncio.timeout(60):
        while len(server.requests) < count:  # noqa: ASYNC110 - other tasks' work
            await asyncio.sleep(0.01)
