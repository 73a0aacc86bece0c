"""The id and outcome of every row, on disk so that memory use stays constant."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple, Self

NOT_RUN: Final = "not run"
_BUFFERED_ROWS: Final = 2000
"""Rows per write."""


class RowOutcome(NamedTuple):
    """The outcome of one row."""

    status: str = NOT_RUN
    error: str = ""
    request_id: str = ""


class DuplicateId(NamedTuple):
    """An id that is also on an earlier line."""

    line: int
    first_line: int
    id: str


class RowLog:
    """Ids and outcomes in a private unnamed file, which the system removes with the process."""

    def __init__(self) -> None:
        # SQLite creates the file once its cache is full, readable by the owner only.
        self._connection = sqlite3.connect("", isolation_level=None)
        # Neither journal nor syncs: the file does not have to survive a crash.
        self._connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16000;"
            "CREATE TABLE ids (id TEXT NOT NULL, line INTEGER NOT NULL);"
            "CREATE TABLE notes (row INTEGER PRIMARY KEY, status TEXT, error TEXT, request_id TEXT);"
            "BEGIN"
        )
        self._ids: list[tuple[str, int]] = []
        self._outcomes: list[tuple[int, str, str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def add_id(self, id: str, line: int) -> None:
        """Add the id of a line."""
        self._ids.append((id, line))
        if len(self._ids) >= _BUFFERED_ROWS:
            self._write_ids()

    def find_duplicates(self) -> Iterator[DuplicateId]:
        """Return the ids that repeat an earlier one, in line order."""
        self._write_ids()
        found = self._connection.execute(
            "SELECT line, first, id FROM (SELECT line, min(line) OVER (PARTITION BY id) AS first, id FROM ids) "
            "WHERE line > first ORDER BY line"
        )
        return map(DuplicateId._make, found)

    def forget_ids(self) -> None:
        """Delete the ids to save space, once they are known to be unique."""
        self._ids.clear()
        self._connection.execute("DELETE FROM ids")

    def add_outcome(self, row_number: int, outcome: RowOutcome) -> None:
        """Add the outcome of a row."""
        self._outcomes.append((row_number, outcome.status, outcome.error, outcome.request_id))
        if len(self._outcomes) >= _BUFFERED_ROWS:
            self._write_outcomes()

    def read_outcomes(self, rows: int) -> Iterator[RowOutcome]:
        """Yield the outcome of each row, in order; a row without one was not run."""
        self._write_outcomes()
        found = self._connection.execute("SELECT row, status, error, request_id FROM notes ORDER BY row")
        # Row numbers start at 1: 0 stands for the end of the log.
        next_row, *known = next(found, (0,))
        for row_number in range(1, rows + 1):
            if row_number == next_row:
                yield RowOutcome(*known)
                next_row, *known = next(found, (0,))
            else:
                yield RowOutcome()

    def _write_ids(self) -> None:
        self._connection.executemany("INSERT INTO ids VALUES (?, ?)", self._ids)
        self._ids.clear()

    def _write_outcomes(self) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?)", self._outcomes)
        self._outcomes.clear()
