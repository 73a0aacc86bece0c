"""What a worker says of what it waits for, and what ends it."""

from __future__ import annotations

import asyncio
from typing import Any

import procrastinate
import psycopg
import psycopg_pool
import pytest
from procrastinate.exceptions import ConnectorException

from bardge_async import ConfigurationError, JournalError
from bardge_async.integrations.procrastinate import BardgeQueue, Progress, WorkerEvent
from bardge_async.integrations.procrastinate._waiting import WaitReporter, describe_outage
from bardge_async.integrations.procrastinate._worker import is_journal_refused
from tests.queue.conftest import JOB, Make, make_connector, make_purchase, open_worker_client
from tests.support.postgres import Database
from tests.support.server import reply

DONE = reply(payload={"balance": 5})


class Recorder:
    """Record a reporter's events under a clock of the test's own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[tuple[str, str | None]] = []
        self.reporter = WaitReporter(self.add, lambda: self.now)

    def add(self, event: WorkerEvent) -> None:
        self.events.append((event.event, event.cause))


def test_a_wait_is_reported_immediately_and_every_30_seconds() -> None:
    """One report, then one for every 30 seconds that it lasts, with the latest cause."""
    it = Recorder()
    it.reporter.wait_for("queue", "away")
    for second in range(1, 70):
        it.now = second
        it.reporter.wait_for("queue", f"away since {second}")
        it.reporter.repeat()
    assert it.events == [("waiting", "away"), ("waiting", "away since 30"), ("waiting", "away since 60")]


def test_causes_are_reported_together_and_the_end_once() -> None:
    """Of several things that are waited for, the last one that returns ends the wait."""
    it = Recorder()
    it.reporter.wait_for("queue", "one")
    it.reporter.wait_for("journal", "two")
    it.now = 30
    it.reporter.repeat()
    it.reporter.resume("queue")
    it.reporter.resume("queue")
    it.reporter.resume("journal")
    it.reporter.repeat()
    assert it.events == [("waiting", "one"), ("waiting", "one; two"), ("working", None)]


def test_the_next_wait_is_reported_immediately() -> None:
    """A new wait does not have to be 30 seconds after the last report."""
    it = Recorder()
    it.reporter.wait_for("queue", "one")
    it.reporter.resume("queue")
    it.reporter.wait_for("queue", "two")
    assert [event for event, _ in it.events] == ["waiting", "working", "waiting"]


PERMANENT = [
    psycopg.errors.InsufficientPrivilege("permission denied for table procrastinate_jobs"),
    psycopg.errors.UndefinedTable('relation "procrastinate_jobs" does not exist'),
    psycopg.errors.UndefinedFunction("function procrastinate_fetch_job_v2 does not exist"),
    psycopg.errors.InvalidPassword("no"),
    psycopg.OperationalError('connection failed: FATAL:  password authentication failed for user "a"'),
    psycopg.OperationalError('connection failed: FATAL:  database "nope" does not exist'),
    psycopg.OperationalError('connection failed: FATAL:  role "nope" does not exist'),
    psycopg.OperationalError('FATAL:  no pg_hba.conf entry for host "127.0.0.1"'),
]
PASSING = [
    psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT in a read-only transaction"),
    psycopg.errors.TooManyConnections("sorry, too many clients already"),
    psycopg.errors.CannotConnectNow("the database system is starting up"),
    psycopg.errors.AdminShutdown("terminating connection due to administrator command"),
    psycopg.OperationalError("connection failed: Connection refused"),
    psycopg.OperationalError("connection failed: FATAL:  sorry, too many clients already"),
    psycopg_pool.PoolTimeout("couldn't get a connection after 10.00 sec"),
]


@pytest.mark.parametrize("error", [*PERMANENT, *PASSING], ids=str)
def test_what_passes_by_itself(error: psycopg.Error) -> None:
    """Only a person grants a right or corrects a password; a server starts, and a connection comes free."""
    wrapped = ConnectorException()
    wrapped.__cause__ = error
    for one in (error, wrapped):
        outage = describe_outage(one)
        assert (outage.is_permanent, outage.cause) == (error in PERMANENT, str(error).splitlines()[0])


@pytest.mark.parametrize(
    ("cause", "refused"),
    [
        ("the journal's database refused: permission denied for schema bardge", True),
        ("the journal's database refused the connection, correct dsn= or rights: password authentication failed", True),
        ("the journal's database cannot be reached, start it or check dsn=: Connection refused", False),
        ("timed out waiting for the journal's database; check that it is running, and dsn=", False),
    ],
)
def test_a_journal_that_is_away_was_not_refused(cause: str, *, refused: bool) -> None:
    """An outage in which the system refuses connections passes; a right that the database refuses does not."""
    assert is_journal_refused(JournalError(cause)) is refused


async def work(queue: BardgeQueue, events: list[WorkerEvent], **options: Any) -> None:
    async with asyncio.timeout(60):
        await queue.run_worker(signals=False, on_event=events.append, **options)


async def test_a_worker_reports_its_start_and_end(make: Make) -> None:
    events: list[WorkerEvent] = []
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        await work(rig.queue, events, wait=False)
    assert [(one.event, one.cause) for one in events] == [("started", None), ("stopped", None)]
    assert all(one.at.tzinfo is not None for one in events)


@pytest.mark.parametrize("table", ["procrastinate_jobs", "procrastinate_workers"])
async def test_a_worker_without_rights_on_the_queue_ends(make: Make, table: str) -> None:
    """A missing right does not come back by itself: the worker says so and ends, whichever task meets it."""
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        rig.query("DROP ROLE IF EXISTS worker")
        rig.query("CREATE ROLE worker LOGIN SUPERUSER")
        try:
            await _work_without(rig.database, rig.server.base_url, table)
        finally:
            rig.query("REASSIGN OWNED BY worker TO bardge; DROP OWNED BY worker; DROP ROLE worker")
        assert rig.request_count == 0


def grant_all(database: Database, role: str) -> None:
    """Grant a role all on the tables, in whichever schema they are: the owner's own name is one, once it exists."""
    database.admin.execute(f"ALTER ROLE {role} SET search_path = bardge, public".encode())
    found = database.admin.execute("SELECT nspname FROM pg_namespace WHERE nspname IN ('bardge', 'public')")
    for (schema,) in found.fetchall():
        for what in ("SCHEMA", "ALL TABLES IN SCHEMA", "ALL SEQUENCES IN SCHEMA"):
            database.admin.execute(f"GRANT ALL ON {what} {schema} TO {role}".encode())


async def _work_without(database: Database, base_url: str, table: str) -> None:
    grant_all(database, "worker")
    dsn = database.dsn.replace("bardge@", "worker@")
    app = procrastinate.App(connector=make_connector(dsn))
    async with app.open_async():
        queue = BardgeQueue(app, lambda: open_worker_client(database.dsn, base_url, []))
        database.admin.execute("ALTER ROLE worker NOSUPERUSER")
        database.admin.execute(f"REVOKE ALL ON {table} FROM worker".encode())
        with pytest.raises(ConfigurationError, match=f"permission denied for table {table}"):
            await work(queue, [])


async def test_a_worker_whose_journal_is_refused_ends(make: Make) -> None:
    """Missing rights on the journal's tables end it before it has taken a job."""
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        rig.query("DROP ROLE IF EXISTS stranger")
        rig.query("CREATE ROLE stranger LOGIN")
        dsn = rig.database.dsn.replace("bardge@", "stranger@")
        queue = BardgeQueue(rig.app, lambda: open_worker_client(dsn, rig.server.base_url, []), queue="another")
        with pytest.raises(JournalError, match="permission denied"):
            await work(queue, [], wait=False)
        rig.query("DROP ROLE stranger")


async def test_a_worker_waits_while_its_journal_is_read_only(make: Make) -> None:
    """A standby may become the primary: the cause is reported, and the work is done once it is."""
    events: list[WorkerEvent] = []
    async with make(DONE) as rig:
        await rig.queue.defer(make_purchase(), job=JOB)
        rig.query("ALTER DATABASE postgres SET default_transaction_read_only = on")
        try:
            task = asyncio.create_task(work(rig.queue, events, wait=False))
            async with asyncio.timeout(40):
                while not events:  # noqa: ASYNC110 - there is no signal to wait for
                    await asyncio.sleep(0.05)
        finally:
            rig.query("SET default_transaction_read_only = off")
            rig.query("ALTER DATABASE postgres RESET default_transaction_read_only")
        await task
        assert rig.read_statuses() == ["succeeded"]
    assert [one.event for one in events] == ["waiting", "working", "started", "stopped"]
    assert "read-only" in (events[0].cause or "")


async def test_a_cancelled_job_stays_cancelled(make: Make) -> None:
    """What a person cancelled is neither failed nor resumed, and is counted apart."""
    async with make(DONE) as rig:
        cancelled = await rig.queue.defer(make_purchase(1), job=JOB)
        aborted = await rig.queue.defer(make_purchase(2), job=JOB)
        assert await rig.app.job_manager.cancel_job_by_id_async(cancelled)
        rig.query("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = %s", aborted)
        rig.query("UPDATE procrastinate_jobs SET status = 'aborted' WHERE id = %s", aborted)
        assert await rig.queue.resume(JOB, retry_refused=True) == 0
        await rig.run_worker()
        progress = await rig.queue.progress(JOB)
    assert (progress, rig.request_count) == (Progress(0, 0, 0, 0, cancelled=2), 0)


async def test_a_job_cancelled_while_it_waits_for_a_retry_stays_cancelled(make: Make) -> None:
    """Its place in the retries ends with it."""
    async with make(DONE) as rig:
        rig.server.refuse()
        number = await rig.queue.defer(make_purchase(), job=JOB)
        await rig.run_worker()
        assert await rig.app.job_manager.cancel_job_by_id_async(number)
        await rig.server.reopen()
        assert await rig.queue.resume(JOB) == 0
        await rig.run_worker()
        assert (rig.read_statuses(), rig.request_count) == (["cancelled"], 0)


async def test_workers_that_compete_for_connections_all_end(make: Make) -> None:
    """Three workers share ten connections: none holds some for ever while it waits for those of the others."""
    async with make(DONE) as rig:
        await rig.queue.defer_many([make_purchase(number) for number in range(30)], job=JOB)
        async with rig.open_client() as bardge:
            await bardge.in_doubt()  # creates the journal's tables
        rig.query("CREATE ROLE crowd LOGIN CONNECTION LIMIT 10")
        rig.query("GRANT CREATE ON DATABASE postgres TO crowd")
        grant_all(rig.database, "crowd")
        dsn = rig.database.dsn.replace("bardge@", "crowd@")
        try:
            async with asyncio.timeout(120), asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(_work_off(dsn, rig.server.base_url))
        finally:
            rig.query("REASSIGN OWNED BY crowd TO bardge; DROP OWNED BY crowd; DROP ROLE crowd")
        assert (set(rig.read_statuses()), rig.request_count) == ({"succeeded"}, 30)


async def _work_off(dsn: str, base_url: str) -> None:
    """Run a worker until no job is due; again if a job was to be retried later."""
    app = procrastinate.App(connector=make_connector(dsn))
    async with app.open_async():
        queue = BardgeQueue(app, lambda: open_worker_client(dsn, base_url, []))
        while (await queue.progress(JOB)).waiting:
            await queue.run_worker(wait=False, signals=False)
