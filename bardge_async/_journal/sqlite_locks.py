"""The file ``-lock`` of a journal: who may use the journal now, and up to where it was acknowledged.

SQLite's own locks are not relied on: the system releases them when any code in the process closes any descriptor of the
file (https://www.sqlite.org/howtocorrupt.html, 2.2). Every transaction therefore runs under a lock of this file: an
exclusive one if it writes, which a checkpoint after a commit is part of, a shared one if it reads.
"""

from __future__ import annotations

import abc
import errno
import hashlib
import os
import sqlite3
import struct
import sys
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

from bardge_async._core.entry import KeyIdentity
from bardge_async._core.forks import register_lock_owner
from bardge_async._journal.sqlite_files import BINARY, holder_path, list_holders, read_at, write_at
from bardge_async.errors import JournalError

POLL_SECONDS: Final = 0.001
_LOCK_CONFLICTS: Final = frozenset({errno.EAGAIN, errno.EACCES})
# Offsets in the file: keys use those below the first of these.
_OFFSETS: Final = 2**62
_TRANSACTION_OFFSET: Final = _OFFSETS
_OPEN_OFFSET: Final = _OFFSETS + 1
# struct flock: type, whence, start, length, pid; the kernel reads it in native alignment.
_FLOCK_FORMAT: Final = "hhqqi"
_OWNER_ONLY: Final = 0o600
_MAGIC: Final = b"BARDGELK"
_RECORD_FORMAT: Final = "<8sBB6xQQ"


def _load_fcntl() -> Any:  # noqa: ANN401 - type checkers know it only on systems that have it
    """Return the module with open file description locks; None where the system has none."""
    try:
        found = import_module("fcntl")
    except ImportError:
        return None
    return found if sys.platform == "linux" and hasattr(found, "F_OFD_SETLK") else None


_FCNTL: Final = _load_fcntl()
HAS_RANGE_LOCKS: Final = _FCNTL is not None
_READ: Final[int] = getattr(_FCNTL, "F_RDLCK", 0)
_WRITE: Final[int] = getattr(_FCNTL, "F_WRLCK", 0)
_UNLOCK: Final[int] = getattr(_FCNTL, "F_UNLCK", 0)


def _set_lock(file: int, kind: int, offset: int) -> bool:
    """Lock or unlock a byte; return False if another holder has it."""
    try:
        _FCNTL.fcntl(file, _FCNTL.F_OFD_SETLK, struct.pack(_FLOCK_FORMAT, kind, os.SEEK_SET, offset, 1, 0))
    except OSError as error:
        if error.errno in _LOCK_CONFLICTS:
            return False
        raise JournalError(f"the journal's lock file cannot be locked: {error.strerror}") from None
    return True


def _is_locked(file: int, offset: int) -> bool:
    """Return whether another holder has any lock on a byte."""
    wanted = struct.pack(_FLOCK_FORMAT, _WRITE, os.SEEK_SET, offset, 1, 0)
    kind: int = struct.unpack(_FLOCK_FORMAT, _FCNTL.fcntl(file, _FCNTL.F_OFD_GETLK, wanted))[0]
    return kind != _UNLOCK


def _try_lock_whole(file: int) -> bool:
    """Lock a whole file, as the portable way does; return False if another holder has it."""
    try:
        _FCNTL.flock(file, _FCNTL.LOCK_EX | _FCNTL.LOCK_NB)
    except OSError:
        return False
    return True


class LockRecord(NamedTuple):
    """What ``-lock`` says of its journal; it is written after a commit, and not synced, so it may be older, never newer.

    ``way`` is how locks are held; ``is_busy`` is true during a transaction that writes, and stays so if its process dies;
    ``commits`` numbers the last acknowledged commit, ``moved`` the last one that is certainly in the main file.
    """

    way: int = 0
    is_busy: bool = False
    commits: int = 0
    moved: int = 0


NO_RECORD: Final = LockRecord()


def lock_file_path(path: Path) -> Path:
    """Return the path of a journal's lock file."""
    return path.with_name(path.name + "-lock")


class LockFile(abc.ABC):
    """One open lock file, and the lock for transactions on it; subclasses hold keys in their own way.

    One thread at a time may use the transaction lock.
    """

    way: ClassVar[int]

    def __init__(self, path: Path) -> None:
        self._journal = path
        self._path = lock_file_path(path)
        self._opening = threading.Lock()
        self._file: int | None = self._open()
        register_lock_owner(self)

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | BINARY, _OWNER_ONLY)
        except OSError as error:
            raise JournalError(f"{self._path}: the lock file cannot be opened: {error.strerror}") from None

    def _get_file(self) -> int:
        if self._file is None:
            raise JournalError(f"{self._journal}: the journal is closed")
        if self._file < 0:
            with self._opening:
                # One descriptor for all threads: its locks exclude those of another.
                if self._file < 0:
                    self._file = self._open()
        return self._file

    def reset_after_fork(self) -> None:
        """Drop the inherited file descriptor in a forked child: its locks are the parent's."""
        self._opening = threading.Lock()
        if self._file is not None and self._file >= 0:
            # Closed, never unlocked: the parent's locks belong to the same open file description.
            os.close(self._file)
            self._file = -1

    def wait_to_lock(self, *, exclusive: bool, timeout: float) -> None:
        """Take the transaction lock.

        Raises:
            JournalError: Another process kept it for ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while not self.try_lock(exclusive=exclusive):
            if time.monotonic() > deadline:
                raise JournalError(f"{self._journal}: timed out waiting for another process that uses the journal")
            time.sleep(POLL_SECONDS)

    @abc.abstractmethod
    def try_lock(self, *, exclusive: bool) -> bool:
        """Take the transaction lock; return False if others have it."""

    @abc.abstractmethod
    def unlock(self) -> None:
        """Release the transaction lock."""

    @abc.abstractmethod
    def mark_open(self) -> None:
        """Show other processes that this journal is open, until it is closed or its process dies.

        Raises:
            JournalError: Another process has it open and holds keys in another way.
        """

    @abc.abstractmethod
    def is_alone(self) -> bool:
        """Return whether no other journal has the file open; the caller has the exclusive transaction lock."""

    @abc.abstractmethod
    def prepare(self, connection: sqlite3.Connection) -> None:
        """Create what this way of holding keys needs in the journal; the caller has the exclusive transaction lock."""

    def read_record(self) -> LockRecord:
        """Read the record; an empty one if there is none."""
        content = read_at(self._get_file(), struct.calcsize(_RECORD_FORMAT), 0)
        if len(content) != struct.calcsize(_RECORD_FORMAT):
            return NO_RECORD
        magic, way, busy, commits, moved = struct.unpack(_RECORD_FORMAT, content)
        return LockRecord(way, bool(busy), commits, moved) if magic == _MAGIC else NO_RECORD

    def write_record(self, record: LockRecord) -> None:
        """Write the record.

        Raises:
            JournalError: The file cannot be written.
        """
        content = struct.pack(_RECORD_FORMAT, _MAGIC, self.way, record.is_busy, record.commits, record.moved)
        try:
            write_at(self._get_file(), content, 0)
        except OSError as error:
            raise JournalError(f"{self._path}: the lock file cannot be written: {error.strerror}") from None

    def close(self) -> None:
        """Release all locks."""
        file, self._file = self._file, None
        if file is not None and file >= 0:
            os.close(file)


class RangeLocks(LockFile):
    """Hold each key by a lock on one byte of the file, which the kernel unlocks when the process dies.

    A key's byte is a hash of it, so one file serves any number of keys, and locking takes one system call and no write.
    The locks belong to the open file description (OFD locks, ``fcntl(2)``), so two journals in one process exclude each
    other as well, and closing one does not release the other's locks.
    """

    way = 1

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Create nothing: ranges are locked in the lock file alone."""

    def try_lock(self, *, exclusive: bool) -> bool:
        """Take the transaction lock; return False if others have it."""
        return _set_lock(self._get_file(), _WRITE if exclusive else _READ, _TRANSACTION_OFFSET)

    def unlock(self) -> None:
        """Release the transaction lock."""
        _set_lock(self._get_file(), _UNLOCK, _TRANSACTION_OFFSET)

    def mark_open(self) -> None:
        """Show other processes that this journal is open, until it is closed or its process dies.

        Raises:
            JournalError: A journal that holds its keys by whole files is open.
        """
        if self.read_record().way not in {0, self.way} and any(map(self._has_open, list_holders(self._journal))):
            raise JournalError(
                f"{self._journal}: other processes have the journal open and hold keys by whole files; close them, or "
                'open it with locks="portable" or BARDGE_JOURNAL_LOCKS=portable, too'
            )
        _set_lock(self._get_file(), _READ, _OPEN_OFFSET)

    def _has_open(self, holder: str) -> bool:
        try:
            with holder_path(self._journal, holder).open("rb") as file:
                return not _try_lock_whole(file.fileno())
        except FileNotFoundError:
            return False

    def is_alone(self) -> bool:
        """Return whether no other journal has the file open; the caller has the exclusive transaction lock."""
        return not _is_locked(self._get_file(), _OPEN_OFFSET)

    def try_lock_key(self, identity: KeyIdentity) -> bool:
        """Lock a key; return False if another process or journal holds it.

        Raises:
            JournalError: The journal is closed, or the system call failed.
        """
        return _set_lock(self._get_file(), _WRITE, _byte_offset(identity))

    def is_key_held(self, identity: KeyIdentity) -> bool:
        """Return whether another process or journal holds a key."""
        return self._file is not None and _is_locked(self._get_file(), _byte_offset(identity))

    def release_key(self, identity: KeyIdentity) -> None:
        """Unlock a key."""
        # Never use a closed descriptor: its number may belong to another file by now.
        if self._file is not None and self._file >= 0:
            _set_lock(self._file, _UNLOCK, _byte_offset(identity))


def try_range_lock(file: int) -> bool:
    """Take the transaction lock of ``RangeLocks`` on an open lock file, where the system has it."""
    return not HAS_RANGE_LOCKS or _set_lock(file, _WRITE, _TRANSACTION_OFFSET)


def unlock_range(file: int) -> None:
    """Release the lock of ``try_range_lock``."""
    if HAS_RANGE_LOCKS:
        _set_lock(file, _UNLOCK, _TRANSACTION_OFFSET)


def is_open_by_ranges(file: int) -> bool:
    """Return whether a journal that holds its keys by ``RangeLocks`` is open."""
    return HAS_RANGE_LOCKS and _is_locked(file, _OPEN_OFFSET)


def _byte_offset(identity: KeyIdentity) -> int:
    digest = hashlib.blake2b("\x00".join(identity).encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _OFFSETS
