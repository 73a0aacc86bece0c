"""Group commit: one thread owns the database, takes all queued tasks and commits them together."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

from bardge_async._core.forks import register_lock_owner
from bardge_async._journal.sqlite_chores import Chore, ChoreQueue
from bardge_async._journal.sqlite_connection import JournalConnection
from bardge_async._journal.sqlite_locks import POLL_SECONDS, LockFile
from bardge_async._journal.sqlite_tasks import DatabaseTask, deliver_results
from bardge_async._runtime.clock import Timer
from bardge_async._runtime.loops import PerLoop, find_running_loop
from bardge_async.errors import JournalError

T = TypeVar("T")

StartTimer: TypeAlias = Callable[[Callable[[], object]], Timer]

_MAX_BATCH: Final = 1000
"""Maximum number of tasks per commit."""
_LONGEST_POLL_SECONDS: Final = 0.005


class SQLiteWriter:
    """Run tasks in a dedicated thread; ``before_commit`` is called once per transaction with whether it writes.

    Tasks from one iteration of an event loop are handed over together: waking the thread takes longer than most tasks.

    The connection is closed during a fork: a child must not use its parent's connection
    (https://www.sqlite.org/howtocorrupt.html, 2.6).
    """

    def __init__(
        self,
        path: Path,
        locks: LockFile,
        before_commit: Callable[[sqlite3.Connection, bool], None],
        migrate: Callable[[sqlite3.Connection], None] = lambda _: None,
        timeout: float = 60.0,
    ) -> None:
        self._path = path
        self._file = JournalConnection(path, locks)
        self._before_commit = before_commit
        self._timeout = timeout
        self._closed = False
        self._pending: PerLoop[list[DatabaseTask]] = PerLoop(list)
        self.reset_after_fork()
        with _REGISTRY_LOCK:
            self._open_file(migrate)
            _OPEN_WRITERS.add(self)
        register_lock_owner(self)

    def reset_after_fork(self) -> None:
        """Start with no thread and no tasks: a forked child inherits neither."""
        self._connection_lock = threading.Lock()
        self._lock = threading.Lock()
        self._batches: queue.SimpleQueue[list[DatabaseTask] | None] = queue.SimpleQueue()
        self._chores: ChoreQueue[DatabaseTask] = ChoreQueue()
        self._thread: threading.Thread | None = None

    async def run(
        self,
        work: Callable[[sqlite3.Connection], T],
        *,
        writes: bool,
        durable: bool = True,
        start_timer: StartTimer | None = None,
    ) -> T:
        """Run a task and return its result, once what it wrote is on disk, if it is to be ``durable``.

        ``start_timer`` starts the time of a caller who does not wait for as long as the file may be locked.

        Raises:
            JournalError: The database could not be read or written.
        """
        loop = find_running_loop()
        deadline = time.monotonic() + self._timeout
        future: asyncio.Future[T] = loop.create_future()
        task = DatabaseTask(work, writes, loop, future, deadline=deadline, durable=durable)
        pending = self._pending.get()
        with self._lock:
            if self._closed:
                raise JournalError(f"{self._path}: the journal is closed")
            pending.append(task)
            if len(pending) == 1:
                loop.call_soon(self._hand_over_tasks, pending)
        if start_timer is None:
            return await future
        timer = start_timer(lambda: _expire(future, self._path))
        try:
            return await future
        finally:
            timer.cancel()

    def submit(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Run a task that writes after all those that are pending, and wait for nothing; it is not durable."""
        task = DatabaseTask(work, writes=True, deadline=time.monotonic() + self._timeout, durable=False)
        self._hand_over_pending()
        self._hand_over_tasks([task])

    async def run_chore(self, chore: Chore) -> None:
        """Run a chore in pieces, between the tasks.

        Raises:
            JournalError: The database could not be read or written, or the journal was closed meanwhile.
        """
        loop = find_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        task = DatabaseTask(lambda _: None, False, loop, future)
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
                return self._read_now(work)
        except sqlite3.Error as error:
            self.close()
            raise JournalError(f"{self._path}: the journal cannot be read: {error}") from None
        except BaseException:
            self.close()
            raise

    def _read_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        deadline = time.monotonic() + self._timeout
        while (connection := self._file.try_begin(writes=False)) is None:
            if time.monotonic() > deadline:
                raise _make_locked_error(self._path)
            time.sleep(POLL_SECONDS)
        try:
            result = work(connection)
            self._file.commit()
        except BaseException:
            self._file.roll_back()
            raise
        return result

    def _hand_over_tasks(self, pending: list[DatabaseTask]) -> None:
        with self._lock:
            # Closing the journal has handed them over already.
            if not pending or (self._closed and self._thread is None):
                return
            self._start_thread()
            self._batches.put(pending.copy())
            pending.clear()

    def _hand_over_pending(self) -> None:
        for _, pending in self._pending.items():  # noqa: PERF102 - no dict
            self._hand_over_tasks(pending)

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._process_batches, name="bardge journal", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Finish the queued tasks, end the thread and close the file."""
        self._hand_over_pending()
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            if thread is not None:
                self._batches.put(None)
        if thread is not None:
            thread.join()
        with self._connection_lock:
            self._file.close()
        # Only now: a fork must not meet an open connection that it does not know.
        _OPEN_WRITERS.discard(self)

    def pause(self) -> None:
        """Finish the current commit, close the file, and start nothing until ``resume``."""
        self._connection_lock.acquire()
        self._file.close(timeout=0)

    def resume(self) -> None:
        """Continue after ``pause``."""
        self._connection_lock.release()

    def _open_file(self, migrate: Callable[[sqlite3.Connection], None]) -> None:
        """Open the file and run ``migrate``, which begins and commits its own transactions."""
        connection = self._file.open()
        try:
            migrate(connection)
            self._file.commit()
        except BaseException as error:
            self._file.roll_back()
            self._file.close()
            if isinstance(error, sqlite3.Error):
                raise JournalError(f"{self._path}: the journal cannot be used: {error}") from None
            raise

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
        deliver_results(dropped)

    def _run_chores(self, chores: ChoreQueue[DatabaseTask]) -> None:
        ended = chores.run_due_piece(self._run_piece, lambda task: task.is_abandoned)
        if ended is not None:
            task, error_message = ended
            task.error_message = error_message
            deliver_results([task])

    def _run_piece(self, work: Callable[[sqlite3.Connection], bool], writes: bool) -> bool | str:
        piece = DatabaseTask(work, writes, deadline=time.monotonic() + self._timeout)
        self._run_transaction([piece])
        return bool(piece.result) if piece.error_message is None else piece.error_message

    def _run_batch(self, batch: list[DatabaseTask]) -> None:
        # Reads first: they need not wait for the disk.
        for writes in (False, True):
            group = [job for job in batch if job.writes is writes]
            if group:
                self._run_transaction(group)
                deliver_results(group)

    def _run_transaction(self, group: list[DatabaseTask]) -> None:
        """Run a group of tasks in one transaction: afterwards all of it is on disk, or none."""
        try:
            connection, group = self._begin(group)
        except Exception as error:  # noqa: BLE001 - the thread must survive any error
            self._fail_tasks(group, error)
            return
        if connection is None:
            return
        try:
            for job in group:
                job.result = job.work(connection)
            self._before_commit(connection, group[0].writes)
            self._file.commit()
        except Exception as error:  # noqa: BLE001
            self._file.roll_back()
            # A failing disk fails every task; one task's error must not fail the others.
            if len(group) == 1 or isinstance(error, sqlite3.OperationalError):
                self._fail_tasks(group, error)
                return
            for job in group:
                self._run_transaction([job])

    def _begin(self, group: list[DatabaseTask]) -> tuple[sqlite3.Connection | None, list[DatabaseTask]]:
        """Begin a transaction for those tasks that still want one once the file is no longer locked."""
        writes, durable = group[0].writes, any(job.durable for job in group)
        delay = POLL_SECONDS
        while (connection := self._file.try_begin(writes=writes, durable=durable)) is None:
            now = time.monotonic()
            expired = [job for job in group if job.deadline <= now]
            self._fail_tasks(expired, _make_locked_error(self._path))
            deliver_results(expired)
            group = [job for job in group if job.deadline > now and not job.is_abandoned]
            if not group:
                return None, group
            # A fork need not wait for another process.
            self._connection_lock.release()
            time.sleep(delay)
            self._connection_lock.acquire()
            delay = min(2 * delay, _LONGEST_POLL_SECONDS)
        return connection, group

    def _fail_tasks(self, group: list[DatabaseTask], error: Exception) -> None:
        message = (
            str(error) if isinstance(error, JournalError) else f"{self._path}: {str(error) or type(error).__name__}"
        )
        for job in group:
            job.error_message = message


def _make_locked_error(path: Path) -> JournalError:
    return JournalError(
        f"{path}: timed out waiting for the file, which another process or program has locked; try again"
    )


def _expire(future: asyncio.Future[T], path: Path) -> None:
    if not future.done():
        error = _make_locked_error(path)
        error.timed_out = True
        future.set_exception(error)


def _take_batch(
    batches: queue.SimpleQueue[list[DatabaseTask] | None], timeout: float | None
) -> tuple[list[DatabaseTask], bool]:
    """Wait for tasks, until a chore is due or added; return them, and whether the journal is closed."""
    batch: list[DatabaseTask] = []
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
