"""The journal's SQLite file: open, create, check and migrate it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bardge_async._journal.sqlite_commits import CommitNumber, find_loss, gone_error, loss_error, read_commit_number
from bardge_async._journal.sqlite_digests import corruption_error, with_checksum
from bardge_async._journal.sqlite_files import check_one_link
from bardge_async._journal.sqlite_locks import NO_RECORD, LockRecord, lock_file_path
from bardge_async._journal.sqlite_trust import check_schema_objects
from bardge_async.errors import JournalError

APPLICATION_ID: Final = 0x42415244  # "BARD"
_BUSY_SECONDS: Final = 10.0
_BUSY_MILLISECONDS: Final = 100
"""How long SQLite waits for other programs in a transaction; after that our own lock is released for a moment."""
# The first and the last page of the table and of each index: however large the file is, that is all opening reads of them.
_LOOK_AT_ENDS: Final = tuple(
    f"SELECT (SELECT min({column}) {source}), (SELECT max({column}) {source})"
    for column, source in (
        ("seq", "FROM entries"),
        ("base_url", "FROM entries INDEXED BY sqlite_autoindex_entries_1"),
        ("base_url", "FROM entries INDEXED BY entries_by_url"),
        ("base_url", "FROM entries INDEXED BY entries_unfinished WHERE state = 'sent'"),
        ("last_wall", "FROM entries INDEXED BY entries_by_age WHERE state <> 'sent'"),
        (
            "last_wall",
            "FROM entries INDEXED BY entries_with_bodies WHERE state <> 'sent' AND (body NOT NULL OR answer NOT NULL)",
        ),
        ("name", "FROM facts"),
    )
)

# One step per version: a file of version n needs the steps from index n on.
_STEPS: Final = (
    """
    CREATE TABLE entries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        base_url TEXT NOT NULL, account TEXT NOT NULL, key TEXT NOT NULL,
        endpoint TEXT NOT NULL, url TEXT NOT NULL, fingerprint TEXT NOT NULL,
        body BLOB, given INTEGER NOT NULL, state TEXT NOT NULL,
        first_wall REAL, first_elapsed REAL, first_highest REAL, first_boot TEXT,
        last_wall REAL, last_elapsed REAL, last_highest REAL, last_boot TEXT,
        status INTEGER, answer BLOB, request_id TEXT, seal BLOB NOT NULL,
        UNIQUE (base_url, account, key)
    );
    CREATE INDEX entries_by_url ON entries (base_url, account, url, last_highest);
    CREATE INDEX entries_unfinished ON entries (base_url, account, seq) WHERE state = 'sent';
    CREATE INDEX entries_by_age ON entries (last_wall) WHERE state <> 'sent';
    CREATE INDEX entries_with_bodies ON entries (last_wall)
        WHERE state <> 'sent' AND (body NOT NULL OR answer NOT NULL);
    CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    """,
    "ALTER TABLE entries ADD COLUMN first_server REAL",
    "ALTER TABLE entries ADD COLUMN key_honoured INTEGER",
)
VERSION: Final = len(_STEPS)


def open_journal_file(path: Path, record: LockRecord = NO_RECORD) -> sqlite3.Connection:
    """Open a journal file, creating or migrating it if needed; the caller has the exclusive lock.

    Only a few pages are read. ``record`` is what ``-lock`` says of the file.

    Raises:
        JournalError: It is not a journal, of a newer version, damaged, older than it was, or not readable and writable; it
            is unchanged.
    """
    try:
        if record.commits and not path.exists():
            raise gone_error(path, "missing", record)
        check_file(path)
        if not _is_new(path):
            _check_application(path)
            _check_content(path, record)
        elif record.commits:
            raise gone_error(path, "empty", record)
        return _open_database(path)
    except sqlite3.Error as error:
        raise JournalError(f"{path}: the journal cannot be used: {error}") from None
    except OSError as error:
        raise JournalError(f"{path}: the journal cannot be opened: {error.strerror}") from None


def list_spellings(connection: sqlite3.Connection) -> list[str]:
    """Return the base URLs in a journal, by one look into the index for each.

    Raises:
        JournalError: One is no text.
    """
    found: list[str] = []
    sql = "SELECT min(base_url) FROM entries WHERE base_url > ?"
    while (spelling := connection.execute(sql, (found[-1] if found else "",)).fetchone()[0]) is not None:
        if not isinstance(spelling, str):
            raise corruption_error()
        found.append(spelling)
    return found


def check_file(path: Path) -> None:
    """Create a missing file with mode 0600, give an empty one that mode, and check who may use it.

    Raises:
        JournalError: It is not a regular file, has another name, or cannot be read and written.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    if not path.is_file():
        raise JournalError(f"{path}: not a regular file; give the path of a file")
    check_one_link(path)
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise JournalError(f"{path}: the journal cannot be read and written by this user; check its permissions")
    if path.stat().st_size == 0:
        path.chmod(0o600)


def _is_new(path: Path) -> bool:
    return path.stat().st_size == 0 or _is_half_created(path)


def check_foreign_file(path: Path) -> None:
    """Check which application created a file, before a lock file is put beside it; what needs the lock is checked later.

    Raises:
        JournalError: It is not a journal, or cannot be read.
    """
    if not path.exists() or lock_file_path(path).exists():
        return
    check_file(path)
    try:
        if not _is_new(path):
            _check_application(path, may_read_log=False)
    except sqlite3.DatabaseError as error:
        if not _has_log(path):
            raise JournalError(f"{path}: the journal cannot be used: {error}") from None
    except OSError as error:
        raise JournalError(f"{path}: the journal cannot be opened: {error.strerror}") from None


def _check_application(path: Path, *, may_read_log: bool = True) -> None:
    """Check which application created the file, before anything could change it or create a file next to it.

    Only SQLite may open the file: closing a descriptor of our own would release the POSIX locks of every other connection
    to it in this process, and it may be another program's.
    """
    try:
        application_id = _read_application_id(path, "immutable=1")
    except sqlite3.DatabaseError:
        if not may_read_log or not _has_log(path):
            raise
        # A process killed during a checkpoint leaves the file half written; only together with the log it is readable.
        application_id = _read_application_id(path, "mode=ro")
    if application_id != APPLICATION_ID:
        raise foreign_error(path)


def _read_application_id(path: Path, options: str) -> int:
    connection = open_read_only(path, options)
    try:
        application_id: int = connection.execute("PRAGMA application_id").fetchone()[0]
        # An application id of 0 can be read even from a file that is not a database.
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return application_id
    finally:
        connection.close()


def _has_log(path: Path) -> bool:
    return path.with_name(path.name + "-wal").exists()


def _is_half_created(path: Path) -> bool:
    """Return whether a file's first commit is in progress or was interrupted: its rollback journal records 0 pages."""
    try:
        head = path.with_name(path.name + "-journal").read_bytes()[:20]
    except OSError:
        return False
    return head[16:20] == b"\x00" * 4


def _check_content(path: Path, record: LockRecord) -> None:
    """Check a file's version and commits without changing it, not even by a checkpoint of a log left behind."""
    has_log = _has_log(path)
    if not has_log and path.with_name(path.name + "-shm").exists():
        raise loss_error(path, "its -shm is there, and its log is not")
    # Without a log no process has the file open, so it can be read as immutable, which creates no log.
    with contextlib.closing(open_read_only(path, "mode=ro" if has_log else "immutable=1")) as connection:
        _check_version(connection, path)
        check_schema_objects(connection, path)
        _check_ends(connection, path)
        number = read_commit_number(connection)
    loss = find_loss(number, read_main_number(path) if has_log else None, record)
    if loss is not None:
        raise loss_error(path, loss)


def read_main_number(path: Path) -> CommitNumber | None:
    """Return the number of the last commit in a file without its log; None if it cannot be read without it."""
    try:
        with contextlib.closing(open_read_only(path, "immutable=1")) as connection:
            return read_commit_number(connection)
    except (sqlite3.DatabaseError, JournalError):
        return None


def open_read_only(path: Path, options: str) -> sqlite3.Connection:
    """Open a database that is not to be changed."""
    return sqlite3.connect(
        f"file:{quote(str(path))}?{options}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _check_ends(connection: sqlite3.Connection, path: Path) -> None:
    """Check a file where damage is likely, in a time that does not depend on its size."""
    try:
        for statement in _LOOK_AT_ENDS:
            connection.execute(statement).fetchone()
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise JournalError(f"{path}: the journal is damaged: {error}; restore the file from a backup") from None


def check_readable(connection: sqlite3.Connection, path: Path) -> None:
    """Check that a file is a journal of a version that is known here.

    Raises:
        JournalError: It is not.
    """
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise foreign_error(path)
    _check_version(connection, path)


def foreign_error(path: Path) -> JournalError:
    """Build the error for another program's file."""
    return JournalError(f"{path}: the file belongs to another program; give the journal a path of its own")


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise JournalError(
            f"{path}: written by a newer version of this library (form {version}, known {VERSION}); upgrade bardge-async"
        )


def _open_database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        # macOS alone has another fsync, which does not reach the disk.
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        # Removed content is personal data: its bytes must be overwritten.
        connection.execute("PRAGMA secure_delete = ON")
        _migrate_tables(connection)
        # WAL only after the first commit, so that no file can ever lack its application id, whatever a crash loses.
        _enable_wal(connection, path)
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
    except BaseException:
        connection.close()
        raise
    return connection


def _enable_wal(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise JournalError(f"{path}: the file system does not support SQLite's write-ahead log; use a local disk")
    connection.execute("SELECT count(*) FROM facts").fetchone()


def _migrate_tables(connection: sqlite3.Connection) -> None:
    """Migrate the file to the newest version, in one commit."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in _STEPS[version:]:
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
        if version == 0:
            connection.execute("INSERT INTO facts VALUES ('highest_wall', ?)", (with_checksum(b"0.0"),))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
