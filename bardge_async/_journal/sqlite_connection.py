"""A journal's database as this process has it open: its connection, its transactions under locks of our own, its closing.

What is acknowledged is numbered: each commit stores its number in the table ``facts``, and afterwards in ``-lock``.
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from typing import Final

from bardge_async._journal.sqlite_commits import CommitNumber, read_commit_number, store_commit_number
from bardge_async._journal.sqlite_files import JournalFiles
from bardge_async._journal.sqlite_locks import LockFile, LockRecord
from bardge_async._journal.sqlite_schema import open_journal_file, open_read_only
from bardge_async.errors import JournalError

_OPEN_TIMEOUT: Final = 60.0
_CLOSE_TIMEOUT: Final = 10.0


class JournalConnection:
    """One connection to a journal's file; one thread at a time may use it."""

    def __init__(self, path: Path, locks: LockFile) -> None:
        self._path = path
        self._locks = locks
        self._files = JournalFiles(path)
        self._connection: sqlite3.Connection | None = None
        self._anchor: sqlite3.Connection | None = None
        self._record = LockRecord()
        self._is_exclusive = self._is_marked = self._writes = self._is_durable = False
        self._synchronous = "FULL"

    def open(self, timeout: float = _OPEN_TIMEOUT) -> sqlite3.Connection:
        """Open the file, and keep it locked: end with ``commit`` or ``roll_back``.

        Raises:
            JournalError: The file cannot be used; it is left unchanged.
        """
        self._locks.wait_to_lock(exclusive=True, timeout=timeout)
        self._record, self._is_exclusive = self._locks.read_record(), True
        self._writes = self._is_durable = False
        try:
            return self._get_connection()
        except BaseException:
            self.roll_back()
            raise

    def try_begin(self, *, writes: bool, durable: bool = True) -> sqlite3.Connection | None:
        """Begin a transaction; return None if another process or program has the file locked.

        Raises:
            JournalError: The file cannot be used.
            sqlite3.Error: The same.
        """
        if not self._try_lock(writes):
            return None
        self._writes, self._is_durable = writes, durable
        try:
            connection = self._get_connection()
            if writes:
                self._set_durability(connection, durable)
            connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        except BaseException as error:
            self.roll_back()
            if is_locked_error(error):
                return None
            raise
        return connection

    def _try_lock(self, writes: bool) -> bool:
        exclusive = writes or self._connection is None
        while self._locks.try_lock(exclusive=exclusive):
            self._record, self._is_exclusive = self._locks.read_record(), exclusive
            # A process died while it wrote, or cut the index of the log: SQLite repairs that, which no other may see.
            if exclusive or not (self._record.is_busy or not self._files.is_index_whole()):
                return True
            self._locks.unlock()
            exclusive = True
        return False

    def _get_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            self._locks.mark_open()
        # Without a record no other process has the journal open.
        if self._is_exclusive and self._record.way:
            self._locks.write_record(self._record._replace(is_busy=True))
            self._is_marked = True
        if self._connection is not None:
            if self._files.is_replaced():
                raise self._make_replaced_error()
            if self._files.is_index_whole():
                return self._connection
            self._close_connection(keep_log=True)
        if self._files.is_moved():
            # Never create a new file in place of one that holds keys: a repeated call would be executed again.
            raise self._make_replaced_error()
        return self._open_connection()

    def _open_connection(self) -> sqlite3.Connection:
        try:
            self._connection = connection = open_journal_file(self._path, self._record)
            self._synchronous = "FULL"
            if sys.version_info < (3, 12):
                self._anchor = open_read_only(self._path, "mode=ro")
                self._anchor.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            self._locks.prepare(connection)
            self._files.note_opened()
        except sqlite3.Error as error:
            self._close_connection(keep_log=True)
            raise JournalError(f"{self._path}: the journal cannot be used: {error}") from None
        except OSError as error:
            self._close_connection(keep_log=True)
            raise JournalError(f"{self._path}: the journal cannot be opened: {error.strerror}") from None
        number = read_commit_number(connection)
        self._record = self._record._replace(
            is_busy=False, commits=number.commits, moved=max(number.moved, self._record.moved)
        )
        self._is_marked = True
        return connection

    def _make_replaced_error(self) -> JournalError:
        return JournalError(f"{self._path}: the journal was removed or replaced while it was open")

    def _set_durability(self, connection: sqlite3.Connection, durable: bool) -> None:
        # A key that is held is free after a power failure: its row need not be on the disk.
        if durable is not (self._synchronous == "FULL"):
            self._synchronous = "FULL" if durable else "NORMAL"
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")

    def commit(self) -> None:
        """Commit, number the commit, and release the lock.

        Raises:
            JournalError: The lock file cannot be written.
            sqlite3.Error: The transaction could not be committed; it must be rolled back.
        """
        connection, record = self._connection, self._record
        assert connection is not None
        if record.is_busy:
            # The process that died may have committed without saying so.
            number = read_commit_number(connection)
            record = record._replace(is_busy=False, commits=max(record.commits, number.commits))
        if self._writes and self._is_durable:
            record = record._replace(commits=record.commits + 1)
            store_commit_number(connection, CommitNumber(record.commits, record.moved))
        if connection.in_transaction:
            connection.execute("COMMIT")
        if self._is_exclusive and self._files.is_log_moved():
            record = record._replace(moved=record.commits)
        self._record = record
        self._unlock()

    def roll_back(self) -> None:
        """Roll back, and release the lock."""
        connection = self._connection
        try:
            if connection is not None and connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._close_connection(keep_log=True)
            self._record = self._record._replace(is_busy=True)
        finally:
            self._unlock()

    def _unlock(self) -> None:
        try:
            if self._is_marked:
                self._locks.write_record(self._record)
        finally:
            self._is_exclusive = self._is_marked = False
            self._locks.unlock()

    def close(self, timeout: float = _CLOSE_TIMEOUT) -> None:
        """Close the file; the last to do so moves the log into it. It is opened again when it is used again."""
        if self._connection is None:
            return
        try:
            self._locks.wait_to_lock(exclusive=True, timeout=timeout)
        except JournalError:
            self._close_connection(keep_log=True)
            return
        self._record, self._is_exclusive = self._locks.read_record(), True
        try:
            is_last = self._locks.is_alone() and self._files.is_log_movable()
            self._close_connection(keep_log=not is_last)
            if is_last:
                self._record, self._is_marked = self._record._replace(moved=self._record.commits), True
        finally:
            self._unlock()

    def _close_connection(self, *, keep_log: bool) -> None:
        """Close the connection; with ``keep_log``, SQLite neither moves the log into the file nor deletes it."""
        connection, anchor = self._connection, self._anchor
        self._connection = self._anchor = None
        self._files.note_closed()
        if connection is None:
            return
        if sys.version_info >= (3, 12):
            connection.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep_log)
            connection.close()
        else:
            # SQLite does it at the close of the last connection that can write. While another connection of this
            # process is open the first is not the last, and the other one can only read.
            for closed in (connection, anchor) if keep_log else (anchor, connection):
                if closed is not None:
                    closed.close()


def is_locked_error(error: BaseException) -> bool:
    """Return whether another program has the file locked."""
    # The extended codes have the plain one in their lowest byte.
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
