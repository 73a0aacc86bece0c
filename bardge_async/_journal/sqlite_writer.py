"""Group commit: one thread owns the database, takes all queued tasks and commits them together."""

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
from typing import Any, Final, TypeVar

import attrs

from bardge_async._core.forks import register_lock_owner
from bardge_async._journal.sqlite_chores import Chore, ChoreQueue
from bardge_async._journal.sqlite_schema import open_journal_file
from bardge_async._runtime.loops import PerLoop, find_running_loop
from bardge_async.errors import JournalError

T = TypeVar("T")

_MAX_BATCH: Final = 1000
"""Maximum number of tasks per commit."""
_FILE_SUFFIXES: Final = ("", "-wal", "-shm", "-lock")


@attrs.define(eq=False)
class _DatabaseTask:
    """Work on the database, and the future that its result is for, if any."""

    work: Callable[[sqlite3.Connection], Any]
    writes: bool
    loop: asyncio.AbstractEventLoop | None = None
    future: asyncio.Future[Any] | None = None
    result: Any = None
    error_message: str | None = None

    @property
    def is_abandoned(self) -> bool:
        """Whether the caller no longer waits for it."""
        return self.future is not None and self.future.cancelled()

    def resolve_future(self) -> None:
        """Resolve the future; must run in its loop."""
        if self.future is None or self.future.done():
            return
        if self.error_message is not None:
            self.future.set_exception(JournalError(self.error_message))
        else:
            self.future.set_result(self.result)


class SQLiteWriter:
    """Run tasks in a dedicated thread; ``before_commit`` is called once per transaction with whether it writes.

    Tasks from one iteration of an event loop are handed over together: waking the thread takes longer than most tasks.

    The connection is closed during a fork: SQLite's in-memory record of its locks would be wrong in the child, and a log
    that only the child still writes to could be deleted while in use
    (https://www.sqlite.org/howtocorrupt.html).
    """

    def __init__(
        self,
        path: Path,
        before_commit: Callable[[sqlite3.Connection, bool], None],
        migrate: Callable[[sqlite3.Connection], None] = lambda _: None,
    ) -> None:
        self._path = path
        self._before_commit = before_commit
        self._closed = False
        self._file_id: tuple[int, int] | None = None
        self._file_ids: list[tuple[int, int] | None] = []
        self._connection: sqlite3.Connection | None = None
        self._pending: PerLoop[list[_DatabaseTask]] = PerLoop(list)
        self.reset_after_fork()
        with _REGISTRY_LOCK:
            self._migrate_once(self._open_connection(), migrate)
            _OPEN_WRITERS.add(self)
        register_lock_owner(self)

    def reset_after_fork(self) -> None:
        """Start with no thread and no tasks: a forked child inherits neither."""
        self._connection_lock = threading.Lock()
        self._lock = threading.Lock()
        self._batches: queue.SimpleQueue[list[_DatabaseTask] | None] = queue.SimpleQueue()
        self._chores: ChoreQueue[_DatabaseTask] = ChoreQueue()
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> T:
        """Run a task and return its result, once what it wrote is on disk.

        Raises:
            JournalError: The database could not be read or written.
        """
        loop = find_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        task = _DatabaseTask(work, writes, loop, future)
        pending = self._pending.get()
        with self._lock:
            if self._closed:
                raise JournalError(f"{self._path}: the journal is closed")
            pending.append(task)
            if len(pending) == 1:
                loop.call_soon(self._hand_over_tasks, pending)
        return await future

    async def run_chore(self, chore: Chore) -> None:
        """Run a chore in pieces, between the tasks.

        Raises:
            JournalError: The database could not be read or written, or the journal was closed meanwhile.
        """
        loop = find_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        task = _DatabaseTask(lambda _: None, False, loop, future)
        with self._lock:
            if self._closed:
                raise JournalError(f"{self._path}: the journal is closed")
            self._chores.add(chore, task)
            self._start_thread()
            self._batches.put([])
        await future

    def add_chore(self, chore: Chore) -> None:
        """Run a chore after the current transaction; closing the journal ends it."""
        self._chores.add(chore)

    def read_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a read in the calling thread, which waits for the disk; if it fails, close the file.

        Raises:
            JournalError: The database could not be read.
        """
        try:
            with self._connection_lock:
                return work(self._get_connection())
        except sqlite3.Error as error:
            self.close()
            raise JournalError(f"{self._path}: the journal cannot be read: {error}") from None
        except BaseException:
            self.close()
            raise

    def _hand_over_tasks(self, pending: list[_DatabaseTask]) -> None:
        with self._lock:
            # Closing the journal has handed them over already.
            if not pending:
                return
            self._start_thread()
            self._batches.put(pending.copy())
            pending.clear()

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._process_batches, name="bardge journal", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Finish the queued tasks, end the thread and close the file."""
        for _, pending in self._pending.items():  # noqa: PERF102 - no dict
            self._hand_over_tasks(pending)
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            if thread is not None:
                self._batches.put(None)
        if thread is not None:
            thread.join()
        with self._connection_lock:
            self._close_connection()
        # Only now: a fork must not meet an open connection that it does not know.
        _OPEN_WRITERS.discard(self)

    def pause(self) -> None:
        """Finish the current commit, close the file, and start nothing until ``resume``."""
        self._connection_lock.acquire()
        self._close_connection()

    def resume(self) -> None:
        """Continue after ``pause``."""
        self._connection_lock.release()

    def _open_connection(self) -> sqlite3.Connection:
        if self._file_id is not None and _read_file_id(self._path) != self._file_id:
            # Never create a new file in place of one that holds keys: a repeated call would be executed again.
            raise JournalError(f"{self._path}: the journal was removed or replaced while it was open")
        self._connection = open_journal_file(self._path)
        self._file_ids = [_read_file_id(self._path.with_name(self._path.name + end)) for end in _FILE_SUFFIXES]
        self._file_id = self._file_ids[0]
        return self._connection

    def _migrate_once(self, connection: sqlite3.Connection, migrate: Callable[[sqlite3.Connection], None]) -> None:
        """Run ``migrate``, which begins and commits its own transactions."""
        try:
            migrate(connection)
        except BaseException as error:
            self._roll_back(connection)
            self._close_connection()
            if isinstance(error, sqlite3.Error):
                raise JournalError(f"{self._path}: the journal cannot be used: {error}") from None
            raise

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _process_batches(self) -> None:
        batches, connection_lock, chores = self._batches, self._connection_lock, self._chores
        ended = False
        while not ended:
            batch, ended = _take_batch(batches, chores.seconds_until_due())
            with connection_lock:
                self._run_batch(batch)
                if not ended:
                    self._run_chores(chores)
        dropped = chores.drain()
        self._fail_tasks(dropped, JournalError(f"{self._path}: the journal was closed"))
        _deliver_results(dropped)

    def _run_chores(self, chores: ChoreQueue[_DatabaseTask]) -> None:
        ended = chores.run_due_piece(self._run_piece, lambda task: task.is_abandoned)
        if ended is not None:
            task, error_message = ended
            task.error_message = error_message
            _deliver_results([task])

    def _run_piece(self, work: Callable[[sqlite3.Connection], bool], writes: bool) -> bool | str:
        piece = _DatabaseTask(work, writes)
        self._run_transaction([piece])
        return bool(piece.result) if piece.error_message is None else piece.error_message

    def _run_batch(self, batch: list[_DatabaseTask]) -> None:
        # Reads first: they need not wait for the disk.
        for writes in (False, True):
            group = [job for job in batch if job.writes is writes]
            if group:
                self._run_transaction(group)
                _deliver_results(group)

    def _run_transaction(self, group: list[_DatabaseTask]) -> None:
        """Run a group of tasks in one transaction: afterwards all of it is on disk, or none."""
        try:
            connection = self._get_connection()
            connection.execute("BEGIN IMMEDIATE" if group[0].writes else "BEGIN")
        except Exception as error:  # noqa: BLE001 - the thread must survive any error
            self._fail_tasks(group, error)
            return
        try:
            for job in group:
                job.result = job.work(connection)
            self._before_commit(connection, group[0].writes)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001
            self._roll_back(connection)
            # A failing disk fails every task; one task's error must not fail the others.
            if len(group) == 1 or isinstance(error, sqlite3.OperationalError):
                self._fail_tasks(group, error)
                return
            for job in group:
                self._run_transaction([job])

    def _fail_tasks(self, group: list[_DatabaseTask], error: Exception) -> None:
        message = (
            str(error) if isinstance(error, JournalError) else f"{self._path}: {str(error) or type(error).__name__}"
        )
        for job in group:
            job.error_message = message

    def _get_connection(self) -> sqlite3.Connection:
        connection = self._connection or self._open_connection()
        if [_read_file_id(self._path.with_name(self._path.name + end)) for end in _FILE_SUFFIXES] != self._file_ids:
            raise JournalError(f"{self._path}: the journal was removed or replaced while it was open")
        return connection

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._close_connection()


def _take_batch(
    batches: queue.SimpleQueue[list[_DatabaseTask] | None], timeout: float | None
) -> tuple[list[_DatabaseTask], bool]:
    """Wait for tasks, until a chore is due or added; return them, and whether the journal is closed."""
    batch: list[_DatabaseTask] = []
    while not batch or (len(batch) < _MAX_BATCH and not batches.empty()):
        try:
            more = batches.get(timeout=timeout)
        except queue.Empty:
            break
        if more is None:
            return batch, True
        batch += more
        if not more:
            break
    return batch, False


def _read_file_id(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _deliver_results(group: list[_DatabaseTask]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_DatabaseTask]] = {}
    for job in group:
        if job.loop is not None:
            by_loop.setdefault(job.loop, []).append(job)
    for loop, tasks in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve_futures, tasks)
        except RuntimeError:
            # The loop was closed in the meantime: no task waits there any longer.
            continue


def _resolve_futures(tasks: list[_DatabaseTask]) -> None:
    for job in tasks:
        job.resolve_future()


_OPEN_WRITERS: Final[weakref.WeakSet[SQLiteWriter]] = weakref.WeakSet()
_PAUSED_WRITERS: Final[list[SQLiteWriter]] = []
_REGISTRY_LOCK: Final = threading.RLock()


def _before_fork() -> None:
    _REGISTRY_LOCK.acquire()
    _PAUSED_WRITERS[:] = list(_OPEN_WRITERS)
    for writer in _PAUSED_WRITERS:
        writer.pause()


def _after_fork_in_parent() -> None:
    for writer in _PAUSED_WRITERS:
        writer.resume()
    _PAUSED_WRITERS.clear()
    _REGISTRY_LOCK.release()


def _after_fork_in_child() -> None:
    _PAUSED_WRITERS.clear()
    _REGISTRY_LOCK.release()


if sys.platform != "win32":
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
