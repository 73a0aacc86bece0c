"""What is noted of every row: its id, and what became of it. On disk, so that memory stays flat."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

NOT_RUN: Final = "not run"
_SOME: Final = 2000
"""Rows that are written together."""


class Note(NamedTuple):
    """What became of one row."""

    status: str = NOT_RUN
    error: str = ""
    request_id: str = ""


class Doubled(NamedTuple):
    """An id that was on an earlier line, too."""

    line: int
    first: int
    id: str


class Book:
    """Notes in a private file without a name, which the system removes with the process."""

    def __init__(self) -> None:
        # SQLite makes the file once its cache is full, readable by its owner only.
        self._found = sqlite3.connect("", isolation_level=None)
        self._found.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16000;"
            "CREATE TABLE ids (id TEXT NOT NULL, line INTEGER NOT NULL);"
            "CREATE TABLE notes (row INTEGER PRIMARY KEY, status TEXT, error TEXT, request_id TEXT);"
            "BEGIN"
        )
        self._ids: list[tuple[str, int]] = []
        self._notes: list[tuple[int, str, str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._found.close()

    def add_id(self, id: str, line: int) -> None:
        """Note the id of a line."""
        self._ids.append((id, line))
        if len(self._ids) >= _SOME:
            self._write_ids()

    def doubled(self) -> Iterator[Doubled]:
        """Find the ids that came before, in the order of the lines."""
        self._write_ids()
        found = self._found.execute(
            "SELECT line, first, id FROM (SELECT line, min(line) OVER (PARTITION BY id) AS first, id FROM ids) "
            "WHERE line > first ORDER BY line"
        )
        return map(Doubled._make, found)

    def forget_ids(self) -> None:
        """Make room: all are known to be different."""
        self._ids.clear()
        self._found.execute("DELETE FROM ids")

    def note(self, row: int, note: Note) -> None:
        """Note what became of a row."""
        self._notes.append((row, note.status, note.error, note.request_id))
        if len(self._notes) >= _SOME:
            self._write_notes()

    def notes(self, rows: int) -> Iterator[Note]:
        """Tell what became of each row, from the first to the last; those that nothing is known of were not run."""
        self._write_notes()
        found = self._found.execute("SELECT row, status, error, request_id FROM notes ORDER BY row")
        next_row, *known = next(found, (0,))
        for row in range(1, rows + 1):
            if row == next_row:
                yield Note(*known)
                next_row, *known = next(found, (0,))
            else:
                yield Note()

    def _write_ids(self) -> None:
        self._found.executemany("INSERT INTO ids VALUES (?, ?)", self._ids)
        self._ids.clear()

    def _write_notes(self) -> None:
        self._found.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?)", self._notes)
        self._notes.clear()
