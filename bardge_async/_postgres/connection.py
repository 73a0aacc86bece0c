"""PostgreSQL connections of journal and limiter, and group commit: everything queued goes into one transaction."""

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
from bardge_async._runtime.tasks import end_task
from bardge_async.errors import ConfigurationError, JournalError

Item = TypeVar("Item")
Result = TypeVar("Result")
T = TypeVar("T")

_MAX_BATCH: Final = 500
"""Maximum number of items per transaction."""
_MIN_BACKOFF: Final = 0.05
_MAX_BACKOFF: Final = 1.0
_CLOSE_TIMEOUT: Final = 5.0
# Detect a peer that vanished within seconds; the caller's DSN takes precedence.
_CONNECTION_DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "bardge_async",
}


class UnreachableError(Exception):
    """Retrying may help: the server is away, starting or read-only for now, or chose this transaction in a deadlock."""


class PostgresConnection:
    """One connection, opened on first use and reopened after an error; no session state outlives a transaction."""

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
        """Run ``work`` with the connection, within the time limit.

        Raises:
            UnreachableError: Retrying may help.
            JournalError: The server reported an error that retrying does not resolve.
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
            # Cancelled in flight: the state of the connection is unknown.
            await self.close()
            raise

    async def _open_connection(self) -> AsyncConnection[Any]:
        given_options = set(conninfo_to_dict(self._dsn))
        options = {name: value for name, value in _CONNECTION_DEFAULTS.items() if name not in given_options}
        # Prepared statements belong to a session, which a pooler in transaction mode does not keep.
        connection = await AsyncConnection[Any].connect(
            str(self._dsn), autocommit=True, prepare_threshold=None, **options
        )
        self._connection = connection
        with self._limit_time(connection):
            await self._prepare(connection)
        return connection

    @contextmanager
    def _limit_time(self, connection: AsyncConnection[Any]) -> Generator[None]:
        """Shut the socket down when the time is up: waiting for a vanished server would take minutes."""
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
    """Return the first line of the server's or the driver's message; neither contains the password."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


@attrs.define(eq=False)
class QueuedItem(Generic[Item, Result]):
    """A queued item and the future of its result; ``on_abandoned`` receives a result whose future was cancelled."""

    item: Item
    identity: KeyIdentity | None
    deadline: float
    future: asyncio.Future[Result]
    on_abandoned: Callable[[Result], object] | None = None

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
    be reached. No background task runs while the queue is empty.
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
                failures = 0 if await self._process_batch(batch) else failures + 1
            except BaseException:
                self._queue.extendleft(reversed([job for job in batch if not job.future.done()]))
                raise
            if failures:
                await self._clock.sleep(min(_MAX_BACKOFF, _MIN_BACKOFF * 2 ** min(failures, 10)))

    def _take_batch(self) -> list[QueuedItem[Item, Result]]:
        """Take queued items up to the first repeated key: one statement can change a row only once."""
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
        """Process a batch; return False if the server was unreachable, having requeued the items with time left."""
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
            # One item's error must not fail the others.
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
        """Process the queued items, for 5 seconds at most, and close the connection."""
        with TimeLimit(self._clock, _CLOSE_TIMEOUT):
            while self._queue or (self._task is not None and not self._task.done()):
                if self._task is None or self._task.done():
                    # The task was cancelled with its loop; its items were not.
                    self._task = asyncio.get_running_loop().create_task(self._process_queue())
                await asyncio.wait([self._task])
        if self._task is not None:
            await end_task(self._task)
        await self._connection.close()


def check_dsn(dsn: Secret) -> Secret:
    """Return a connection string after checking that libpq can parse it.

    Raises:
        ConfigurationError: It cannot be parsed; the message does not repeat it, since it may contain a password.
    """
    try:
        conninfo_to_dict(dsn)
    except (psycopg.Error, UnicodeError):
        raise ConfigurationError("dsn: expected a connection string such as postgresql://user@host/database") from None
    return dsn
