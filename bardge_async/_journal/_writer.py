"""One thread that owns the database: it takes all waiting work at once and commits it together."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import attrs

from bardge_async._journal._schema import connect
from bardge_async.errors import JournalError

T = TypeVar("T")

_MOST: Final = 1000
"""Jobs of one commit."""


@attrs.define(eq=False)
class _Job:
    """Work on the database, and who waits for it."""

    work: Callable[[sqlite3.Connection], Any]
    writes: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: JournalError | None = None

    def settle(self) -> None:
        """Tell the waiter, in its loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """Run jobs in a thread of its own; it opens the file anew in the child of a fork."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._process = 0
        self._opened: tuple[sqlite3.Connection, tuple[int, int]] | None = None
        self._opened = self._open()

    async def run(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> T:
        """Run a job and return its result, once what it wrote is on disk.

        Raises:
            JournalError: The database could not be read or written.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, writes, loop, loop.create_future())
        self._start()
        self._jobs.put(job)
        return cast("T", await job.future)

    def close(self) -> None:
        """End the thread after the jobs that wait, and close the file."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and self._process == os.getpid():
            self._jobs.put(None)
            thread.join()
        if self._opened is not None and self._process == os.getpid():
            self._opened[0].close()
        self._opened = None

    def _open(self) -> tuple[sqlite3.Connection, tuple[int, int]]:
        self._process = os.getpid()
        connection = connect(self._path)
        found = self._path.stat()
        return connection, (found.st_dev, found.st_ino)

    def _start(self) -> None:
        if self._thread is not None and self._process == os.getpid():
            return
        with self._lock:
            if self._thread is not None and self._process == os.getpid():
                return
            if self._process != os.getpid():
                # The parent's connection must not be touched, nor its thread waited for.
                _INHERITED.append(self._opened)
                self._opened = None
                self._jobs = queue.SimpleQueue()
            if self._opened is None:
                self._opened = self._open()
            self._thread = threading.Thread(target=self._work, name="bardge journal", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        jobs = self._jobs
        while (first := jobs.get()) is not None:
            batch = [first]
            ended = False
            while len(batch) < _MOST and not jobs.empty():
                following = jobs.get()
                if following is None:
                    ended = True
                    break
                batch.append(following)
            self._run(batch)
            if ended:
                return

    def _run(self, batch: list[_Job]) -> None:
        reads = [job for job in batch if not job.writes]
        writes = [job for job in batch if job.writes]
        for group in (reads, writes):
            if group:
                self._transaction(group)
                _tell(group)

    def _transaction(self, group: list[_Job]) -> None:
        """Do a group's work in one transaction: all of it is on disk afterwards, or none."""
        try:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE" if group[0].writes else "BEGIN")
            for job in group:
                job.result = job.work(connection)
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError, JournalError) as error:
            self._roll_back()
            if len(group) == 1:
                group[0].error = error if isinstance(error, JournalError) else JournalError(f"{self._path}: {error}")
                return
            # One job's fault must not be the others'.
            for job in group:
                self._transaction([job])

    def _connection(self) -> sqlite3.Connection:
        assert self._opened is not None  # noqa: S101 - opened before the thread began
        connection, identity = self._opened
        try:
            found = self._path.stat()
        except OSError:
            raise JournalError(f"{self._path}: the journal was removed while it was open") from None
        if (found.st_dev, found.st_ino) != identity:
            raise JournalError(f"{self._path}: the journal was replaced while it was open")
        return connection

    def _roll_back(self) -> None:
        if self._opened is None or not self._opened[0].in_transaction:
            return
        try:
            self._opened[0].execute("ROLLBACK")
        except sqlite3.Error:
            self._opened[0].close()
            self._opened = self._open()


_INHERITED: Final[list[object]] = []


def _tell(group: list[_Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in group:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, jobs)
        except RuntimeError:
            # The loop was closed meanwhile: nobody waits there any more.
            continue


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        job.settle()
