"""The journal on disk without its thread, for loops with simulated time."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from bardge_async import SQLiteJournal
from bardge_async._journal.sqlite_tasks import DatabaseTask
from bardge_async._journal.sqlite_writer import SQLiteWriter, StartTimer

T = TypeVar("T")


class _InlineWriter(SQLiteWriter):
    """Run every task immediately, and deliver its result at the loop's next turn."""

    async def run(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        writes: bool,
        durable: bool = True,
        start_timer: StartTimer | None = None,
    ) -> T:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._connection_lock:
            self._run_batch([DatabaseTask(work, writes, loop, future, durable=durable)])
        return await future


class InlineJournal(SQLiteJournal):
    """The same file, rules and locks; the loop blocks on the disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._writer.close()
        self._writer = _InlineWriter(self.path, self._locks, self._complete_transaction)
