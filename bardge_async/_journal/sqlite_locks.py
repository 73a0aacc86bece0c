"""Who works on a key across processes: a locked byte of a file for each key, which the kernel frees at death.

The byte's place is a hash of the key, so that one file serves any number of keys, and a lock costs one system call and
no write. The locks belong to the open file (OFD locks), so that two journals of one process exclude each other, too,
and closing one of them frees nothing of the other.
"""

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

from bardge_async._core.entry import Identity
from bardge_async.errors import ConfigurationError, JournalError

_ELSEWHERE: Final = "SQLiteJournal needs Linux: no other system has locks that belong to an open file"
_TAKEN: Final = frozenset({errno.EAGAIN, errno.EACCES})
_PLACES: Final = 2**62
_WHOLE: Final = _PLACES
"""The place that stands for the journal's file itself; keys have the places below."""
_PATIENCE: Final = 10.0
_POLL: Final = 0.005
# struct flock: type, whence, start, length, pid; native alignment is what the kernel reads.
_FORM: Final = "hhqqi"
_READABLE: Final = 0o600


if sys.platform == "linux":
    from fcntl import F_OFD_GETLK, F_OFD_SETLK, F_UNLCK, F_WRLCK, fcntl

    def _set(file: int, kind: int, place: int) -> bool:
        """Lock or unlock a place; False if somebody else holds it."""
        try:
            fcntl(file, F_OFD_SETLK, struct.pack(_FORM, kind, os.SEEK_SET, place, 1, 0))
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise JournalError(f"the key cannot be locked: {error.strerror}") from None
        return True

    def _held(file: int, place: int) -> bool:
        found = fcntl(file, F_OFD_GETLK, struct.pack(_FORM, F_WRLCK, os.SEEK_SET, place, 1, 0))
        kind: int = struct.unpack(_FORM, found)[0]
        return kind != F_UNLCK

else:  # pragma: no cover - refused by lock_file
    F_UNLCK = F_WRLCK = 0

    def _set(file: int, kind: int, place: int) -> bool:
        raise ConfigurationError(f"{_ELSEWHERE} (lock {kind} of byte {place} in {file})")

    def _held(file: int, place: int) -> bool:
        raise ConfigurationError(f"{_ELSEWHERE} (byte {place} in {file})")


def lock_file(path: Path) -> Path:
    """Name the lock file of a journal.

    Raises:
        ConfigurationError: This system has no locks of the kind that is needed.
    """
    if sys.platform != "linux":  # pragma: no cover - the suite runs on Linux
        raise ConfigurationError(_ELSEWHERE)
    return path.with_name(path.name + "-lock")


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _READABLE)
    except OSError as error:
        raise JournalError(f"{path}: the lock file cannot be opened: {error.strerror}") from None


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Keep other processes and threads from opening a journal meanwhile.

    Raises:
        JournalError: Another one did not end in time.
    """
    file = _open(lock_file(path))
    try:
        end = time.monotonic() + _PATIENCE
        while not _set(file, F_WRLCK, _WHOLE):
            if time.monotonic() > end:
                raise JournalError(f"{path}: another process has been opening the journal for too long")
            time.sleep(_POLL)
        yield
    finally:
        os.close(file)


class KeyLocks:
    """Lock keys in a file beside the journal; the file itself stays empty."""

    def __init__(self, path: Path) -> None:
        self._path = lock_file(path)
        self._file: int | None = _open(self._path)

    def begin_anew(self) -> None:
        """Hold nothing in the child of a fork: the parent's locks are the parent's."""
        if self._file is not None:
            os.close(self._file)
            self._file = -1

    def take(self, identity: Identity) -> bool:
        """Lock a key; False if somebody else holds it.

        Raises:
            JournalError: The lock file is closed, or the system refuses.
        """
        if self._file is None:
            raise JournalError(f"{self._path}: the journal is closed")
        if self._file < 0:
            self._file = _open(self._path)
        return _set(self._file, F_WRLCK, _place(identity))

    def held(self, identity: Identity) -> bool:
        """Tell whether somebody else alive holds a key."""
        if self._file is not None and self._file < 0:
            self._file = _open(self._path)
        return self._file is not None and _held(self._file, _place(identity))

    def release(self, identity: Identity) -> None:
        """Unlock a key."""
        # Never a closed number: it may be another file's by now.
        if self._file is not None and self._file >= 0:
            _set(self._file, F_UNLCK, _place(identity))

    def close(self) -> None:
        """Unlock all keys."""
        file, self._file = self._file, None
        if file is not None and file >= 0:
            os.close(file)


def _place(identity: Identity) -> int:
    digest = hashlib.blake2b("\x00".join(identity).encode(), digest_size=8).digest()
    return int.from_bytes(digest) % _PLACES
