"""The queue's public interface: defer operations, run workers, follow and resume jobs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import procrastinate
import psycopg
from procrastinate.exceptions import AppNotOpen
from procrastinate.job_context import JobContext

from bardge_async._batch import Operation
from bardge_async._batch.stream import OperationStream
from bardge_async._client import BardgeClient
from bardge_async._core.arguments import check_bool, check_int, check_text
from bardge_async._journal import MemoryJournal
from bardge_async.errors import ConfigurationError, InvalidArgumentError, JournalError
from bardge_async.integrations.procrastinate._job import JobArguments, QueuedOperation
from bardge_async.integrations.procrastinate._progress import JobDoubt, Progress
from bardge_async.integrations.procrastinate._retry import NoWorkerError, RetryByError
from bardge_async.integrations.procrastinate._sessions import settle_connections, without_preparing
from bardge_async.integrations.procrastinate._table import JobTable
from bardge_async.integrations.procrastinate._waiting import WaitReporter, WorkerEvent, probe_database
from bardge_async.integrations.procrastinate._worker import Worker, WorkerOptions, check_journal, is_journal_refused

_TASK: Final = "perform"
_CHUNK_SIZE: Final = 1000
_MAX_CONCURRENCY: Final = 1000
_JOURNAL_PAUSE: Final = (0.5, 2.0)
"""Shortest and longest pause, in seconds, before a journal that could not be used is tried again."""


class BardgeQueue:
    """Queue operations in PostgreSQL, and execute them in any number of worker processes, effectively once.

    Each operation has the key ``operation_key(job, endpoint, id)``, as in ``bardge.batch``. A job that is delivered or
    deferred twice finds the recorded response in the journal, or continues with the journal's key and bytes. The
    journal's claim on the key is therefore the lock: procrastinate's ``lock`` and ``queueing_lock`` are not used.

    The queue holds requests with their personal data, and procrastinate logs a job's arguments at INFO: keep the level
    of its logger above INFO. API keys and lookup tokens are never queued.

    Args:
        app: The procrastinate app, with a ``PsycopgConnector`` and its schema applied.
        client: Makes a worker process's client, as ``async with client() as bardge``; its journal must be one that
            all workers share, such as :class:`PostgresJournal`. A process that only defers never calls it.
        queue: The queue's name.

    Raises:
        ConfigurationError: The app has another kind of connector, or an argument has a wrong type.
    """

    def __init__(
        self,
        app: procrastinate.App,
        client: Callable[[], AbstractAsyncContextManager[BardgeClient]],
        *,
        queue: str = "bardge",
    ) -> None:
        connector: object = getattr(app, "connector", app)
        if not isinstance(connector, procrastinate.PsycopgConnector):
            raise ConfigurationError(
                f"app: expected a procrastinate.App with a PsycopgConnector, got {type(connector).__name__}"
            )
        if not callable(client):
            raise ConfigurationError(f"client: expected a callable that makes a client, got {client!r:.40}")
        check_text("queue", queue, ConfigurationError)
        settle_connections(connector)
        self._app = app
        self._connector = connector
        self._client = client
        self._queue = queue
        self._worker: Worker | None = None
        blueprint = procrastinate.Blueprint()
        self._task = blueprint.task(name=_TASK, queue=queue, retry=RetryByError(), pass_context=True)(self._execute_job)
        app.add_tasks_from(blueprint, namespace=queue)
        self._table = JobTable(self._connector, queue, self._task.name)

    async def defer(
        self, operation: Operation[Any, Any], *, job: str, connection: psycopg.AsyncConnection[Any] | None = None
    ) -> int:
        """Defer one operation; return its procrastinate job id.

        Args:
            operation: The operation; it is validated now, as by ``bardge.send``.
            job: The job's name: the same whenever the same operation is deferred.
            connection: Your own connection: the operation is queued if and when its transaction commits.

        Raises:
            InvalidArgumentError: It cannot be sent; nothing was queued.
            procrastinate.exceptions.ConnectorException: The database rejects it, or is unavailable.
        """
        if not isinstance(operation, Operation):
            raise InvalidArgumentError(f"operation: expected Operation(...), got {type(operation).__name__}")
        check_text("job", job)
        _check_connection(connection)
        queued = QueuedOperation.from_operation(operation, job)
        [number] = await self._defer_chunk([queued.to_arguments()], connection)
        return number

    async def defer_many(
        self,
        operations: Iterable[Operation[Any, Any]] | AsyncIterable[Operation[Any, Any]],
        *,
        job: str,
        connection: psycopg.AsyncConnection[Any] | None = None,
    ) -> int:
        """Defer many operations, all or none; return how many.

        The iterable is read 1,000 operations at a time, so a hundred thousand take no more memory than a thousand.
        Deferring the same operations again is harmless: those that are done are not sent again.

        Args:
            operations: Any iterable or async iterable.
            job: The job's name: the same whenever the same operations are deferred.
            connection: Your own connection: the operations are queued if and when its transaction commits.

        Raises:
            InvalidArgumentError: One of them cannot be sent; nothing was queued, unless you commit your transaction.
            procrastinate.exceptions.ConnectorException: The database rejects them, or is unavailable.
        """
        stream = OperationStream(operations)
        check_text("job", job)
        _check_connection(connection)
        if connection is not None:
            return await self._defer_all(stream, job, connection)
        async with self._connector.pool.connection() as own:
            async with own.transaction():
                count = await self._defer_all(stream, job, own)
            if count >= _CHUNK_SIZE:
                # Otherwise jobs are fetched with query plans for an empty table until autovacuum runs.
                await own.execute("ANALYZE procrastinate_jobs")
        return count

    async def run_worker(
        self,
        *,
        concurrency: int = 25,
        wait: bool = True,
        delete_done: bool = False,
        listen: bool = True,
        signals: bool = True,
        on_event: Callable[[WorkerEvent], None] | None = None,
    ) -> None:
        """Execute the queue's jobs in this process until SIGTERM, Ctrl-C or a cancellation; jobs in flight finish.

        The worker opens one client, and closes it at the end. A dead worker is detected after 10 seconds without a
        heartbeat, and any other worker requeues its jobs within 5 more seconds. Doubts whose window is open are
        recovered at the start and every 5 seconds. If the database is unavailable, the worker waits for it.

        Jobs are retried if their error says so; refused operations are not. An operation that stays in doubt ends as
        ``failed`` with :class:`OutcomeUnknownError`, and is listed by :meth:`doubts`.

        Args:
            concurrency: Maximum operations in flight; not above the client's ``max_connections``.
            wait: False ends the worker when no job is due.
            delete_done: Delete jobs that are done, so that the table stays small; the journal keeps the outcome.
            listen: False polls for jobs every 5 seconds instead of holding a ``LISTEN`` connection: for hundreds of
                workers, all of which each job would wake up. Behind a pooler it always polls.
            signals: False installs no handlers for SIGTERM and Ctrl-C.
            on_event: Called when the worker starts, waits for something, resumes and stops.

        Raises:
            ConfigurationError: The client's journal ends with the process, this process already runs a worker, or the
                database refuses what it needs: a wrong password, missing rights or tables.
            BardgeError: An error that would fail every job, such as a wrong API key; the jobs are back in the queue.
        """
        check_int("concurrency", concurrency, 1, _MAX_CONCURRENCY)
        flags = {"wait": wait, "delete_done": delete_done, "listen": listen, "signals": signals}
        for name, value in flags.items():
            check_bool(name, value)
        if on_event is not None and not callable(on_event):
            raise InvalidArgumentError(f"on_event: expected a function or None, got {on_event!r:.40}")
        if self._worker is not None:
            raise ConfigurationError("run_worker: this process already runs one; raise its concurrency instead")
        options = WorkerOptions(self._queue, concurrency, wait, delete_done, listen, signals)
        reporter = WaitReporter(on_event)
        async with self._open_app():
            while not await self._try_to_work(options, reporter):  # noqa: ASYNC110 - a pause, not a condition
                # Apart from other workers that wait for a connection, too: none of them holds any meanwhile.
                await asyncio.sleep(random.uniform(*_JOURNAL_PAUSE))  # noqa: S311
        reporter.report("stopped")

    async def _try_to_work(self, options: WorkerOptions, reporter: WaitReporter) -> bool:
        """Open a client and work until stopped; return False if its journal cannot be used for now."""
        async with self._client() as bardge:
            if isinstance(bardge._caller.settings.journal, MemoryJournal):  # noqa: SLF001 - of this package
                raise ConfigurationError(
                    "client: its journal ends with the process, but a job may be delivered again to another one; "
                    "pass it journal=PostgresJournal(...)"
                )
            try:
                await check_journal(bardge)
            except JournalError as error:
                if is_journal_refused(error):
                    raise
                outage = await probe_database(self._connector)
                reporter.wait_for(
                    "journal", str(error) if outage is None else f"the journal's database: {outage.cause}"
                )
                return False
            reporter.resume("journal")
            self._worker = Worker(self._app, self._table, bardge, options, reporter)
            try:
                await self._worker.run()
            finally:
                self._worker = None
        return True

    async def progress(self, job: str) -> Progress:
        """Return a job's progress, across all workers; jobs deleted when done are not counted.

        Raises:
            procrastinate.exceptions.ConnectorException: The database is unavailable.
        """
        check_text("job", job)
        return Progress.from_counts(await self._table.count_by_status(job))

    async def doubts(self, job: str, bardge: BardgeClient) -> list[JobDoubt]:
        """Return a job's operations that were sent and have no recorded outcome, oldest first, except those in flight.

        Args:
            job: The job's name.
            bardge: A client with the workers' journal.

        Raises:
            JournalError: The journal cannot be read.
            procrastinate.exceptions.ConnectorException: The database is unavailable.
        """
        check_text("job", job)
        if not isinstance(bardge, BardgeClient):
            raise InvalidArgumentError(f"bardge: expected a BardgeClient, got {type(bardge).__name__}")
        found = await bardge.in_doubt()
        ids = await self._table.find_ids(job, [doubt.idempotency_key for doubt in found])
        return [JobDoubt(ids[doubt.idempotency_key], doubt) for doubt in found if doubt.idempotency_key in ids]

    async def resume(self, job: str, *, retry_refused: bool = False) -> int:
        """Requeue a job's failed operations; return how many. Those in doubt fail again until they are resolved.

        Jobs that were cancelled, by procrastinate's own ``cancel_job_by_id``, stay cancelled.

        Args:
            job: The job's name.
            retry_refused: Send operations that the API refused again.

        Raises:
            procrastinate.exceptions.ConnectorException: The database is unavailable.
        """
        check_text("job", job)
        check_bool("retry_refused", retry_refused)
        return await self._table.requeue_failed(job, retry_refused=retry_refused)

    async def _defer_all(self, stream: OperationStream, job: str, connection: psycopg.AsyncConnection[Any]) -> int:
        count = 0
        chunk: list[JobArguments] = []
        while (operation := await stream.next_operation()) is not None:
            chunk.append(QueuedOperation.from_operation(operation, job).to_arguments())
            if len(chunk) == _CHUNK_SIZE:
                count += len(await self._defer_chunk(chunk, connection))
                chunk = []
        return count + (len(await self._defer_chunk(chunk, connection)) if chunk else 0)

    async def _defer_chunk(
        self, chunk: list[JobArguments], connection: psycopg.AsyncConnection[Any] | None
    ) -> list[int]:
        with without_preparing(connection):
            return await self._task.configure(connection=connection).batch_defer_async(*chunk)

    @asynccontextmanager
    async def _open_app(self) -> AsyncGenerator[None]:
        """Open the app, unless it is already open."""
        try:
            _ = self._connector.pool
        except AppNotOpen:
            async with self._app.open_async():
                yield
        else:
            yield

    async def _execute_job(
        self,
        context: JobContext,
        /,
        *,
        job: str,
        row: str,
        path: list[str],
        body: str | None,
        id: str,
        key: str,
        retry_refused: bool = False,
    ) -> str:
        # The parameter names are stored in the queue, as job arguments: see QueuedOperation.
        if self._worker is None:
            raise NoWorkerError
        queued = QueuedOperation(job, row, tuple(path), body, id, key)
        return await self._worker.execute_job(context.job, queued, retry_refused=retry_refused)


def _check_connection(connection: object) -> None:
    if connection is not None and not isinstance(connection, psycopg.AsyncConnection):
        raise InvalidArgumentError(f"connection: expected a psycopg.AsyncConnection, got {type(connection).__name__}")
