"""The sandbox's state: one SQLite connection, in memory or in a file that survives a kill."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from bardge_async.sandbox._schema import SCHEMA

Row: TypeAlias = sqlite3.Row
Value: TypeAlias = str | int | float | bytes | None


class Store:
    """Run SQL statements; all changes of state are made inside a :meth:`transaction`.

    A file uses a write-ahead log and is synced at each commit. Statements run in the event loop: they take
    microseconds, and since none runs concurrently, each request is atomic.
    """

    def __init__(self, path: Path | None = None) -> None:
        # isolation_level None: transactions are opened explicitly, below.
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        if path:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        # The schema's last statement sets the version.
        self.is_new = not self._db.execute("PRAGMA user_version").fetchone()[0]

    def dump_state(self) -> bytes:
        """Return the whole database."""
        return self._db.serialize()

    def load_state(self, state: bytes) -> None:
        """Replace the database by another one, in memory."""
        self._db.deserialize(state)

    def create_tables(self) -> None:
        """Create the tables; inside a transaction they appear together with their rows or not at all."""
        # executescript() would commit the surrounding transaction.
        for statement in SCHEMA.split(";\n"):
            self._db.execute(statement)

    def drop_tables(self) -> None:
        """Drop all tables; if the process is killed afterwards, the file counts as new."""
        with self.transaction():
            for row in self.fetch_all("SELECT name FROM sqlite_master WHERE type = 'table'"):
                self._db.execute(f"DROP TABLE {row['name']}")
            self._db.execute("PRAGMA user_version = 0")

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def fetch_one(self, sql: str, *values: Value) -> Row | None:
        """Return the first row, or None."""
        row: Row | None = self._db.execute(sql, values).fetchone()
        return row

    def fetch_all(self, sql: str, *values: Value) -> list[Row]:
        """Return all rows."""
        return self._db.execute(sql, values).fetchall()

    def execute(self, sql: str, *values: Value) -> int:
        """Run a statement and return how many rows it changed."""
        return self._db.execute(sql, values).rowcount

    def insert_row(self, table: str, row: Mapping[str, Value]) -> int:
        """Add a row and return its ``seq``."""
        return self._db.execute(_insert_statement(table, tuple(row)), tuple(row.values())).lastrowid or 0

    def insert_rows(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Value]]) -> None:
        """Add many rows."""
        self._db.executemany(_insert_statement(table, tuple(columns)), rows)

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Commit all changes of the block, or none if it raises."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def savepoint(self) -> Generator[None]:
        """Roll back only the block if it raises; the surrounding transaction continues."""
        self._db.execute("SAVEPOINT attempt")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK TO attempt")
            raise
        finally:
            self._db.execute("RELEASE attempt")


@functools.cache
def _insert_statement(table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - names from this package only
