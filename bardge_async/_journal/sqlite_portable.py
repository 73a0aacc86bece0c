"""Locks for systems without open file description locks, by whole files alone (the library ``filelock``).

The transaction lock is a lock on ``-lock``. Each open journal of each process has a lock file of its own beside it, whose
name is never used again; a key's row in the table ``claims`` names the file of its holder. When a process dies, the
system unlocks its file, and all its keys are free.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import filelock

from bardge_async._core.entry import KeyIdentity
from bardge_async._core.forks import register_lock_owner
from bardge_async._journal import sqlite_locks
from bardge_async._journal.sqlite_files import BINARY, HOLDER, holder_path, list_holders
from bardge_async._journal.sqlite_locks import LockFile
from bardge_async._journal.sqlite_writer import SQLiteWriter, StartTimer
from bardge_async.errors import JournalError

_CREATE_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS claims (
        base_url TEXT NOT NULL, account TEXT NOT NULL, key TEXT NOT NULL, holder TEXT NOT NULL,
        PRIMARY KEY (base_url, account, key)
    ) WITHOUT ROWID
"""
_WHERE_KEY: Final = "WHERE base_url = ? AND account = ? AND key = ?"


class PortableLocks(LockFile):
    """The transaction lock, and the lock file that shows other processes that this journal is open."""

    way = 2

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.holder = ""
        self._holder_file: int | None = None
        self._has_ranges = False

    def reset_after_fork(self) -> None:
        """Close the parent's lock files in a forked child; its own get new names."""
        super().reset_after_fork()
        file, self._holder_file, self.holder = self._holder_file, None, ""
        if file is not None:
            os.close(file)

    def try_lock(self, *, exclusive: bool) -> bool:
        """Take the transaction lock; return False if others have it. It is always exclusive."""
        if not _try_lock(self._get_file(), self._path):
            return False
        # Until this journal is open, journals that are opened the other way must wait, too.
        if not self.holder and not sqlite_locks.try_range_lock(self._get_file()):
            filelock.unlock_descriptor(self._get_file())
            return False
        self._has_ranges = not self.holder
        return True

    def unlock(self) -> None:
        """Release the transaction lock."""
        if self._has_ranges:
            sqlite_locks.unlock_range(self._get_file())
            self._has_ranges = False
        filelock.unlock_descriptor(self._get_file())

    def mark_open(self) -> None:
        """Make this journal's own lock file, and remove those of journals that are closed or whose process died.

        Raises:
            JournalError: A journal that holds its keys by range locks is open, or the file cannot be made.
        """
        if sqlite_locks.is_open_by_ranges(self._get_file()):
            raise JournalError(
                f"{self._journal}: other processes have the journal open and hold keys by range locks; close them, or "
                'open it without locks="portable" and BARDGE_JOURNAL_LOCKS'
            )
        if self.holder:
            return
        for other in list_holders(self._journal):
            if not is_alive(self._journal, other):
                with contextlib.suppress(OSError):
                    holder_path(self._journal, other).unlink()
        holder = secrets.token_hex(16)
        path = holder_path(self._journal, holder)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | BINARY, 0o600)
        except OSError as error:
            raise JournalError(f"{path}: the lock file cannot be made: {error.strerror}") from None
        _try_lock(file, path)
        self._holder_file, self.holder = file, holder

    def is_alone(self) -> bool:
        """Return whether no other journal has the file open; the caller has the transaction lock."""
        others = (other for other in list_holders(self._journal) if other != self.holder)
        return not any(is_alive(self._journal, other) for other in others)

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Create the table of held keys, and free those whose holder is gone."""
        connection.execute(_CREATE_TABLE)
        for (holder,) in connection.execute("SELECT DISTINCT holder FROM claims").fetchall():
            if not self.is_alive(holder):
                connection.execute("DELETE FROM claims WHERE holder = ?", (holder,))

    def is_alive(self, holder: str) -> bool:
        """Return whether the journal of a lock file is still open."""
        return holder == self.holder or is_alive(self._journal, holder)

    def close(self) -> None:
        """Release all locks, and remove this journal's own lock file."""
        file, self._holder_file, holder, self.holder = self._holder_file, None, self.holder, ""
        if file is not None:
            os.close(file)
            with contextlib.suppress(OSError):
                holder_path(self._journal, holder).unlink()
        super().close()


class KeyRows:
    """Hold keys by rows of the table ``claims``."""

    def __init__(self, locks: PortableLocks, writer: SQLiteWriter) -> None:
        self._locks = locks
        self._writer = writer
        self._held: set[KeyIdentity] = set()
        # Keys held without a row so far: their row is written together with their entry.
        self._fresh: set[KeyIdentity] = set()
        _KEYS_OF_THIS_PROCESS.add(self)
        register_lock_owner(self)

    def reset_after_fork(self) -> None:
        """Hold no key in a forked child: they are the parent's."""
        self._held.clear()
        self._fresh.clear()

    def lock_fresh(self, identity: KeyIdentity) -> bool:
        """Hold a key that was generated just now."""
        self._held.add(identity)
        self._fresh.add(identity)
        return True

    async def lock(self, identity: KeyIdentity, start_timer: StartTimer) -> bool:
        """Hold a key; return False if another process or journal holds it.

        Raises:
            JournalError: The file cannot be written.
        """
        self._held.add(identity)
        is_locked = await self._writer.run(
            lambda found: self._claim(found, identity), writes=True, durable=False, start_timer=start_timer
        )
        if not is_locked:
            self._held.discard(identity)
        return is_locked

    def record(self, connection: sqlite3.Connection, identity: KeyIdentity) -> None:
        """Write the row of a key that was generated just now, in the transaction of its first entry."""
        if identity in self._fresh:
            self._claim(connection, identity)

    async def find_held(self, identities: Iterable[KeyIdentity]) -> set[KeyIdentity]:
        """Return which keys are held by another process or journal."""
        wanted = set(identities)
        if not wanted:
            return set()
        rows = await self._writer.run(
            lambda found: found.execute("SELECT base_url, account, key, holder FROM claims").fetchall(), writes=False
        )
        mine = self._locks.holder
        holders = {holder for *_, holder in rows if holder != mine}
        alive = {holder for holder in holders if self._locks.is_alive(holder)}
        return {identity for row in rows if row[3] in alive and (identity := KeyIdentity(*row[:3])) in wanted}

    def release(self, identity: KeyIdentity) -> None:
        """Free a key."""
        self._held.discard(identity)
        self._fresh.discard(identity)
        holder = self._locks.holder
        self._writer.submit(
            lambda found: found.execute(f"DELETE FROM claims {_WHERE_KEY} AND holder = ?", (*identity, holder))
        )

    def _claim(self, connection: sqlite3.Connection, identity: KeyIdentity) -> bool:
        row = connection.execute(f"SELECT holder FROM claims {_WHERE_KEY}", identity).fetchone()
        if row is not None and row[0] != self._locks.holder and self._is_held_by(row[0], identity):
            return False
        connection.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)", (*identity, self._locks.holder))
        return True

    def _is_held_by(self, holder: str, identity: KeyIdentity) -> bool:
        for other in list(_KEYS_OF_THIS_PROCESS):
            if other._locks.holder == holder:  # noqa: SLF001 - of the same class
                # Its row stays until its thread has deleted it.
                return identity in other._held  # noqa: SLF001 - the same
        return self._locks.is_alive(holder)


_KEYS_OF_THIS_PROCESS: Final[weakref.WeakSet[KeyRows]] = weakref.WeakSet()


def is_alive(path: Path, holder: str) -> bool:
    """Return whether the journal of a lock file is still open."""
    if not HOLDER.fullmatch(holder):
        return False
    lock_path = holder_path(path, holder)
    try:
        file = os.open(lock_path, os.O_RDWR | BINARY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise JournalError(f"{lock_path}: the lock file cannot be opened: {error.strerror}") from None
    try:
        return not _try_lock(file, lock_path)
    finally:
        os.close(file)


def _try_lock(file: int, path: Path) -> bool:
    """Lock a whole file. Unlike filelock's classes, this never falls back to a soft lock, which outlives its process."""
    try:
        return filelock.lock_descriptor(file, blocking=False)
    except OSError as error:
        raise JournalError(f"{path}: the file system has no file locks ({error.strerror}); use a local disk") from None
