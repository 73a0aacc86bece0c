"""One PostgreSQL connection, for journal and limiter: opened on first use, and again after an error."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from bardge_async._core.secret import Secret
from bardge_async._postgres.causes import describe_cause, is_permanent
from bardge_async._runtime.clock import Clock
from bardge_async.errors import JournalError

T = TypeVar("T")

# Detect a peer that vanished within seconds; the caller's DSN takes precedence.
_CONNECTION_DEFAULTS: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "bardge_async",
}
_CHECK: Final = b"SELECT 1"
_TRANSIENT: Final = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)


class UnreachableError(Exception):
    """Retrying may help: the server is away, starting or read-only for now, or chose this transaction in a deadlock.

    ``broke_connection``: the connection had just been checked, and did not survive this work.
    """

    def __init__(self, cause: str, *, broke_connection: bool = False) -> None:
        super().__init__(cause)
        self.broke_connection = broke_connection


class ConnectionRefusedByServerError(Exception):
    """The server refuses the connection, and will until a person changes something."""


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
        self.name = name
        self._connection: AsyncConnection[Any] | None = None
        self._timed_out = self._is_checked = False

    async def run(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]], *, check_first: bool = False) -> T:
        """Run ``work`` with the connection, within the time limit; ``check_first`` that it works.

        Raises:
            UnreachableError: Retrying may help.
            ConnectionRefusedByServerError: It refuses until a person changes something.
            JournalError: The server reported an error that retrying does not resolve.
        """
        self._timed_out = self._is_checked = False
        try:
            connection = self._connection or await self._open_connection()
            with self._limit_time(connection):
                if check_first:
                    await connection.execute(_CHECK)
                    self._is_checked = True
                return await work(connection)
        except psycopg.Error as error:
            failure = self._translate_error(error)
        except (ValueError, TypeError, OverflowError) as error:
            # Text that UTF-8 cannot hold, or a row that cannot be decoded: psycopg passes these on as they are.
            failure = JournalError(f"{self.name} cannot hold this: {error}")
        except BaseException:
            # Cancelled in flight: the state of the connection is unknown.
            await self.close()
            raise
        if not isinstance(failure, _KeepsConnectionError):
            await self.close()
        # Raised outside of any handler: the frames of psycopg's errors hold the connection string.
        raise failure

    def _translate_error(self, error: psycopg.Error) -> Exception:
        cause = f"no answer within {self._timeout:g} s" if self._timed_out else describe_cause(error)
        if isinstance(error, psycopg.errors.TransactionRollback):
            return _KeepsConnectionError(cause)
        if not isinstance(error, _TRANSIENT) or isinstance(error, psycopg.errors.ProgramLimitExceeded):
            return JournalError(f"{self.name} refused: {cause}")
        if not self._timed_out and is_permanent(error):
            return ConnectionRefusedByServerError(
                f"{self.name} refused the connection, correct dsn= or rights: {cause}"
            )
        is_read_only = isinstance(error, psycopg.errors.ReadOnlySqlTransaction)
        return UnreachableError(cause, broke_connection=self._is_checked and not is_read_only)

    async def _open_connection(self) -> AsyncConnection[Any]:
        given_options = set(conninfo_to_dict(self._dsn))
        options = {name: value for name, value in _CONNECTION_DEFAULTS.items() if name not in given_options}
        # Prepared statements belong to a session, which a pooler in transaction mode does not keep. Text is UTF-8
        # whatever the database's encoding, the DSN and the environment say: psycopg returns bytes under SQL_ASCII.
        connection = await AsyncConnection[Any].connect(
            str(self._dsn), autocommit=True, prepare_threshold=None, client_encoding="UTF8", **options
        )
        try:
            with self._limit_time(connection):
                await self._prepare(connection)
        except BaseException:
            await connection.close()
            raise
        self._connection = connection
        return connection

    @contextmanager
    def _limit_time(self, connection: AsyncConnection[Any]) -> Generator[None]:
        """Shut the socket down when the time is up: waiting for a vanished server would take minutes."""
        timer = self._clock.timer(self._timeout, lambda: self._give_up(connection))
        try:
            yield
        finally:
            timer.cancel()

    def _give_up(self, connection: AsyncConnection[Any]) -> None:
        self._timed_out = True
        with (
            contextlib.suppress(OSError, psycopg.Error),
            socket.socket(fileno=os.dup(connection.fileno())) as connection_socket,
        ):
            connection_socket.shutdown(socket.SHUT_RDWR)

    def abort(self) -> None:
        """Fail the statement in flight, if there is one."""
        if self._connection is not None:
            self._give_up(self._connection)

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class _KeepsConnectionError(UnreachableError):
    """Another attempt over the same connection may help."""
