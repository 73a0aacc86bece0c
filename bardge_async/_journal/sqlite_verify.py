"""Check a whole journal file: its pages, its entries, and whether anything that was acknowledged is missing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from bardge_async._journal.sqlite_clocks import FileClocks
from bardge_async._journal.sqlite_commits import find_loss, read_commit_number
from bardge_async._journal.sqlite_files import resolve_journal_path
from bardge_async._journal.sqlite_keys import open_locks
from bardge_async._journal.sqlite_locks import LockFile
from bardge_async._journal.sqlite_rows import COLUMNS, parse_entry
from bardge_async._journal.sqlite_schema import check_readable, open_read_only, read_main_number
from bardge_async.errors import JournalError

_TIMEOUT: Final = 60.0
_MAX_FAULTS: Final = 20


def verify_journal(path: Path, *, accept: bool = False) -> list[str]:
    """Return what is wrong with a journal's file, at most 20 faults; nothing if it is whole. Others wait meanwhile.

    With ``accept``, what is missing is not a fault, and from now on the file is taken as it is.

    Raises:
        JournalError: It is no journal, or cannot be read.
    """
    path = resolve_journal_path(path)
    if not path.is_file():
        raise JournalError(f"{path}: there is no journal file")
    with closing(open_locks(path)) as locks:
        locks.wait_to_lock(exclusive=True, timeout=_TIMEOUT)
        try:
            if not path.stat().st_size:
                raise JournalError(f"{path}: the file is empty")
            if accept:
                _accept(path, locks)
            faults = _find_loss(path, locks)
            faults += _find_damage(path)
        except sqlite3.Error as error:
            faults = [f"the file is damaged: {error}"]
        finally:
            locks.unlock()
    return faults[:_MAX_FAULTS]


def _accept(path: Path, locks: LockFile) -> None:
    """Take the file as it is."""
    if not locks.is_alone():
        raise JournalError(f"{path}: other processes have the journal open; stop them first")
    if not _has(path, "-wal"):
        path.with_name(path.name + "-shm").unlink(missing_ok=True)
    with closing(open_read_only(path, "mode=ro" if _has(path, "-wal") else "immutable=1")) as connection:
        number = read_commit_number(connection)
    record = locks.read_record()
    locks.write_record(record._replace(is_busy=True, commits=number.commits, moved=number.moved))


def _find_loss(path: Path, locks: LockFile) -> list[str]:
    has_log = _has(path, "-wal")
    if not has_log and _has(path, "-shm"):
        return ["its -shm is there, and its log -wal is not: it was removed"]
    with closing(open_read_only(path, "mode=ro" if has_log else "immutable=1")) as connection:
        number = read_commit_number(connection)
    loss = find_loss(number, read_main_number(path) if has_log else None, locks.read_record())
    return [] if loss is None else [f"it is older than it was: {loss}"]


def _find_damage(path: Path) -> list[str]:
    with closing(open_read_only(path, "mode=ro" if _has(path, "-wal") else "immutable=1")) as connection:
        check_readable(connection, path)
        faults = [str(row[0]) for row in connection.execute(f"PRAGMA integrity_check({_MAX_FAULTS})")]
        if faults != ["ok"]:
            return faults
        return list(_check_rows(connection))


def _check_rows(connection: sqlite3.Connection) -> Iterator[str]:
    try:
        FileClocks().load(connection)
    except (JournalError, ValueError, TypeError, KeyError) as error:
        yield f"what it remembers of the clocks: {error}"
    for *row, seq in connection.execute(f"SELECT {COLUMNS}, seq FROM entries ORDER BY seq"):
        try:
            parse_entry(tuple(row))
        except (JournalError, ValueError, TypeError) as error:
            yield f"entry {seq}: {error}"


def _has(path: Path, end: str) -> bool:
    return path.with_name(path.name + end).exists()
