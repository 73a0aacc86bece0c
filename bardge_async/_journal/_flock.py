"""Who works on a key across processes: a locked byte of a file for each key, which the kernel frees at death.

The byte's place is a hash of the key, so that one file serves any number of keys, and a lock costs one system call and
no write. The locks belong to the open file (OFD locks), so that two journals of one process exclude each other, too.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
from pathlib import Path
from typing import Final

from bardge_async._record import Identity
from bardge_async.errors import JournalError

_TAKEN: Final = frozenset({errno.EAGAIN, errno.EACCES})
_PLACES: Final = 2**62
# struct flock: type, whence, start, length, pid; native alignment is what the kernel reads.
_FORM: Final = "hhqqi"
_SET: Final[int] = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)
_GET: Final[int] = getattr(fcntl, "F_OFD_GETLK", fcntl.F_GETLK)


class KeyLocks:
    """Lock keys in a file beside the journal; the file itself stays empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._open()

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(f"{self._path}: the lock file cannot be opened: {error.strerror}") from None

    def reopen(self) -> None:
        """Begin anew in the child of a fork: the parent's locks are the parent's."""
        os.close(self._file)
        self._file = self._open()

    def take(self, identity: Identity) -> bool:
        """Lock a key; False if another process holds it."""
        try:
            fcntl.fcntl(self._file, _SET, _flock(fcntl.F_WRLCK, identity))
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise JournalError(f"the key cannot be locked: {error.strerror}") from None
        return True

    def held(self, identity: Identity) -> bool:
        """Tell whether somebody else alive holds a key."""
        found = fcntl.fcntl(self._file, _GET, _flock(fcntl.F_WRLCK, identity))
        kind: int = struct.unpack(_FORM, found)[0]
        return kind != fcntl.F_UNLCK

    def release(self, identity: Identity) -> None:
        """Unlock a key."""
        fcntl.fcntl(self._file, _SET, _flock(fcntl.F_UNLCK, identity))

    def close(self) -> None:
        """Unlock all keys."""
        os.close(self._file)


def _flock(kind: int, identity: Identity) -> bytes:
    digest = hashlib.blake2b("\x00".join(identity).encode(), digest_size=8).digest()
    return struct.pack(_FORM, kind, os.SEEK_SET, int.from_bytes(digest) % _PLACES, 1, 0)
