"""Group commit: everything queued goes into one transaction, and what fails for itself stops nothing else."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar

import attrs
from psycopg import AsyncConnection

from bardge_async._core.entry import KeyIdentity
from bardge_async._postgres.connection import ConnectionRefusedByServerError, PostgresConnection, UnreachableError
from bardge_async._runtime.clock import Clock, TimeLimit
from bardge_async._runtime.tasks import end_task
from bardge_async.errors import JournalError

Item = TypeVar("Item")
Result = TypeVar("Result")

_MAX_BATCH: Final = 500
"""Maximum number of items per transaction."""
_MAX_STRIKES: Final = 5
"""How often an item may break a connection that had just been checked."""
_MIN_BACKOFF: Final = 0.05
_MAX_BACKOFF: Final = 1.0
_CLOSE_TIMEOUT: Final = 5.0
_ABORT_TIMEOUT: Final = 0.5


@attrs.define(eq=False)
class QueuedItem(Generic[Item, Result]):
    """A queued item and the future of its result; ``on_abandoned`` receives a result whose future was cancelled.

    ``strikes`` counts the connections that broke while it was being processed.
    """

    item: Item
    identity: KeyIdentity | None
    deadline: float
    future: asyncio.Future[Result]
    on_abandoned: Callable[[Result], object] | None = None
    strikes: int = 0

    def set_result(self, result: Result) -> None:
        """Resolve the future, or pass the result to ``on_abandoned``."""
        if not self.future.done():
            self.future.set_result(result)
        elif self.on_abandoned is not None:
            self.on_abandoned(result)

    def set_error(self, error: JournalError) -> None:
        """Fail the future."""
        if not self.future.done():
            self.future.set_exception(error)


class GroupCommitQueue(Generic[Item, Result]):
    """Process all queued items of one kind in one transaction, FIFO.

    The next batch accumulates while one is in flight. Items are retried for ``timeout`` seconds while the server cannot
    be reached. After an error the items of a batch are processed one by one, so that each gets its own; one that keeps
    breaking connections lets all others pass and ends with what broke them. No background task runs while the queue is
    empty. ``outage`` is the cause for which the last batch has to be retried, None if it was processed.
    """

    def __init__(
        self,
        connection: PostgresConnection,
        process: Callable[[AsyncConnection[Any], Sequence[Item]], Awaitable[Sequence[Result]]],
        clock: Clock,
        timeout: float,
    ) -> None:
        self._connection = connection
        self._process = process
        self._clock = clock
        self._timeout = timeout
        self._is_closing = False
        self.outage: str | None = None
        self._queue: deque[QueuedItem[Item, Result]] = deque()
        self._task: asyncio.Task[None] | None = None

    def add_item(
        self, item: Item, identity: KeyIdentity | None = None, on_abandoned: Callable[[Result], object] | None = None
    ) -> asyncio.Future[Result]:
        """Queue an item; its future may fail with a JournalError, and cancelling it removes an item that still waits."""
        loop = asyncio.get_running_loop()
        queued = QueuedItem(item, identity, self._clock.elapsed() + self._timeout, loop.create_future(), on_abandoned)
        self._queue.append(queued)
        if self._task is None or self._task.done():
            # A context of its own: the task serves all callers, not just the one that happens to start it.
            self._task = loop.create_task(self._process_queue(), context=contextvars.Context())
        return queued.future

    async def _process_queue(self) -> None:
        failures = 0
        while batch := self._take_batch():
            try:
                failures = 0 if await self._process_batch(batch, check_first=failures > 0) else failures + 1
            except BaseException:
                self._queue.extendleft(
                    reversed([job for job in batch if not job.future.done() and job not in self._queue])
                )
                raise
            if failures and self._is_closing:
                return
            if failures:
                await self._clock.sleep(min(_MAX_BACKOFF, _MIN_BACKOFF * 2 ** min(failures, 10)))

    def _take_batch(self) -> list[QueuedItem[Item, Result]]:
        """Take queued items up to the first repeated key: one statement can change a row only once.

        An item that broke a connection is taken alone.
        """
        batch: list[QueuedItem[Item, Result]] = []
        seen: set[KeyIdentity] = set()
        while self._queue and len(batch) < _MAX_BATCH:
            queued = self._queue[0]
            if queued.identity in seen or (batch and queued.strikes):
                break
            self._queue.popleft()
            if queued.future.cancelled():
                continue
            batch.append(queued)
            if queued.strikes:
                break
            if queued.identity is not None:
                seen.add(queued.identity)
        return batch

    async def _process_batch(self, batch: list[QueuedItem[Item, Result]], *, check_first: bool) -> bool:
        """Process a batch; return False if the server was unreachable, having requeued the items with time left."""
        try:
            results = await self._connection.run(
                lambda connection: self._process(connection, [job.item for job in batch]), check_first=check_first
            )
        except UnreachableError as error:
            self.outage = str(error)
            for job in batch:
                job.strikes += error.broke_connection
            self._requeue_items(batch)
            return False
        except ConnectionRefusedByServerError as error:
            self._fail_items(batch, str(error))
            return True
        except JournalError as error:
            if len(batch) > 1:
                return await self._process_one_by_one(batch)
            self._fail_items(batch, str(error))
            return True
        self.outage = None
        for job, result in zip(batch, results, strict=True):
            job.set_result(result)
        return True

    async def _process_one_by_one(self, batch: list[QueuedItem[Item, Result]]) -> bool:
        for place, job in enumerate(batch):
            if not await self._process_batch([job], check_first=False):
                self._queue.extendleft(reversed(batch[place + 1 :]))
                return False
        return True

    def _requeue_items(self, batch: list[QueuedItem[Item, Result]]) -> None:
        """Requeue a batch, first or, if it breaks connections, last; fail whatever has no time left."""
        broken = [job for job in batch if job.strikes]
        keys = {job.identity for job in broken if job.identity is not None}
        waiting = [*(job for job in batch if not job.strikes), *self._queue]
        # The order of one key's items stays: its outcome is written before it is released.
        ordered = [job for job in waiting if job.identity not in keys]
        ordered += [*broken, *(job for job in waiting if job.identity in keys)]
        now, name = self._clock.elapsed(), self._connection.name
        self._queue = deque()
        for job in ordered:
            if job.strikes >= _MAX_STRIKES:
                self._fail_items([job], f"{name} failed {job.strikes} times on this alone: {self.outage}")
            elif job.deadline <= now:
                self._fail_items([job], f"{name} cannot be reached, start it or check dsn=: {self.outage}")
            else:
                self._queue.append(job)

    def _fail_items(self, batch: Sequence[QueuedItem[Item, Result]], reason: str) -> None:
        for job in batch:
            job.set_error(JournalError(reason))

    async def aclose(self) -> None:
        """Process the queued items, for 5 seconds at most, and close the connection."""
        with TimeLimit(self._clock, _CLOSE_TIMEOUT):
            while self._queue or (self._task is not None and not self._task.done()):
                if self._task is None or self._task.done():
                    # The task was cancelled with its loop; its items were not.
                    self._task = asyncio.get_running_loop().create_task(self._process_queue())
                await asyncio.wait([self._task])
        if self._task is not None:
            # A statement that a silent network holds up: cancelling it would ask the server first, for 5 s.
            self._is_closing = True
            self._connection.abort()
            await asyncio.wait([self._task], timeout=_ABORT_TIMEOUT)
            await end_task(self._task)
        await self._connection.close()
        left, self._queue = self._queue, deque()
        cause = "" if self.outage is None else f": {self.outage}"
        self._fail_items(left, f"{self._connection.name} was closed before this could be written{cause}")
