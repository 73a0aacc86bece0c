"""What a worker waits for: found out, reported immediately and again while it lasts, and told from what cannot pass."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable
from typing import Final, Self

import attrs
import procrastinate
import psycopg
import psycopg_pool
from procrastinate.exceptions import AppNotOpen, ConnectorException

from bardge_async._postgres.causes import describe_cause, is_permanent

_REPEAT_AFTER: Final = 30.0
"""Seconds between two reports while a wait lasts."""
_PROBE_TIMEOUT: Final = 5
# Class 28: authorization; 3D and 3F: no such database or schema; 42: no right, or no such table, column or function.
_PERMANENT_CLASSES: Final = ("28", "3D", "3F", "42")


@attrs.frozen
class WorkerEvent:
    """What a worker reports of itself.

    Attributes:
        event: ``"started"``, ``"waiting"`` (repeated every 30 seconds), ``"working"`` after a wait, or ``"stopped"``.
        at: When, aware UTC.
        cause: What it waits for, in one line; None if it does not wait.
    """

    event: str
    at: dt.datetime
    cause: str | None = None


@attrs.frozen
class Outage:
    """Why a database cannot be used, in one line, and whether that lasts until a person changes something."""

    cause: str
    is_permanent: bool


class WaitReporter:
    """Report the causes for which a worker waits, by what they concern: one report every 30 seconds."""

    def __init__(
        self, on_event: Callable[[WorkerEvent], None] | None, elapsed: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_event = on_event
        self._elapsed = elapsed
        self._causes: dict[str, str] = {}
        self._reported_at = float("-inf")

    def report(self, event: str, cause: str | None = None) -> None:
        """Report an event."""
        if self._on_event is not None:
            self._on_event(WorkerEvent(event, dt.datetime.now(dt.UTC), cause))

    def wait_for(self, what: str, cause: str) -> None:
        """Note that the worker waits; the first cause is reported immediately."""
        if not self._causes:
            self._reported_at = float("-inf")
        self._causes[what] = cause
        self.repeat()

    def resume(self, what: str) -> None:
        """Note that the worker no longer waits for something."""
        if self._causes.pop(what, None) is not None and not self._causes:
            self.report("working")

    def repeat(self) -> None:
        """Report the causes again if it is time to."""
        now = self._elapsed()
        if self._causes and now - self._reported_at >= _REPEAT_AFTER:
            self._reported_at = now
            self.report("waiting", "; ".join(dict.fromkeys(self._causes.values())))


class SideTaskWatch(logging.Filter):
    """Remember why a side task of procrastinate's worker failed: the worker then ends without an error."""

    def __init__(self, worker_name: str) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self._logger = logging.getLogger(f"procrastinate.worker.{worker_name}")

    def __enter__(self) -> Self:
        self._logger.addFilter(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._logger.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        if getattr(record, "action", None) == "side_task_failed" and record.exc_info:
            self.error = record.exc_info[1]
        return True


def describe_outage(error: BaseException) -> Outage:
    """Describe an error of the database or its driver."""
    original = error.__cause__ if isinstance(error, ConnectorException) and error.__cause__ is not None else error
    text = describe_cause(original)
    if not isinstance(original, psycopg.Error):
        return Outage(text, is_permanent=False)
    if original.sqlstate is not None:
        return Outage(text, original.sqlstate.startswith(_PERMANENT_CLASSES))
    return Outage(text, is_permanent(original))


async def find_outage(connector: procrastinate.PsycopgConnector, error: BaseException) -> Outage:
    """Find out why a queue's database cannot be used; a pool only says that it got no connection in time."""
    if isinstance(error.__cause__ or error, psycopg_pool.PoolTimeout | TimeoutError):
        return await probe_database(connector) or Outage("no connection of the worker's pool came free in time", False)
    return describe_outage(error)


async def probe_database(connector: procrastinate.PsycopgConnector) -> Outage | None:
    """Open a connection of its own, and return why that, or writing with it, fails; None if it works."""
    try:
        pool = connector.pool
    except AppNotOpen:
        return None
    if not isinstance(pool.conninfo, str):
        return None
    try:
        async with await psycopg.AsyncConnection.connect(pool.conninfo, connect_timeout=_PROBE_TIMEOUT) as connection:
            found = await connection.execute("SELECT pg_catalog.current_setting('transaction_read_only')")
            is_read_only = await found.fetchone() == ("on",)
    except psycopg.Error as error:
        return describe_outage(error)
    return Outage("it is read-only: a standby, or set so for this role", is_permanent=False) if is_read_only else None
