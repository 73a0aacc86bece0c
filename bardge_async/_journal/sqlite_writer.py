"""One thread that owns the database: it takes all waiting work at once and commits it together."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import attrs

from bardge_async._journal.sqlite_schema import connect
from bardge_async._runtime.loops import PerLoop
from bardge_async.errors import JournalError

T = TypeVar("T")

_MOST: Final = 1000
"""Jobs of one commit."""
_COMPANIONS: Final = ("", "-wal", "-shm", "-lock")


@attrs.define(eq=False)
class _Job:
    """Work on the database, and who waits for it."""

    work: Callable[[sqlite3.Connection], Any]
    writes: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    fault: str | None = None

    def settle(self) -> None:
        """Tell the waiter, in its loop."""
        if self.future.done():
            return
        if self.fault is not None:
            self.future.set_exception(JournalError(self.fault))
        else:
            self.future.set_result(self.result)


class Writer:
    """Run jobs in a thread of its own; ``finish`` is called once in every transaction, and told whether it writes.

    Jobs of one turn of an event loop are handed over together: to wake the thread takes longer than most jobs.

    No connection is open during a fork: SQLite's own record of its locks would be wrong in the child, and a log that
    only the child still writes to could be deleted under it.
    """

    def __init__(self, path: Path, finish: Callable[[sqlite3.Connection, bool], None]) -> None:
        self._path = path
        self._finish = finish
        self._closed = False
        self._file: tuple[int, int] | None = None
        self._places: list[tuple[int, int] | None] = []
        self._connection: sqlite3.Connection | None = None
        self._gathered: PerLoop[list[_Job]] = PerLoop(list)
        self.begin_anew()
        with _REGISTER:
            self._open()
            _ALL.add(self)

    def begin_anew(self) -> None:
        """Begin with no thread and no work, as the child of a fork must."""
        self._gate = threading.Lock()
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> T:
        """Run a job and return its result, once what it wrote is on disk.

        Raises:
            JournalError: The database could not be read or written.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, writes, loop, loop.create_future())
        gathered = self._gathered.get()
        with self._lock:
            if self._closed:
                raise JournalError(f"{self._path}: the journal is closed")
            gathered.append(job)
            if len(gathered) == 1:
                loop.call_soon(self._hand_over, gathered)
        return cast("T", await job.future)

    def _hand_over(self, gathered: list[_Job]) -> None:
        with self._lock:
            # Who closes the journal meanwhile has handed them over.
            if not gathered:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="bardge journal", daemon=True)
                self._thread.start()
            self._jobs.put(gathered.copy())
            gathered.clear()

    def close(self) -> None:
        """End the thread after the jobs that wait, and close the file."""
        for _, gathered in self._gathered.items():  # noqa: PERF102 - no dict
            self._hand_over(gathered)
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            if thread is not None:
                self._jobs.put(None)
        if thread is not None:
            thread.join()
        _ALL.discard(self)
        with self._gate:
            self._disconnect()

    def pause(self) -> None:
        """Finish the commit that is under way, close the file, and begin nothing until ``resume``."""
        self._gate.acquire()
        self._disconnect()

    def resume(self) -> None:
        """Go on after ``pause``."""
        self._gate.release()

    def _open(self) -> sqlite3.Connection:
        if self._file is not None and _place(self._path) != self._file:
            # Never make a new file in place of one that holds keys.
            raise JournalError(f"{self._path}: the journal was removed or replaced while it was open")
        self._connection = connect(self._path)
        self._places = [_place(self._path.with_name(self._path.name + end)) for end in _COMPANIONS]
        self._file = self._places[0]
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _work(self) -> None:
        jobs, gate = self._jobs, self._gate
        ended = False
        while not ended:
            batch: list[_Job] = []
            while not ended and (not batch or (len(batch) < _MOST and not jobs.empty())):
                more = jobs.get()
                ended = more is None
                batch += more or ()
            with gate:
                self._run(batch)

    def _run(self, batch: list[_Job]) -> None:
        # Reads first: they need not wait for the disk.
        for writes in (False, True):
            group = [job for job in batch if job.writes is writes]
            if group:
                self._transact(group)
                _tell(group)

    def _transact(self, group: list[_Job]) -> None:
        """Do a group's work in one transaction: all of it is on disk afterwards, or none."""
        try:
            connection = self._usable()
            connection.execute("BEGIN IMMEDIATE" if group[0].writes else "BEGIN")
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must go on
            self._fail(group, error)
            return
        try:
            for job in group:
                job.result = job.work(connection)
            self._finish(connection, group[0].writes)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001
            self._roll_back(connection)
            # The disk's fault is everybody's; one job's must not be the others'.
            if len(group) == 1 or isinstance(error, sqlite3.OperationalError):
                self._fail(group, error)
                return
            for job in group:
                self._transact([job])

    def _fail(self, group: list[_Job], error: Exception) -> None:
        fault = str(error) if isinstance(error, JournalError) else f"{self._path}: {str(error) or type(error).__name__}"
        for job in group:
            job.fault = fault

    def _usable(self) -> sqlite3.Connection:
        connection = self._connection or self._open()
        if [_place(self._path.with_name(self._path.name + end)) for end in _COMPANIONS] != self._places:
            raise JournalError(f"{self._path}: the journal was removed or replaced while it was open")
        return connection

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()


def _place(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


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


_ALL: Final[weakref.WeakSet[Writer]] = weakref.WeakSet()
_PAUSED: Final[list[Writer]] = []
_REGISTER: Final = threading.RLock()


def _before_fork() -> None:
    _REGISTER.acquire()
    _PAUSED[:] = list(_ALL)
    for writer in _PAUSED:
        writer.pause()


def _after_fork_in_parent() -> None:
    for writer in _PAUSED:
        writer.resume()
    _PAUSED.clear()
    _REGISTER.release()


def _after_fork_in_child() -> None:
    for writer in _PAUSED:
        writer.begin_anew()
    _PAUSED.clear()
    _REGISTER.release()


if sys.platform != "win32":
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
