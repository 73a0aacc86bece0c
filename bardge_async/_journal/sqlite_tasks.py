"""Tasks of a journal's thread: work on the database, and the futures of those who wait for it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any

import attrs

from bardge_async.errors import JournalError


@attrs.define(eq=False)
class DatabaseTask:
    """Work on the database, and the future that its result is for, if any.

    It is tried until ``deadline`` while the file is locked; without ``durable`` it may be lost in a power failure.
    """

    work: Callable[[sqlite3.Connection], Any]
    writes: bool
    loop: asyncio.AbstractEventLoop | None = None
    future: asyncio.Future[Any] | None = None
    result: Any = None
    error_message: str | None = None
    deadline: float = 0.0
    durable: bool = True

    @property
    def is_abandoned(self) -> bool:
        """Whether the caller no longer waits for it."""
        return self.future is not None and self.future.done()

    def resolve_future(self) -> None:
        """Resolve the future; must run in its loop."""
        if self.future is None or self.future.done():
            return
        if self.error_message is not None:
            self.future.set_exception(JournalError(self.error_message))
        else:
            self.future.set_result(self.result)


def deliver_results(group: list[DatabaseTask]) -> None:
    """Resolve the futures of a group of tasks, each in its loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[DatabaseTask]] = {}
    for job in group:
        if job.loop is not None:
            by_loop.setdefault(job.loop, []).append(job)
    for loop, tasks in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve_futures, tasks)
        except RuntimeError:
            # The loop was closed in the meantime: no task waits there any longer.
            continue


def _resolve_futures(tasks: list[DatabaseTask]) -> None:
    for job in tasks:
        job.resolve_future()
