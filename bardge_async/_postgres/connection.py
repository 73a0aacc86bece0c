"""Connections of the journal in PostgreSQL: one for each kind of work and loop, and all that waits goes together."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Generic, TypeVar

import attrs
import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from bardge_async._core.entry import KeyIdentity
from bardge_async._core.secret import Secret
from bardge_async._runtime.clock import Clock, TimeLimit
from bardge_async.errors import ConfigurationError, JournalError

Item = TypeVar("Item")
Result = TypeVar("Result")
T = TypeVar("T")

_MAX_BATCH: Final = 500
"""Items of one transaction."""
_MIN_BACKOFF: Final = 0.05
_MAX_BACKOFF: Final = 1.0
_CLOSE_TIMEOUT: Final = 5.0
# A peer that is gone without a word is noticed within seconds; what the caller's DSN says comes first.
_CONNECTION_DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "bardge_async",
}


class UnreachableError(Exception):
    """The work may be tried again: the server is away, starting, read-only for now, or chose this one in a deadlock."""


class PostgresConnection:
    """One connection, made on first use and made anew when it broke; nothing is ever left in its session."""

    def __init__(
        self,
        dsn: Secret,
        prepare: Callable[[AsyncConnection[Any]], Awaitable[None]],
        clock: Clock,
        timeout: float,
        name: str = "the journal's database",
    ) -> None:
        self._dsn = dsn
        self._prepare = prepare
        self._clock = clock
        self._timeout = timeout
        self._name = name
        self._connection: AsyncConnection[Any] | None = None

    async def run(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Do something with the connection, for at most the link's limit.

        Raises:
            UnreachableError: The same may be tried again.
            JournalError: It cannot be done.
        """
        try:
            connection = self._connection or await self._open_connection()
            with self._limit_time(connection):
                return await work(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction) as error:
            if not isinstance(error, psycopg.errors.TransactionRollback):
                await self.close()
            raise UnreachableError(_first_line(error)) from None
        except psycopg.Error as error:
            raise JournalError(f"{self._name} refused: {_first_line(error)}") from None
        except BaseException:
            # Cancelled under way: what the server still does with it is not known.
            await self.close()
            raise

    async def _open_connection(self) -> AsyncConnection[Any]:
        given_options = set(conninfo_to_dict(self._dsn))
        options = {name: value for name, value in _CONNECTION_DEFAULTS.items() if name not in given_options}
        # Prepared statements belong to a session, which a pooler does not keep.
        connection = await AsyncConnection[Any].connect(
            str(self._dsn), autocommit=True, prepare_threshold=None, **options
        )
        self._connection = connection
        with self._limit_time(connection):
            await self._prepare(connection)
        return connection

    @contextmanager
    def _limit_time(self, connection: AsyncConnection[Any]) -> Generator[None]:
        """Cut the connection when the time is up: waiting for a server that is gone would take minutes."""
        timer = self._clock.timer(self._timeout, lambda: _shut_down_socket(connection))
        try:
            yield
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _shut_down_socket(connection: AsyncConnection[Any]) -> None:
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as connection_socket,
    ):
        connection_socket.shutdown(socket.SHUT_RDWR)


def _first_line(error: BaseException) -> str:
    """Return the first line of what the server or the driver said; neither repeats the password."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


@attrs.define(eq=False)
class QueuedItem(Generic[Item, Result]):
    """An item of work, and who waits for its result; ``unwanted`` takes a result that nobody waits for any more."""

    item: Item
    identity: KeyIdentity | None
    deadline: float
    future: asyncio.Future[Result]
    on_abandoned: Callable[[Result], object] | None = None

    def set_result(self, result: Result) -> None:
        """Give the result to whom it is due."""
        if not self.future.done():
            self.future.set_result(result)
        elif self.on_abandoned is not None:
            self.on_abandoned(result)

    def set_error(self, error: JournalError) -> None:
        """Give up."""
        if not self.future.done():
            self.future.set_exception(error)


class GroupCommitQueue(Generic[Item, Result]):
    """Do all work of one kind that waits in one transaction, in the order of its coming.

    While one batch is under way the next one gathers. What finds no server is tried again for ``patience`` seconds.
    No task is left when nothing waits.
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
        self._queue: deque[QueuedItem[Item, Result]] = deque()
        self._task: asyncio.Task[None] | None = None

    def add_item(
        self, item: Item, identity: KeyIdentity | None = None, on_abandoned: Callable[[Result], object] | None = None
    ) -> asyncio.Future[Result]:
        """Put work in line; the future fails with a JournalError, and cancelling it takes the work back if it waits."""
        loop = asyncio.get_running_loop()
        queued = QueuedItem(item, identity, self._clock.elapsed() + self._timeout, loop.create_future(), on_abandoned)
        self._queue.append(queued)
        if self._task is None or self._task.done():
            # Not in the caller's context: whoever comes first is not whose work this is.
            self._task = loop.create_task(self._process_queue(), context=contextvars.Context())
        return queued.future

    async def _process_queue(self) -> None:
        failures = 0
        while batch := self._take_batch():
            try:
                failures = 0 if await self._process_batch(batch) else failures + 1
            except BaseException:
                self._queue.extendleft(reversed([job for job in batch if not job.future.done()]))
                raise
            if failures:
                await self._clock.sleep(min(_MAX_BACKOFF, _MIN_BACKOFF * 2 ** min(failures, 10)))

    def _take_batch(self) -> list[QueuedItem[Item, Result]]:
        """Take what waits, up to the first key that comes again: a statement changes a row once."""
        batch: list[QueuedItem[Item, Result]] = []
        seen: set[KeyIdentity] = set()
        while self._queue and len(batch) < _MAX_BATCH:
            queued = self._queue[0]
            if queued.identity in seen:
                break
            self._queue.popleft()
            if not queued.future.cancelled():
                batch.append(queued)
                if queued.identity is not None:
                    seen.add(queued.identity)
        return batch

    async def _process_batch(self, batch: list[QueuedItem[Item, Result]]) -> bool:
        """Do a batch; False if there was no server, and what has time left waits for it."""
        try:
            results = await self._connection.run(
                lambda connection: self._process(connection, [job.item for job in batch])
            )
        except UnreachableError as error:
            self._requeue_batch(batch, str(error))
            return False
        except JournalError as error:
            if len(batch) == 1:
                batch[0].set_error(error)
                return True
            # One item's fault must not be the others'.
            return all([await self._process_batch([job]) for job in batch])
        for job, result in zip(batch, results, strict=True):
            job.set_result(result)
        return True

    def _requeue_batch(self, batch: list[QueuedItem[Item, Result]], reason: str) -> None:
        now = self._clock.elapsed()
        expired = [job for job in batch if job.deadline <= now]
        for job in expired:
            job.set_error(JournalError(f"the journal's database cannot be reached, start it or check dsn=: {reason}"))
        self._queue.extendleft(reversed([job for job in batch if job not in expired]))

    async def aclose(self) -> None:
        """Let what waits be done, for some seconds at most, and close the connection."""
        with TimeLimit(self._clock, _CLOSE_TIMEOUT):
            while self._queue or (self._task is not None and not self._task.done()):
                if self._task is None or self._task.done():
                    # It was cancelled with its loop; what it had to do was not.
                    self._task = asyncio.get_running_loop().create_task(self._process_queue())
                await asyncio.wait([self._task])
        if self._task is not None:
            await cancel_and_wait(self._task)
        await self._connection.close()


async def cancel_and_wait(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # asyncio would report one that nobody looked at


def check_dsn(dsn: Secret) -> Secret:
    """Return a connection string that libpq can read.

    Raises:
        ConfigurationError: It cannot; the message does not repeat it, since it may hold a password.
    """
    try:
        conninfo_to_dict(dsn)
    except psycopg.Error:
        raise ConfigurationError("dsn: it is no connection string, such as postgresql://user@host/database") from None
    return dsn
