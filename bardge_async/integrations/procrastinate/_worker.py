"""A worker process at work: jobs through procrastinate, doubts and dead workers looked after, a stop that finishes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final

import anyio
import attrs
import procrastinate
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job

from bardge_async._batch.executor import One, Performer
from bardge_async._batch.operations import OperationStatus, Plan
from bardge_async._client import BardgeClient
from bardge_async.errors import BardgeError
from bardge_async.integrations.procrastinate._job import QueuedOperation
from bardge_async.integrations.procrastinate._retry import ends_worker
from bardge_async.integrations.procrastinate._table import STALLED_AFTER, Table

_LOG: Final = logging.getLogger("bardge_async")
_HEARTBEAT: Final = 3.0
_LOOK_EVERY: Final = 5.0
_PAUSE: Final = 1.0
_WELL: Final = frozenset({OperationStatus.DONE, OperationStatus.REPLAYED, OperationStatus.SKIPPED})
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@attrs.frozen
class Shift:
    """How a worker is to work."""

    queue: str
    concurrency: int
    wait: bool
    delete_done: bool
    listen: bool
    signals: bool


class Worker:
    """Run the jobs of one queue in the running loop, until it is stopped.

    Where the database goes away, procrastinate's own worker ends, or leaves a job under its name that nobody works on.
    So each trouble of that kind ends the one worker, and begins another: what was under the old one's name is put back.
    So is a job of the living one that this process does not know of: a crash of the database may have forgotten its end.
    """

    def __init__(self, app: procrastinate.App, table: Table, bardge: BardgeClient, shift: Shift) -> None:
        self.failure: BardgeError | None = None
        self._app = app
        self._table = table
        self._bardge = bardge
        self._shift = shift
        self._performers: set[Performer] = set()
        self._number: int | None = None
        self._doing: set[int] = set()
        self._orphans: set[int] = set()
        self._turn: asyncio.Task[None] | None = None
        self._stopping = self._broken = False

    async def run(self) -> None:
        """Work until stopped, or until nothing is due where the shift says so.

        Raises:
            BardgeError: What would fail every job; they are back in the queue.
        """
        looking = [asyncio.ensure_future(self._every(act)) for act in (self._recover, self._sweep)]
        try:
            with self._on_signals():
                await self._work()
        finally:
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)
        if self.failure is not None:
            raise self.failure

    async def perform(self, job: Job, queued: QueuedOperation, *, retry_refused: bool) -> str:
        """Do a job's operation; return its status.

        Raises:
            BardgeError: It was not done, or nobody knows.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - procrastinate's, one for each job
        number = job.id or 0
        self._number = job.worker_id
        self._doing.add(number)
        task.add_done_callback(lambda it: self._ended(it, number))
        plan = Plan(job=queued.job, concurrency=1, rate=None, ordered=False, retry_refused=retry_refused)
        performer = Performer(self._bardge._calls, plan)  # noqa: SLF001 - of this package
        performer.stopping = self._stopping
        self._performers.add(performer)
        try:
            outcome = await performer.perform(One(queued.operation()))
        finally:
            self._performers.discard(performer)
        if outcome.error is None or outcome.status in _WELL:
            return outcome.status.value
        if ends_worker(outcome.error):
            self.failure = self.failure or outcome.error
            self.stop()
        raise outcome.error

    def stop(self) -> None:
        """Take no more jobs; those under way run to their end, but ask no more about what stays unanswered."""
        self._stopping = True
        for performer in self._performers:
            performer.stopping = True
        self._end_turn()

    async def _work(self) -> None:
        while not self._stopping:
            self._broken = False
            await self._finished(asyncio.ensure_future(self._one_turn()))
            if self._over():
                return
            await asyncio.sleep(_PAUSE)

    async def _finished(self, turn: asyncio.Task[None]) -> None:
        """Wait for a turn's end; a cancellation stops it, and goes on once it has ended."""
        self._turn = turn
        try:
            await asyncio.wait([turn])
        except asyncio.CancelledError:
            self.stop()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([turn])
            raise
        error = None if turn.cancelled() else turn.exception()
        if isinstance(error, ConnectorException):
            self._broken = True
            _LOG.warning("the queue's database cannot be reached: %s", error.__cause__ or error)
        elif error is not None:
            raise error

    def _end_turn(self) -> None:
        """Let a turn finish what is under way; a second cancellation would end it in the midst of that."""
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()

    def _over(self) -> bool:
        return self._stopping or not (self._broken or self._shift.wait)

    async def _one_turn(self) -> None:
        """Run a worker of procrastinate's, which ends at the first trouble with the database."""
        shift = self._shift
        await self._app.run_worker_async(
            queues=[shift.queue],
            name=f"bardge:{shift.queue}",
            concurrency=shift.concurrency,
            wait=shift.wait,
            delete_jobs="successful" if shift.delete_done else "never",
            listen_notify=shift.listen,
            install_signal_handlers=False,
            update_heartbeat_interval=_HEARTBEAT,
            stalled_worker_timeout=STALLED_AFTER,
        )

    def _ended(self, job: asyncio.Task[Any], number: int) -> None:
        """See how a job's task ended: one that could not tell the database so is put back once its worker is gone."""
        self._doing.discard(number)
        if job.cancelled() or not isinstance(job.exception(), ConnectorException) or self._broken:
            return
        self._broken = True
        self._end_turn()

    async def _every(self, act: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await act()
            except ConnectorException:
                _LOG.debug("the queue's database cannot be reached; it is looked into again", exc_info=True)
            except Exception:  # noqa: BLE001 - whatever it was, the next look must come
                _LOG.exception("a worker could not look after the queue")
            await asyncio.sleep(_LOOK_EVERY)

    async def _recover(self) -> None:
        try:
            await self._bardge.recover()
        except BardgeError as error:
            _LOG.warning("what is in doubt could not be recovered, which is tried again: %s", error)

    async def _sweep(self) -> None:
        # One that is seen twice is neither just taken nor just done.
        held: set[int] = set() if self._number is None else await self._table.held(self._number)
        unknown = held - self._doing
        back = await self._table.sweep(self._number, self._orphans & unknown)
        self._orphans = unknown
        if back:
            _LOG.warning("%d jobs that nobody worked on are back in the queue %s", back, self._shift.queue)

    @contextlib.contextmanager
    def _on_signals(self) -> Generator[None]:
        """Stop at the first SIGTERM or Ctrl-C; a second one has its usual effect."""
        loop = asyncio.get_running_loop()
        numbers = _SIGNALS if self._shift.signals else ()

        def release() -> None:
            for number in numbers:
                loop.remove_signal_handler(number)

        def stop() -> None:
            release()
            self.stop()

        for number in numbers:
            loop.add_signal_handler(number, stop)
        try:
            yield
        finally:
            release()
