"""Key locks across processes: one locked byte of a file per key, which the kernel unlocks when the process dies.

The byte's offset is a hash of the key, so one file serves any number of keys, and locking takes one system call and no
write. The locks belong to the open file description (OFD locks, ``fcntl(2)``), so two journals in one process exclude
each other as well, and closing one does not release the other's locks.
"""

# pyright: reportPossiblyUnboundVariable=false, reportConstantRedefinition=false

from __future__ import annotations

import errno
import hashlib
import os
import struct
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bardge_async._core.entry import KeyIdentity
from bardge_async._core.forks import register_lock_owner
from bardge_async.errors import ConfigurationError, JournalError

_LINUX_ONLY: Final = "SQLiteJournal requires Linux: it uses open file description locks"
_LOCK_CONFLICTS: Final = frozenset({errno.EAGAIN, errno.EACCES})
_OFFSETS: Final = 2**62
_JOURNAL_OFFSET: Final = _OFFSETS
"""The offset that stands for the journal file itself; keys use the offsets below it."""
_OPEN_TIMEOUT: Final = 10.0
_POLL_SECONDS: Final = 0.005
# struct flock: type, whence, start, length, pid; the kernel reads it in native alignment.
_FLOCK_FORMAT: Final = "hhqqi"
_OWNER_ONLY: Final = 0o600


if sys.platform == "linux":
    try:
        from fcntl import F_OFD_GETLK, F_OFD_SETLK, F_UNLCK, F_WRLCK, fcntl
    except ImportError:
        _HAS_LOCKS = False
    else:
        _HAS_LOCKS = True

    def _set_lock(file: int, kind: int, offset: int) -> bool:
        """Lock or unlock a byte; return False if another holder has it."""
        try:
            fcntl(file, F_OFD_SETLK, struct.pack(_FLOCK_FORMAT, kind, os.SEEK_SET, offset, 1, 0))
        except OSError as error:
            if error.errno in _LOCK_CONFLICTS:
                return False
            raise JournalError(f"the key cannot be locked: {error.strerror}") from None
        return True

    def _is_locked(file: int, offset: int) -> bool:
        result = fcntl(file, F_OFD_GETLK, struct.pack(_FLOCK_FORMAT, F_WRLCK, os.SEEK_SET, offset, 1, 0))
        kind: int = struct.unpack(_FLOCK_FORMAT, result)[0]
        return kind != F_UNLCK

else:  # pragma: no cover - refused by lock_file
    _HAS_LOCKS = False
    F_UNLCK = F_WRLCK = 0

    def _set_lock(file: int, kind: int, place: int) -> bool:
        raise ConfigurationError(f"{_LINUX_ONLY} (lock {kind} of byte {place} in {file})")

    def _is_locked(file: int, place: int) -> bool:
        raise ConfigurationError(f"{_LINUX_ONLY} (byte {place} in {file})")


def lock_file_path(path: Path) -> Path:
    """Return the path of a journal's lock file.

    Raises:
        ConfigurationError: This system does not support the locks.
    """
    if not _HAS_LOCKS:
        raise ConfigurationError(_LINUX_ONLY)
    return path.with_name(path.name + "-lock")


def _open_lock_file(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
    except OSError as error:
        raise JournalError(f"{path}: the lock file cannot be opened: {error.strerror}") from None


@contextmanager
def exclusive_access(path: Path) -> Generator[None]:
    """Keep other processes and threads from opening the journal at the same time.

    Raises:
        JournalError: Timed out waiting for another process or thread.
    """
    file = _open_lock_file(lock_file_path(path))
    try:
        deadline = time.monotonic() + _OPEN_TIMEOUT
        while not _set_lock(file, F_WRLCK, _JOURNAL_OFFSET):
            if time.monotonic() > deadline:
                raise JournalError(f"{path}: timed out waiting for another process to open the journal; try again")
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(file)


class KeyFileLocks:
    """Lock keys in a file next to the journal; the lock file stays empty."""

    def __init__(self, path: Path) -> None:
        self._path = lock_file_path(path)
        self._file: int | None = _open_lock_file(self._path)
        register_lock_owner(self)

    def reset_after_fork(self) -> None:
        """Drop the inherited file descriptor in a forked child: its locks are the parent's."""
        if self._file is not None:
            os.close(self._file)
            self._file = -1

    def try_lock(self, identity: KeyIdentity) -> bool:
        """Lock a key; return False if another process or journal holds it.

        Raises:
            JournalError: The journal is closed, or the system call failed.
        """
        if self._file is None:
            raise JournalError(f"{self._path}: the journal is closed")
        if self._file < 0:
            self._file = _open_lock_file(self._path)
        return _set_lock(self._file, F_WRLCK, _byte_offset(identity))

    def is_held(self, identity: KeyIdentity) -> bool:
        """Return whether another process or journal holds a key."""
        if self._file is not None and self._file < 0:
            self._file = _open_lock_file(self._path)
        return self._file is not None and _is_locked(self._file, _byte_offset(identity))

    def release(self, identity: KeyIdentity) -> None:
        """Unlock a key."""
        # Never use a closed descriptor: its number may belong to another file by now.
        if self._file is not None and self._file >= 0:
            _set_lock(self._file, F_UNLCK, _byte_offset(identity))

    def close(self) -> None:
        """Unlock all keys."""
        file, self._file = self._file, None
        if file is not None and file >= 0:
            os.close(file)


def _byte_offset(identity: KeyIdentity) -> int:
    digest = hashlib.blake2b("\x00".join(identity).encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _OFFSETS
