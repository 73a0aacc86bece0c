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

from bardge_async._core.entry import Identity
from bardge_async._core.secret import Secret
from bardge_async._runtime.clock import Clock, TimeLimit
from bardge_async.errors import ConfigurationError, JournalError

Item = TypeVar("Item")
Result = TypeVar("Result")
T = TypeVar("T")

_MOST: Final = 500
"""Items of one transaction."""
_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 1.0
_CLOSE_WITHIN: Final = 5.0
# A peer that is gone without a word is noticed within seconds; what the caller's DSN says comes first.
_DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "bardge_async",
}


class UnreachableError(Exception):
    """The work may be tried again: the server is away, starting, read-only for now, or chose this one in a deadlock."""


class Link:
    """One connection, made on first use and made anew when it broke; nothing is ever left in its session."""

    def __init__(
        self,
        dsn: Secret,
        prepare: Callable[[AsyncConnection[Any]], Awaitable[None]],
        clock: Clock,
        limit: float,
        named: str = "the journal's database",
    ) -> None:
        self._dsn = dsn
        self._prepare = prepare
        self._clock = clock
        self._limit = limit
        self._named = named
        self._connection: AsyncConnection[Any] | None = None

    async def use(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Do something with the connection, for at most the link's limit.

        Raises:
            UnreachableError: The same may be tried again.
            JournalError: It cannot be done.
        """
        try:
            connection = self._connection or await self._connect()
            with self._limited(connection):
                return await work(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction) as error:
            if not isinstance(error, psycopg.errors.TransactionRollback):
                await self.close()
            raise UnreachableError(_said(error)) from None
        except psycopg.Error as error:
            raise JournalError(f"{self._named} refused: {_said(error)}") from None
        except BaseException:
            # Cancelled under way: what the server still does with it is not known.
            await self.close()
            raise

    async def _connect(self) -> AsyncConnection[Any]:
        given = set(conninfo_to_dict(self._dsn))
        options = {name: value for name, value in _DEFAULTS.items() if name not in given}
        # Prepared statements belong to a session, which a pooler does not keep.
        connection = await AsyncConnection[Any].connect(
            str(self._dsn), autocommit=True, prepare_threshold=None, **options
        )
        self._connection = connection
        with self._limited(connection):
            await self._prepare(connection)
        return connection

    @contextmanager
    def _limited(self, connection: AsyncConnection[Any]) -> Generator[None]:
        """Cut the connection when the time is up: waiting for a server that is gone would take minutes."""
        timer = self._clock.timer(self._limit, lambda: _cut(connection))
        try:
            yield
        finally:
            timer.cancel()

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _cut(connection: AsyncConnection[Any]) -> None:
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as plug:
        plug.shutdown(socket.SHUT_RDWR)


def _said(error: BaseException) -> str:
    """Return the first line of what the server or the driver said; neither repeats the password."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


@attrs.define(eq=False)
class Job(Generic[Item, Result]):
    """An item of work, and who waits for its result; ``unwanted`` takes a result that nobody waits for any more."""

    item: Item
    identity: Identity | None
    until: float
    future: asyncio.Future[Result]
    unwanted: Callable[[Result], object] | None = None

    def settle(self, result: Result) -> None:
        """Give the result to whom it is due."""
        if not self.future.done():
            self.future.set_result(result)
        elif self.unwanted is not None:
            self.unwanted(result)

    def fail(self, error: JournalError) -> None:
        """Give up."""
        if not self.future.done():
            self.future.set_exception(error)


class Lane(Generic[Item, Result]):
    """Do all work of one kind that waits in one transaction, in the order of its coming.

    While one batch is under way the next one gathers. What finds no server is tried again for ``patience`` seconds.
    No task is left when nothing waits.
    """

    def __init__(
        self,
        link: Link,
        serve: Callable[[AsyncConnection[Any], Sequence[Item]], Awaitable[Sequence[Result]]],
        clock: Clock,
        patience: float,
    ) -> None:
        self._link = link
        self._serve = serve
        self._clock = clock
        self._patience = patience
        self._jobs: deque[Job[Item, Result]] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(
        self, item: Item, identity: Identity | None = None, unwanted: Callable[[Result], object] | None = None
    ) -> asyncio.Future[Result]:
        """Put work in line; the future fails with a JournalError, and cancelling it takes the work back if it waits."""
        loop = asyncio.get_running_loop()
        job = Job(item, identity, self._clock.elapsed() + self._patience, loop.create_future(), unwanted)
        self._jobs.append(job)
        if self._task is None or self._task.done():
            # Not in the caller's context: whoever comes first is not whose work this is.
            self._task = loop.create_task(self._work(), context=contextvars.Context())
        return job.future

    async def _work(self) -> None:
        waits = 0
        while batch := self._batch():
            try:
                waits = 0 if await self._done(batch) else waits + 1
            except BaseException:
                self._jobs.extendleft(reversed([job for job in batch if not job.future.done()]))
                raise
            if waits:
                await self._clock.sleep(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(waits, 10)))

    def _batch(self) -> list[Job[Item, Result]]:
        """Take what waits, up to the first key that comes again: a statement changes a row once."""
        batch: list[Job[Item, Result]] = []
        seen: set[Identity] = set()
        while self._jobs and len(batch) < _MOST:
            job = self._jobs[0]
            if job.identity in seen:
                break
            self._jobs.popleft()
            if not job.future.cancelled():
                batch.append(job)
                if job.identity is not None:
                    seen.add(job.identity)
        return batch

    async def _done(self, batch: list[Job[Item, Result]]) -> bool:
        """Do a batch; False if there was no server, and what has time left waits for it."""
        try:
            results = await self._link.use(lambda connection: self._serve(connection, [job.item for job in batch]))
        except UnreachableError as error:
            self._put_off(batch, str(error))
            return False
        except JournalError as error:
            if len(batch) == 1:
                batch[0].fail(error)
                return True
            # One item's fault must not be the others'.
            return all([await self._done([job]) for job in batch])
        for job, result in zip(batch, results, strict=True):
            job.settle(result)
        return True

    def _put_off(self, batch: list[Job[Item, Result]], why: str) -> None:
        now = self._clock.elapsed()
        late = [job for job in batch if job.until <= now]
        for job in late:
            job.fail(JournalError(f"the journal's database cannot be reached, start it or check dsn=: {why}"))
        self._jobs.extendleft(reversed([job for job in batch if job not in late]))

    async def aclose(self) -> None:
        """Let what waits be done, for some seconds at most, and close the connection."""
        with TimeLimit(self._clock, _CLOSE_WITHIN):
            while self._jobs or (self._task is not None and not self._task.done()):
                if self._task is None or self._task.done():
                    # It was cancelled with its loop; what it had to do was not.
                    self._task = asyncio.get_running_loop().create_task(self._work())
                await asyncio.wait([self._task])
        if self._task is not None:
            await ended(self._task)
        await self._link.close()


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # asyncio would report one that nobody looked at


def checked(dsn: Secret) -> Secret:
    """Return a connection string that libpq can read.

    Raises:
        ConfigurationError: It cannot; the message does not repeat it, since it may hold a password.
    """
    try:
        conninfo_to_dict(dsn)
    except psycopg.Error:
        raise ConfigurationError("dsn: it is no connection string, such as postgresql://user@host/database") from None
    return dsn
