"""A worker process: execute procrastinate jobs, recover doubts, requeue stalled jobs, stop gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

import anyio
import attrs
import procrastinate
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job

from bardge_async._batch.executor import OperationExecutor, OperationRun
from bardge_async._batch.operations import BatchOptions, OperationStatus
from bardge_async._client import BardgeClient
from bardge_async._core.entry import KeyIdentity
from bardge_async._core.keys import new_key
from bardge_async.errors import (
    BardgeError,
    ConfigurationError,
    JournalError,
    KeyInUseError,
    NotSentError,
    RateLimitError,
)
from bardge_async.integrations.procrastinate._job import QueuedOperation
from bardge_async.integrations.procrastinate._retry import is_fatal_for_worker
from bardge_async.integrations.procrastinate._sessions import is_behind_pooler
from bardge_async.integrations.procrastinate._table import STALLED_AFTER, JobTable
from bardge_async.integrations.procrastinate._waiting import SideTaskWatch, WaitReporter, find_outage

_LOG: Final = logging.getLogger("bardge_async")
# All in seconds.
_HEARTBEAT_INTERVAL: Final = 3.0
_CHECK_INTERVAL: Final = 5.0
_CHECK_TIMEOUT: Final = 10.0
_RESTART_PAUSE: Final = 1.0
_FAILING_AFTER: Final = 30.0
_QUEUE, _JOURNAL, _SERVER = "queue", "journal", "server"

_SUCCEEDED: Final = frozenset({OperationStatus.DONE, OperationStatus.REPLAYED, OperationStatus.SKIPPED})
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


def is_journal_refused(error: BardgeError) -> bool:
    """Return whether a journal in a database was refused, when read: no right, no such table, a wrong password."""
    # By its message, which begins so: one that cannot be reached may name a connection that the system refused.
    return isinstance(error, JournalError) and str(error).startswith("the journal's database refused")


async def check_journal(bardge: BardgeClient) -> None:
    """Open the connections that a journal needs, and use each: claim and release a key, and read.

    Raises:
        JournalError: It cannot be used.
    """
    caller = bardge._caller  # noqa: SLF001 - of this package
    settings, clock = caller.settings, caller.clock_reader.clock
    identity = KeyIdentity(settings.base_url, settings.account, new_key())
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT):
            await settings.journal.claim(identity, _CHECK_TIMEOUT, clock)
            settings.journal.release(identity)
            await settings.journal.unfinished(settings.base_url, settings.account)
    except TimeoutError:
        raise JournalError(f"the journal's database did not answer within {_CHECK_TIMEOUT:g} s") from None


@attrs.frozen
class WorkerOptions:
    """The arguments of ``run_worker`` that the worker needs."""

    queue: str
    concurrency: int
    wait: bool
    delete_done: bool
    listen: bool
    signals: bool


class Worker:
    """Execute the jobs of one queue in the running loop until stopped.

    When the database becomes unavailable, procrastinate's own worker ends, or keeps a job assigned that it no longer
    executes. So after every such failure the procrastinate worker is stopped and a new one started: the jobs assigned
    to the old one are requeued. So are jobs assigned to the live one that this process does not know: a crash of the
    database may have lost the record that they ended.
    """

    def __init__(
        self,
        app: procrastinate.App,
        table: JobTable,
        bardge: BardgeClient,
        options: WorkerOptions,
        reporter: WaitReporter,
    ) -> None:
        self.failure: BardgeError | None = None
        self._app = app
        self._reporter = reporter
        self._table = table
        self._bardge = bardge
        self._options = options
        self._executors: set[OperationExecutor] = set()
        self._worker_id: int | None = None
        self._running_jobs: set[int] = set()
        self._orphans: set[int] = set()
        self._worker_task: asyncio.Task[None] | None = None
        self._stopping = self._connection_lost = False
        self._running_since = self._succeeded_at = float("-inf")

    async def run(self) -> None:
        """Execute jobs until stopped, or with ``wait=False`` until no job is due.

        Raises:
            BardgeError: An error that would fail every job; the jobs are back in the queue.
        """
        self._reporter.report("started")
        background = [
            asyncio.ensure_future(self._repeat_action(action))
            for action in (self._recover_doubts, self._requeue_stalled, self._repeat_report)
        ]
        try:
            with self._handle_signals():
                await self._run_until_stopped()
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
        if self.failure is not None:
            raise self.failure

    async def execute_job(self, job: Job, queued: QueuedOperation, *, retry_refused: bool) -> str:
        """Execute a job's operation; return its status.

        Raises:
            BardgeError: It was not executed, or its outcome is unknown.
        """
        task = asyncio.current_task()
        assert task is not None
        job_id = job.id or 0
        self._worker_id = job.worker_id
        self._running_jobs.add(job_id)
        task.add_done_callback(lambda it: self._on_job_done(it, job_id))
        options = BatchOptions(job=queued.job, concurrency=1, rate=None, ordered=False, retry_refused=retry_refused)
        executor = OperationExecutor(self._bardge._caller, options)  # noqa: SLF001 - of this package
        # A job that was taken just before stop() must not keep retrying either.
        executor.stopping = self._stopping
        self._executors.add(executor)
        try:
            outcome = await executor.execute(OperationRun(queued.to_operation()))
        finally:
            self._executors.discard(executor)
        self._note_outcome(outcome.error)
        if outcome.error is None or outcome.status in _SUCCEEDED:
            return outcome.status.value
        if is_fatal_for_worker(outcome.error):
            self._fail(outcome.error)
        raise outcome.error

    def _note_outcome(self, error: BardgeError | None) -> None:
        """Note what keeps operations from being sent; single failures among successes are none."""
        now = time.monotonic()
        if isinstance(error, KeyInUseError):
            return
        if not isinstance(error, NotSentError | RateLimitError):
            self._succeeded_at = now
            self._reporter.resume(_SERVER)
        elif now - self._succeeded_at > _FAILING_AFTER:
            self._reporter.wait_for(_JOURNAL if isinstance(error, JournalError) else _SERVER, str(error))

    def _fail(self, error: BardgeError) -> None:
        """End the worker with an error that would fail every job."""
        self.failure = self.failure or error
        self.stop()

    def stop(self) -> None:
        """Take no more jobs; those in flight run to completion, but no longer retry unknown outcomes."""
        self._stopping = True
        for executor in self._executors:
            executor.stopping = True
        self._stop_worker_task()

    async def _run_until_stopped(self) -> None:
        while not self._stopping:
            self._connection_lost = False
            await self._wait_for_worker(asyncio.ensure_future(self._run_procrastinate_worker()))
            if self._is_finished():
                return
            await asyncio.sleep(_RESTART_PAUSE)

    async def _wait_for_worker(self, worker_task: asyncio.Task[None]) -> None:
        """Wait until procrastinate's worker ends; a cancellation stops it, and is raised once it has ended."""
        self._worker_task = worker_task
        try:
            await asyncio.wait([worker_task])
        except asyncio.CancelledError:
            self.stop()
            # The jobs in flight finish in spite of the cancellation.
            with anyio.CancelScope(shield=True):
                await asyncio.wait([worker_task])
            raise
        error = None if worker_task.cancelled() else worker_task.exception()
        if isinstance(error, ConnectorException):
            self._connection_lost = True
            await self._note_outage(error)
        elif error is not None:
            raise error

    async def _note_outage(self, error: Exception) -> None:
        """Report why the queue's database cannot be used; end the worker if that cannot pass by itself."""
        connector = self._app.connector
        assert isinstance(connector, procrastinate.PsycopgConnector)
        outage = await find_outage(connector, error)
        if outage.is_permanent:
            self._fail(ConfigurationError(f"the queue's database: {outage.cause}; correct its address or the rights"))
            return
        _LOG.warning("the queue's database is unavailable, retrying: %s", outage.cause)
        self._reporter.wait_for(_QUEUE, f"the queue's database: {outage.cause}")

    def _stop_worker_task(self) -> None:
        # At most one cancel(): procrastinate's worker lets its jobs finish after the first; a second interrupts them.
        worker_task, self._worker_task = self._worker_task, None
        if worker_task is not None:
            worker_task.cancel()

    def _is_finished(self) -> bool:
        return self._stopping or not (self._connection_lost or self._options.wait)

    async def _run_procrastinate_worker(self) -> None:
        """Run procrastinate's worker, which ends when the database becomes unavailable.

        Raises:
            ConnectorException: It became unavailable.
        """
        options, name = self._options, f"bardge:{self._options.queue}"
        self._running_since = time.monotonic()
        with SideTaskWatch(name) as watch:
            await self._run_worker_until_unavailable(options, name)
        if isinstance(watch.error, ConnectorException) and not self._stopping:
            raise watch.error

    async def _run_worker_until_unavailable(self, options: WorkerOptions, name: str) -> None:
        # Until no job is due, nothing has to be listened for; a pooler would lose what is sent.
        listen = options.listen and options.wait and not await self._is_behind_pooler()
        await self._app.run_worker_async(
            queues=[options.queue],
            name=name,
            concurrency=options.concurrency,
            wait=options.wait,
            delete_jobs="successful" if options.delete_done else "never",
            listen_notify=listen,
            install_signal_handlers=False,
            update_heartbeat_interval=_HEARTBEAT_INTERVAL,
            stalled_worker_timeout=STALLED_AFTER,
        )

    async def _is_behind_pooler(self) -> bool:
        connector = self._app.connector
        assert isinstance(connector, procrastinate.PsycopgConnector)
        found = await is_behind_pooler(connector)
        if found:
            _LOG.info("the queue %s is behind a pooler: polling for jobs instead of LISTEN", self._options.queue)
        return found

    def _on_job_done(self, task: asyncio.Task[Any], job_id: int) -> None:
        """Restart the worker if a job's end could not be written to the database, so that the job is requeued."""
        self._running_jobs.discard(job_id)
        if task.cancelled() or not isinstance(task.exception(), ConnectorException) or self._connection_lost:
            return
        self._connection_lost = True
        self._stop_worker_task()

    async def _repeat_action(self, action: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await action()
            except (ConnectorException, TimeoutError) as error:
                await self._note_outage(error)
            except Exception:  # noqa: BLE001 - the next check must run whatever happened
                _LOG.exception("a periodic check of the queue failed; the next one retries")
            await asyncio.sleep(_CHECK_INTERVAL)

    async def _recover_doubts(self) -> None:
        try:
            await self._bardge.recover()
        except BardgeError as error:
            if is_journal_refused(error):
                self._fail(error)
                return
            _LOG.warning("doubts could not be recovered; the next check retries: %s", error)
            self._reporter.wait_for(_JOURNAL, str(error))
        else:
            self._reporter.resume(_JOURNAL)

    async def _repeat_report(self) -> None:
        self._reporter.repeat()

    async def _requeue_stalled(self) -> None:
        async with asyncio.timeout(_CHECK_TIMEOUT):
            await self._requeue_orphans()
        # A worker that ends again and again has not resumed, even if this works.
        if not self._connection_lost and time.monotonic() - self._running_since > _CHECK_INTERVAL:
            self._reporter.resume(_QUEUE)

    async def _requeue_orphans(self) -> None:
        # A job unknown to this process in two checks in a row was neither just taken nor just finished.
        running: set[int] = set() if self._worker_id is None else await self._table.running_jobs(self._worker_id)
        unknown = running - self._running_jobs
        requeued = await self._table.requeue_stalled(self._worker_id, self._orphans & unknown)
        self._orphans = unknown
        if requeued:
            _LOG.warning("requeued %d stalled jobs in the queue %s", requeued, self._options.queue)

    @contextlib.contextmanager
    def _handle_signals(self) -> Generator[None]:
        """Stop at the first SIGTERM or Ctrl-C; the second one has its default effect."""
        removers: list[Callable[[], object]] = []

        def release() -> None:
            while removers:
                removers.pop()()

        def stop() -> None:
            release()
            self.stop()

        removers += [_add_signal_handler(number, stop) for number in (_SIGNALS if self._options.signals else ())]
        try:
            yield
        finally:
            release()


def _add_signal_handler(number: signal.Signals, callback: Callable[[], object]) -> Callable[[], object]:
    """Call ``callback`` in the running loop on a signal; return what removes the handler."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, callback)
    except NotImplementedError:
        # Windows' loops have no handlers of their own.

        def call_in_loop(*_: object) -> None:
            loop.call_soon_threadsafe(callback)

        previous = signal.signal(number, call_in_loop)
        return lambda: signal.signal(number, previous)
    return lambda: loop.remove_signal_handler(number)
