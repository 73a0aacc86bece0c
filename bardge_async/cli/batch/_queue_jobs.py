"""Commands for a queue in PostgreSQL: worker, status, resume, doubts, resolve."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar, cast

import attrs

from bardge_async._client import BardgeClient
from bardge_async._core.secret import Secret
from bardge_async._journal import PostgresJournal
from bardge_async._limits import PostgresLimiter
from bardge_async.cli import _journal as journals
from bardge_async.cli._api_key import find_api_key, provide_no_key, require_api_key
from bardge_async.cli.batch._errors import CommandError, UsageError
from bardge_async.cli.batch._terminal import Output, silence_loggers
from bardge_async.errors import ConfigurationError

try:
    import procrastinate
    import psycopg
    from procrastinate.exceptions import ConnectorException
    from procrastinate.schema import SchemaManager

    from bardge_async._postgres.causes import describe_cause
    from bardge_async._postgres.dsn import check_dsn
    from bardge_async.integrations.procrastinate import BardgeQueue, WorkerEvent, worker_connection
    from bardge_async.integrations.procrastinate._waiting import WaitReporter, find_outage
except ModuleNotFoundError as error:
    raise UsageError(
        f"A queue needs an extra: {error.name} is missing.", "pip install 'bardge-async[cli,procrastinate]'"
    ) from None

T = TypeVar("T")

_LOCK: Final = 0x42415244_51554555  # "BARDQUEU"
_MIN_CONNECTIONS: Final = 100
_POOL_SIZE: Final = 4
# In seconds.
_POOL_TIMEOUT: Final = 10.0
_START_PAUSE: Final = 2.0


@attrs.frozen(kw_only=True)
class WorkerCommand:
    """The options of a worker."""

    # The names are those of click's parameters, which are passed on as keywords.
    queue: Secret
    base_url: str
    account: str
    concurrency: int = 25
    rate: float | None = None
    until_done: bool = False
    delete_done: bool = False
    key_from_stdin: bool = False
    as_json: bool = False


@attrs.frozen
class QueuedJob:
    """One job in a queue, for one server and account."""

    queue: Secret
    name: str
    base_url: str
    account: str


def run_database_work(work: Callable[[], Awaitable[T]]) -> T:
    """Run work that uses the database; database errors become a message.

    Raises:
        CommandError: The database is unreachable or reports an error.
    """

    async def await_work() -> T:
        return await work()

    try:
        return asyncio.run(await_work())
    except (ConnectorException, psycopg.Error) as error:
        cause = describe_cause(error.__cause__ or error)
    # Raised outside of the handler: the frames of psycopg's errors hold the connection string.
    raise CommandError(f"The queue's database: {cause}.", "Start it, or correct --queue.")


@asynccontextmanager
async def open_queue(
    dsn: Secret,
    client: Callable[[], Any],
    configure: Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]] | None = None,
) -> AsyncGenerator[BardgeQueue]:
    """Open a queue; create its tables if they are missing."""
    _check_queue_url(dsn)
    await _create_tables(dsn)
    app = _make_app(dsn, configure)
    async with app.open_async():
        yield BardgeQueue(app, client)


def _check_queue_url(dsn: Secret) -> None:
    problem = None
    try:
        check_dsn(dsn)
    except ConfigurationError as error:
        problem = str(error)
    if problem is not None:
        raise UsageError(f"{problem.replace('dsn:', '--queue:', 1)}.")


def _make_app(
    dsn: Secret, configure: Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]] | None
) -> procrastinate.App:
    # One connection to begin with: a database that has no more for now then serves other workers, too.
    connector = procrastinate.PsycopgConnector(
        conninfo=str(dsn), configure=configure, min_size=1, max_size=_POOL_SIZE, timeout=_POOL_TIMEOUT
    )
    return procrastinate.App(connector=connector)


async def _open_when_possible(dsn: Secret, reporter: WaitReporter) -> procrastinate.App:
    """Open a worker's app, waiting while the database is away or has no free connection.

    Raises:
        psycopg.Error: The database refuses, which cannot pass by itself.
    """
    while True:
        app = _make_app(dsn, worker_connection)
        try:
            await _create_tables(dsn)
            await app.open_async()
        except psycopg.Error as error:
            outage = await find_outage(cast("procrastinate.PsycopgConnector", app.connector), error)
            if outage.is_permanent:
                raise
            reporter.wait_for("queue", f"the queue's database: {outage.cause}")
            await asyncio.sleep(_START_PAUSE)
        else:
            reporter.resume("queue")
            return app


async def _create_tables(dsn: Secret) -> None:
    async with await psycopg.AsyncConnection.connect(str(dsn), connect_timeout=10) as connection:
        # Workers that start together would otherwise all create the tables.
        await connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s)", (_LOCK,))
        found = await connection.execute("SELECT pg_catalog.to_regclass('procrastinate_jobs') IS NOT NULL")
        if await found.fetchone() != (True,):
            await connection.execute(SchemaManager.get_schema())


def reject_client() -> Any:
    """Raise an error: the command needs no client."""
    raise UsageError("This command runs no operations.")


def run_worker(command: WorkerCommand, output: Output) -> int:
    """Run a worker until it is stopped."""
    key = require_api_key(find_api_key(command.account, from_stdin=command.key_from_stdin), command.account)

    def show_event(event: WorkerEvent) -> None:
        _show_event(event, command, output)

    async def work_on_queue() -> None:
        _check_queue_url(command.queue)
        app = await _open_when_possible(command.queue, WaitReporter(show_event))
        try:
            await BardgeQueue(app, lambda: _open_worker_client(command, key)).run_worker(
                concurrency=command.concurrency,
                wait=not command.until_done,
                delete_done=command.delete_done,
                on_event=show_event,
            )
        finally:
            await app.close_async()

    try:
        with silence_loggers("procrastinate", "psycopg"):
            run_database_work(work_on_queue)
    except Exception as error:
        if command.as_json:
            show_event(WorkerEvent("failed", dt.datetime.now(dt.UTC), str(error)))
        raise
    return 0


@asynccontextmanager
async def _open_worker_client(command: WorkerCommand, key: Secret) -> AsyncGenerator[BardgeClient]:
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(PostgresJournal(command.queue))
        limiter = None
        if command.rate is not None:
            name = f"{command.base_url} {command.account}"
            limiter = await stack.enter_async_context(PostgresLimiter(command.queue, name, command.rate))
        yield await stack.enter_async_context(
            BardgeClient(
                key,
                command.base_url,
                account=command.account,
                journal=journal,
                limiter=limiter,
                max_connections=max(_MIN_CONNECTIONS, command.concurrency),
            )
        )


def _show_event(event: WorkerEvent, command: WorkerCommand, output: Output) -> None:
    """Print an event: a JSON object on standard output if requested, else a line on standard error."""
    if command.as_json:
        value = {"event": event.event, "at": event.at.isoformat(), "cause": event.cause}
        attrs.evolve(output, as_json=True).write_result(value)
        return
    lines = {
        "started": f"Working for {command.base_url}, up to {command.concurrency} requests in flight; "
        "Ctrl-C completes these and stops.",
        "waiting": f"Waiting: {event.cause}",
        "working": "Working again.",
        "stopped": "Stopped: the requests in flight were completed.",
    }
    output.write_message(lines[event.event])


def show_status(job: QueuedJob, output: Output) -> int:
    """Print the progress of a job, over all workers."""

    async def fetch_counts() -> dict[str, int]:
        async with open_queue(job.queue, reject_client) as queue, _open_reading_client(job) as bardge:
            progress = await queue.progress(job.name)
            return {**attrs.asdict(progress), "in_doubt": len(await queue.doubts(job.name, bardge))}

    counts = run_database_work(fetch_counts)
    if not sum(counts.values()):
        raise UsageError(f"No job is named {job.name!r:.120} in this queue.")
    names = {name: name.replace("_", " ") for name in counts}
    line = ", ".join(f"{label} {counts[name]:,}" for name, label in names.items())
    output.write_result({"job": job.name, "counts": counts}, [f"{job.name}: {line}"])
    return 0


def resume_job(job: QueuedJob, output: Output, changes: dict[str, Any]) -> int:
    """Put a job's failed operations back into the queue."""
    if unsupported := changes.keys() - {"retry_refused", "yes"}:
        raise UsageError(
            f"--{min(unsupported).replace('_', '-')} is only for jobs on this machine; a worker has its own options."
        )

    async def requeue_failed() -> int:
        async with open_queue(job.queue, reject_client) as queue:
            return await queue.resume(job.name, retry_refused=changes.get("retry_refused", False))

    count = run_database_work(requeue_failed)
    output.write_result(
        {"job": job.name, "put_back": count}, [f"{job.name}: {count:,} operations are back in the queue."]
    )
    return 0


def list_doubts(job: QueuedJob, output: Output) -> int:
    """List a job's operations in doubt."""
    found = _read_doubts(job)
    lines = [f"id {one['id']}  sent {one['first_sent_at']}  key {one['key']}" for one in found]
    if lines:
        lines.append(
            "Resolve each with: bardge batch resolve JOB ID --queue URL --done | --never-happened | --by-evidence"
        )
    output.write_result(found, lines or ["Nothing is in doubt."])
    return 0


def resolve_doubt(job: QueuedJob, output: Output, id_or_key: str, choices: dict[str, bool]) -> int:
    """Resolve the doubt of an id or key; ``resume`` then lets its job continue."""
    keys = [one["key"] for one in _read_doubts(job) if id_or_key in {one["id"], one["key"]}]
    if not keys:
        raise CommandError(
            f"{id_or_key!r:.120} is not in doubt.", "List the doubts with: bardge batch doubts JOB --queue URL"
        )
    key = find_api_key(job.account, from_stdin=False)
    journals.resolve_entry(
        journals.JournalTarget(job.queue, output.as_json, job.account, job.base_url, key), keys[0], choices
    )
    return 0


def _read_doubts(job: QueuedJob) -> list[dict[str, str]]:
    async def fetch_doubts() -> list[dict[str, str]]:
        async with open_queue(job.queue, reject_client) as queue, _open_reading_client(job) as bardge:
            return [
                {
                    "id": one.id,
                    "key": one.doubt.idempotency_key,
                    "endpoint": one.doubt.endpoint,
                    "first_sent_at": one.doubt.first_sent_at.isoformat(),
                }
                for one in await queue.doubts(job.name, bardge)
            ]

    return run_database_work(fetch_doubts)


@asynccontextmanager
async def _open_reading_client(job: QueuedJob) -> AsyncGenerator[BardgeClient]:
    """Open a client that reads the journal and sends nothing."""
    async with (
        PostgresJournal(job.queue) as journal,
        BardgeClient(provide_no_key, job.base_url, account=job.account, journal=journal) as bardge,
    ):
        yield bardge
