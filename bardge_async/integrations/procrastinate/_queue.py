"""The queue as its user sees it: operations in, workers that do them."""

from __future__ import annotations

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
from bardge_async._core.arguments import check_int
from bardge_async._journal import MemoryJournal
from bardge_async.errors import ConfigurationError
from bardge_async.integrations.procrastinate._job import JobArguments, QueuedOperation
from bardge_async.integrations.procrastinate._progress import JobDoubt, Progress
from bardge_async.integrations.procrastinate._retry import NoWorkerError, RetryByError
from bardge_async.integrations.procrastinate._table import JobTable
from bardge_async.integrations.procrastinate._worker import Worker, WorkerOptions

_TASK: Final = "perform"
_CHUNK_SIZE: Final = 1000
_MAX_CONCURRENCY: Final = 1000


class BardgeQueue:
    """Put operations into PostgreSQL, and have any number of worker processes do them, effectively once.

    Each operation has the key ``operation_key(job, row, id)``, as in ``bardge.batch``. A job that is delivered again,
    or put in twice, finds the recorded answer in the journal, or goes on under the journal's key and bytes. So the
    journal's hold on the key is the lock: procrastinate's ``lock`` and ``queueing_lock`` are not used.

    The queue holds requests with their personal data, and procrastinate logs a job's arguments at INFO: keep the level
    of its logger above that. API keys and lookup tokens are never in it.

    Args:
        app: procrastinate's app, over a ``PsycopgConnector``, with its tables made.
        client: Makes a worker process's client, as ``async with client() as bardge``; its journal must be one that
            all workers share, such as :class:`PostgresJournal`. A process that only puts in never calls it.
        queue: The queue's name.

    Raises:
        ConfigurationError: The app has another connector.
    """

    def __init__(
        self,
        app: procrastinate.App,
        client: Callable[[], AbstractAsyncContextManager[BardgeClient]],
        *,
        queue: str = "bardge",
    ) -> None:
        if not isinstance(app.connector, procrastinate.PsycopgConnector):
            raise ConfigurationError(f"app: expected one over a PsycopgConnector, got {type(app.connector).__name__}")
        self._app = app
        self._connector = app.connector
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
        """Put one operation into the queue; return the number that procrastinate gave it.

        Args:
            operation: It is checked now, as ``bardge.send`` does.
            job: The job's name: the same whenever the same operation is put in.
            connection: Your own connection: what is put in stands or falls with its transaction.

        Raises:
            InvalidArgumentError: It cannot be sent; nothing was put in.
            procrastinate.exceptions.ConnectorException: The database refuses, or is away.
        """
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
        """Put many operations into the queue, all or none; return how many.

        They are taken as they are needed, 1,000 at a time, so a hundred thousand take no more memory than one thousand.
        To put the same ones in again is harmless: what is done is not sent again.

        Args:
            operations: Any iterable.
            job: The job's name: the same whenever the same operations are put in.
            connection: Your own connection: what is put in stands or falls with its transaction.

        Raises:
            InvalidArgumentError: One of them cannot be sent; nothing was put in, unless your own transaction keeps it.
            procrastinate.exceptions.ConnectorException: The database refuses, or is away.
        """
        if connection is not None:
            return await self._defer_all(OperationStream(operations), job, connection)
        async with self._connector.pool.connection() as own:
            async with own.transaction():
                count = await self._defer_all(OperationStream(operations), job, own)
            if count >= _CHUNK_SIZE:
                # Else the next job is sought with plans for an empty table until autovacuum comes by.
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
    ) -> None:
        """Do the queue's jobs in this process, until SIGTERM, Ctrl-C or a cancellation; what is under way is finished.

        One client is opened for it, and closed with it. A worker that died is noticed after 10 seconds without a
        heartbeat, and its jobs are put back by any other within 5 more; doubts whose window is open are recovered at
        the start and every 5 seconds. A database that goes away is waited for.

        What the error says may be tried again, is; a refused operation is not. What stays in doubt ends as ``failed``
        with :class:`OutcomeUnknownError`, and is listed by :meth:`doubts`.

        Args:
            concurrency: Operations under way at once; no more than the client's ``max_connections``.
            wait: False ends the worker when no job is due.
            delete_done: Remove jobs that were done, so that the table stays small; the journal keeps the outcome.
            listen: False looks for jobs every 5 seconds, and does without a connection that hears of them at once: for
                hundreds of workers, which would all be woken by each job, and behind a pooler in transaction mode.
            signals: False leaves SIGTERM and Ctrl-C to you.

        Raises:
            ConfigurationError: The client's journal ends with the process, or another worker runs in it.
            BardgeError: What would fail every job, such as a wrong API key; the jobs are back in the queue.
        """
        check_int("concurrency", concurrency, 1, _MAX_CONCURRENCY)
        if self._worker is not None:
            raise ConfigurationError("run_worker: one runs in this process already")
        async with self._open_app(), self._client() as bardge:
            if isinstance(bardge._caller.engine.settings.journal, MemoryJournal):  # noqa: SLF001 - of this package
                raise ConfigurationError(
                    "client: its journal ends with the process, and a job may come again in another one; "
                    "give it journal=PostgresJournal(...)"
                )
            options = WorkerOptions(self._queue, concurrency, wait, delete_done, listen, signals)
            self._worker = Worker(self._app, self._table, bardge, options)
            try:
                await self._worker.run()
            finally:
                self._worker = None

    async def progress(self, job: str) -> Progress:
        """Tell how far a job has come, over all workers; done ones that were deleted are not counted.

        Raises:
            procrastinate.exceptions.ConnectorException: The database is away.
        """
        return Progress.from_counts(await self._table.count_by_status(job))

    async def doubts(self, job: str, bardge: BardgeClient) -> list[JobDoubt]:
        """List what a job sent without an outcome on record, oldest first, without what is under way.

        Args:
            job: The job's name.
            bardge: A client over the workers' journal.

        Raises:
            JournalError: The journal cannot be read.
            procrastinate.exceptions.ConnectorException: The database is away.
        """
        found = await bardge.in_doubt()
        ids = await self._table.find_ids(job, [doubt.idempotency_key for doubt in found])
        return [JobDoubt(ids[doubt.idempotency_key], doubt) for doubt in found if doubt.idempotency_key in ids]

    async def resume(self, job: str, *, retry_refused: bool = False) -> int:
        """Put back what failed of a job, and return how many there were; what is in doubt fails again until settled.

        Args:
            job: The job's name.
            retry_refused: Send again what the API refused.

        Raises:
            procrastinate.exceptions.ConnectorException: The database is away.
        """
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
        return await self._task.configure(connection=connection).batch_defer_async(*chunk)

    @asynccontextmanager
    async def _open_app(self) -> AsyncGenerator[None]:
        """Open the app, unless it is."""
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
        """Do one job."""
        if self._worker is None:
            raise NoWorkerError
        queued = QueuedOperation(job, row, tuple(path), body, id, key)
        return await self._worker.execute_job(context.job, queued, retry_refused=retry_refused)
