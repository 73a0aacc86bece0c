"""The journal's file: opening, creating, checking and migrating it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

from bardge_async.errors import JournalError

APPLICATION_ID: Final = 0x42415244  # "BARD"
_BUSY_SECONDS: Final = 10.0
_SMALL: Final = 64 * 1024 * 1024
"""Larger files are not read through when they are opened."""

# One step for each version; a file of version n needs the steps from n on.
_STEPS: Final = (
    """
    CREATE TABLE entries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        base_url TEXT NOT NULL, account TEXT NOT NULL, key TEXT NOT NULL,
        endpoint TEXT NOT NULL, url TEXT NOT NULL, fingerprint TEXT NOT NULL,
        body BLOB, given INTEGER NOT NULL, state TEXT NOT NULL,
        first_wall REAL, first_elapsed REAL, first_highest REAL, first_boot TEXT,
        last_wall REAL, last_elapsed REAL, last_highest REAL, last_boot TEXT,
        status INTEGER, answer BLOB, request_id TEXT,
        UNIQUE (base_url, account, key)
    );
    CREATE INDEX entries_by_url ON entries (base_url, account, url, seq);
    CREATE INDEX entries_unfinished ON entries (base_url, account, seq) WHERE state = 'sent';
    CREATE INDEX entries_by_age ON entries (last_wall) WHERE state <> 'sent';
    CREATE TABLE facts (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
    INSERT INTO facts VALUES ('highest_wall', 0);
    """,
)
VERSION: Final = len(_STEPS)


def connect(path: Path) -> sqlite3.Connection:
    """Open a journal's file, creating or migrating it where needed.

    Raises:
        JournalError: It is no journal, a newer one, damaged, or cannot be read and written; it stays unchanged.
    """
    try:
        _check(path)
        return _open(path)
    except sqlite3.Error as error:
        raise JournalError(f"{path}: the journal cannot be used: {error}") from None
    except OSError as error:
        raise JournalError(f"{path}: the journal cannot be opened: {error.strerror}") from None


def _check(path: Path) -> None:
    """Look at a file before anything could change it; make an empty one that only its owner reads."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    if not path.is_file():
        raise JournalError(f"{path}: it is no file")
    if not os.access(path, os.R_OK | os.W_OK):
        raise JournalError(f"{path}: the journal cannot be read and written by this user")
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        head = file.read(100)
    if not head.startswith(b"SQLite format 3\x00") or len(head) < 100:  # noqa: PLR2004 - SQLite's header
        raise JournalError(f"{path}: it is no SQLite file; give the journal a path of its own")


def _open(path: Path) -> sqlite3.Connection:
    found = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _identify(found, path)
        found.execute("PRAGMA journal_mode = WAL")
        found.execute("PRAGMA synchronous = FULL")
        _migrate(found, path)
        _check_pages(found, path)
    except BaseException:
        found.close()
        raise
    return found


def _check_pages(found: sqlite3.Connection, path: Path) -> None:
    fault = found.execute("PRAGMA quick_check(1)").fetchone()[0] if path.stat().st_size < _SMALL else "ok"
    if fault != "ok":
        raise JournalError(f"{path}: the journal is damaged: {fault}")


def _identify(found: sqlite3.Connection, path: Path) -> None:
    identity = found.execute("PRAGMA application_id").fetchone()[0]
    version = found.execute("PRAGMA user_version").fetchone()[0]
    empty = found.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if identity != APPLICATION_ID and not (identity == 0 and version == 0 and empty):
        raise JournalError(f"{path}: it belongs to another program; give the journal a path of its own")
    if version > VERSION:
        raise JournalError(f"{path}: a newer version of this library wrote it (form {version}, known {VERSION})")


def _migrate(found: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest form; several processes may try at once."""
    found.execute("BEGIN IMMEDIATE")
    try:
        _identify(found, path)
        version = found.execute("PRAGMA user_version").fetchone()[0]
        for step in _STEPS[version:]:
            for statement in filter(str.strip, step.split(";")):
                found.execute(statement)
        found.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        found.execute(f"PRAGMA user_version = {VERSION}")
        found.execute("COMMIT")
    except BaseException:
        if found.in_transaction:
            found.execute("ROLLBACK")
        raise
