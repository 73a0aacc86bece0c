"""The sandbox's state: one SQLite connection, in memory or in a file that survives a kill."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import quote

from bardge_async.errors import ConfigurationError
from bardge_async.sandbox._schema import SCHEMA, TABLES, VERSION

Row: TypeAlias = sqlite3.Row
Value: TypeAlias = str | int | float | bytes | None

APPLICATION_ID: Final = 0x42415253  # "BARS"


class Store:
    """Run SQL statements; all changes of state are made inside a :meth:`transaction`.

    A file uses a write-ahead log and is synced at each commit. Statements run in the event loop: they take
    microseconds, and since none runs concurrently, each request is atomic.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        if path is not None:
            _check_file(path)
        with self._convert_errors():
            # isolation_level None: transactions are opened explicitly, below.
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        try:
            self._prepare_database()
        except BaseException:
            self._db.close()
            raise

    def _prepare_database(self) -> None:
        self._db.row_factory = sqlite3.Row
        with self._convert_errors():
            if self._path is not None:
                self._prepare_file()
            # The schema's last statement sets the version.
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise ConfigurationError(f"db: {self._path} was written by another version; name another file")
        self.is_new = not version

    def _prepare_file(self) -> None:
        if not self._db.execute("PRAGMA page_count").fetchone()[0]:
            # Before anything else is written, so that the file is known as the sandbox's wherever a kill comes.
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        elif (problem := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(problem)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")

    def dump_state(self) -> bytes:
        """Return the whole database."""
        return self._db.serialize()

    def load_state(self, state: bytes) -> None:
        """Replace the database by another one, in memory."""
        self._db.deserialize(state)

    def create_tables(self) -> None:
        """Create the tables anew; inside a transaction they appear together with their rows or not at all.

        Only the sandbox's own tables are dropped: a user may have put others into the file.
        """
        with self._convert_errors():
            for table in TABLES:
                self._db.execute(f"DROP TABLE IF EXISTS {table}")
            # executescript() would commit the surrounding transaction.
            for statement in SCHEMA.split(";\n"):
                self._db.execute(statement)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """Return the first row, or None."""
        with self._convert_errors():
            row: Row | None = self._db.execute(sql, values).fetchone()
        return row

    def fetch_all(self, sql: str, *values: Value) -> list[Row]:
        """Return all rows."""
        with self._convert_errors():
            return self._db.execute(sql, values).fetchall()

    def execute(self, sql: str, *values: Value) -> int:
        """Run a statement and return how many rows it changed."""
        with self._convert_errors():
            return self._db.execute(sql, values).rowcount

    def insert_row(self, table: str, row: Mapping[str, Value]) -> int:
        """Add a row and return its ``seq``."""
        with self._convert_errors():
            return self._db.execute(_insert_statement(table, tuple(row)), tuple(row.values())).lastrowid or 0

    def insert_rows(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> None:
        """Add many rows."""
        with self._convert_errors():
            self._db.executemany(_insert_statement(table, tuple(columns)), rows)

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Commit all changes of the block, or none if it raises or the disk is full."""
        with self._convert_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._roll_back("ROLLBACK")
                raise

    @contextmanager
    def savepoint(self) -> Generator[None]:
        """Roll back only the block if it raises; the surrounding transaction continues."""
        with self._convert_errors():
            self._db.execute("SAVEPOINT attempt")
            try:
                yield
            except BaseException:
                self._roll_back("ROLLBACK TO attempt", "RELEASE attempt")
                raise
            self._db.execute("RELEASE attempt")

    def _roll_back(self, *statements: str) -> None:
        # After some errors, such as a full disk, SQLite has rolled back by itself.
        if self._db.in_transaction:
            for statement in statements:
                self._db.execute(statement)

    @contextmanager
    def _convert_errors(self) -> Generator[None]:
        """Raise what is wrong with the file as a ``ConfigurationError``; errors of the statements stay as they are."""
        try:
            yield
        except sqlite3.Error as error:
            if not isinstance(error, sqlite3.OperationalError) and type(error) is not sqlite3.DatabaseError:
                raise
            name = "the state in memory" if self._path is None else str(self._path)
            raise ConfigurationError(f"db: {name} cannot be used: {error}") from None


def _check_file(path: Path) -> None:
    """Check that a file is missing, empty or the sandbox's, without changing it or creating another next to it.

    Raises:
        ConfigurationError: It is another program's, not a regular file, or in no folder.
    """
    try:
        if not path.parent.is_dir():
            raise ConfigurationError(f"db: the folder {path.parent} does not exist; create it first")
        if not path.exists():
            return
        if not path.is_file():
            raise ConfigurationError(f"db: {path} is not a regular file; name a file")
        is_empty = not path.stat().st_size
    except OSError as error:
        raise ConfigurationError(f"db: {path} cannot be opened: {error.strerror}") from None
    if not is_empty and _read_application_id(path) != APPLICATION_ID:
        raise ConfigurationError(f"db: {path} is not a sandbox's file; it was left unchanged, name another one")


def _read_application_id(path: Path) -> int | None:
    """Return the id that the application wrote into a file; None if it is no database."""
    try:
        # immutable: SQLite neither locks the file nor recovers its log, which may be another program's.
        connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?immutable=1", uri=True)
        try:
            found: int = connection.execute("PRAGMA application_id").fetchone()[0]
            return found
        finally:
            connection.close()
    except sqlite3.Error:
        return None


@functools.cache
def _insert_statement(table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names from this package only
