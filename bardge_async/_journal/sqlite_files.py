"""The files of a journal: one path for each, and whether they are still what they were."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

from bardge_async.errors import JournalError

FileId = tuple[int, int] | None
HOLDER: Final = re.compile(r"[0-9a-f]{32}")


def resolve_journal_path(path: str | os.PathLike[str]) -> Path:
    """Return a journal's path without links: its companions lie beside the file itself, whatever name it is opened by.

    Raises:
        JournalError: It is a link that leads nowhere.
    """
    given = Path(path).absolute()
    try:
        resolved = given.resolve()
        dangling = given.is_symlink() and not resolved.exists()
    except PermissionError as error:
        raise JournalError(f"{given}: the journal cannot be opened: {error.strerror}") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        raise JournalError(f"{given}: not a regular file: {error}; give the path of a file") from None
    if dangling:
        raise JournalError(
            f"{given}: not a regular file, but a link to {resolved}, which is missing; create its target"
        )
    return resolved


def check_one_link(path: Path) -> None:
    """Refuse a file with several hard links: each name would have locks and a log of its own.

    Raises:
        JournalError: The file has another name.
    """
    links = path.stat().st_nlink
    if links > 1:
        raise JournalError(
            f"{path}: the file has {links} hard links, and a journal's locks and log belong to one name; "
            "copy it, and remove the other names"
        )


def holder_path(path: Path, holder: str) -> Path:
    """Return the path of the lock file that one open journal has for itself, if keys are held by whole files."""
    return path.with_name(f"{path.name}-lock-{holder}")


def list_holders(path: Path) -> list[str]:
    """List the journals that are or were open over a file and hold their keys by whole files."""
    prefix = f"{path.name}-lock-"
    names = (name.removeprefix(prefix) for name in os.listdir(path.parent) if name.startswith(prefix))  # noqa: PTH208 - names
    return [name for name in names if HOLDER.fullmatch(name)]


class JournalFiles:
    """The file and its companions ``-wal``, ``-shm`` and ``-lock``: stays the same while the journal is open."""

    def __init__(self, path: Path) -> None:
        self._paths = [f"{path}{end}" for end in ("", "-wal", "-shm", "-lock")]
        self._ids: list[FileId] = []
        self._index_size = 0
        self._index: int | None = None

    def note_opened(self) -> None:
        """Take the files as they are now for the journal's."""
        self._index = os.open(self._paths[2], os.O_RDONLY | BINARY)
        self._index_size = 0
        self._ids = [_read_id(path) for path in self._paths]
        self.is_index_whole()

    def note_closed(self) -> None:
        """Close what ``note_opened`` opened."""
        index, self._index = self._index, None
        if index is not None:
            os.close(index)

    def is_moved(self) -> bool:
        """Return whether the journal's file is no longer the one that was opened."""
        return bool(self._ids) and _read_id(self._paths[0]) != self._ids[0]

    def is_replaced(self) -> bool:
        """Return whether any of the files was removed or replaced."""
        return [_read_id(path) for path in self._paths] != self._ids

    def is_log_movable(self) -> bool:
        """Return whether the open log still belongs to the file at its path: it was at most removed, not replaced."""
        main, log, _, lock = (_read_id(path) for path in self._paths)
        return (main, lock) == (self._ids[0], self._ids[3]) and log in {None, self._ids[1]}

    def is_index_whole(self) -> bool:
        """Return whether ``-shm`` has every byte that it had: SQLite has mapped it, and reading past its end kills.

        SQLite cuts it in a process that takes itself for the first, which it does when the lock that says otherwise was
        released by a foreign ``close()``.
        """
        assert self._index is not None
        size = os.fstat(self._index).st_size
        whole = size >= self._index_size
        self._index_size = max(size, self._index_size)
        return whole

    def is_log_moved(self) -> bool:
        """Return whether everything in the log is in the file as well (https://www.sqlite.org/walformat.html, 2.1)."""
        assert self._index is not None
        self.is_index_whole()
        header = read_at(self._index, 100, 0)
        frames, moved = header[16:20], header[96:100]
        return frames == moved


def _read_id(path: str) -> FileId:
    try:
        status = os.stat(path)  # noqa: PTH116 - four for each transaction
    except OSError:
        return None
    return status.st_dev, status.st_ino


BINARY: Final[int] = getattr(os, "O_BINARY", 0)

if sys.platform == "win32":

    def read_at(file: int, size: int, offset: int) -> bytes:
        """Read bytes at an offset."""
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, size)

    def write_at(file: int, content: bytes, offset: int) -> None:
        """Write bytes at an offset."""
        os.lseek(file, offset, os.SEEK_SET)
        os.write(file, content)

else:

    def read_at(file: int, size: int, offset: int) -> bytes:
        """Read bytes at an offset."""
        return os.pread(file, size, offset)

    def write_at(file: int, content: bytes, offset: int) -> None:
        """Write bytes at an offset."""
        os.pwrite(file, content, offset)
