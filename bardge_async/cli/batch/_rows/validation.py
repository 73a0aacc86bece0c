"""The first pass: every row is looked at before anything is sent."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from bardge_async._batch import Operation
from bardge_async._core.entry import EntryState
from bardge_async.cli.batch._errors import Faults, UsageError
from bardge_async.cli.batch._jobs.history import Survey
from bardge_async.cli.batch._jobs.row_log import Book
from bardge_async.cli.batch._rows.columns import Fields
from bardge_async.cli.batch._rows.file import Report
from bardge_async.cli.batch._rows.reader import Line, Table

_LONGEST_ID: Final = 255
_MOST_PRICES: Final = 1000
_CLIENT: Final = "client_id"
_LOOK_EVERY: Final = 1000
_TELL_EVERY: Final = 5.0
"""Seconds."""


@attrs.define
class Checked:
    """What the first pass found: rows, how far they have come, and what those that are left name as their package."""

    id: str
    rows: int = 0
    states: Counter[EntryState] = attrs.Factory(Counter[EntryState])
    packages: Counter[str] = attrs.Factory(Counter[str])

    def left(self, *, retry_refused: bool) -> int:
        """Count the rows that a run would send."""
        refused = 0 if retry_refused else self.states[EntryState.REFUSED]
        return self.rows - self.states[EntryState.DONE] - refused


@attrs.frozen
class Reading:
    """One way to read a table: which operation, under which ids."""

    table: Table
    fields: Fields
    id: str

    def operations(self) -> Iterator[tuple[Line, Operation[Any, Any]]]:
        """Make the operation of each row, of rows that were all right before.

        Raises:
            StopError: They are not any more.
        """
        report = refuse_changes(self.table)
        for line in self.table.rows(report):
            id = identify(line, self.id, report)
            operation = self.fields.operation(line, id, report, typed=self.table.typed)
            if operation is not None:
                yield line, operation


def identify(line: Line, column: str, report: Report) -> str:
    """Return a row's id; empty where it has none that can be used, which is reported."""
    raw = line.cells.get(column)
    if isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)
    if not isinstance(raw, str | None):
        report(line.number, column, f"an id is text or a whole number, got {raw!r:.40}")
        return ""
    id = (raw or "").strip()
    if not id:
        report(line.number, column, "the id is empty" if column in line.cells else "the id is missing")
    elif len(id) > _LONGEST_ID or not _is_text(id):
        report(line.number, column, f"an id has at most {_LONGEST_ID} characters, all of them valid Unicode")
        return ""
    return id


def _is_text(id: str) -> bool:
    try:
        id.encode()
    except UnicodeEncodeError:
        return False
    return True


class Check:
    """Look at every row."""

    def __init__(self, table: Table, fields: Fields, faults: Faults, survey: Survey, job: str) -> None:
        self._table = table
        self._fields = fields
        self._faults = faults
        self._survey = survey
        self._job = job

    def run(self, wanted_id: str | None, book: Book, tell: Callable[[str], None], *, retry_refused: bool) -> Checked:
        """Look at every row, and count what is left; ``tell`` hears how far it is, where that takes long.

        Raises:
            BadInputError: Something is wrong with the rows.
            UsageError: There is no column of unique ids.
        """
        column = self._id_column(wanted_id)
        checked = Checked(column)
        if not self._table.typed:
            self._check_columns()
        told = time.monotonic()
        for line in self._table.rows(self._faults.add):
            checked.rows += 1
            if not checked.rows % _LOOK_EVERY and time.monotonic() - told > _TELL_EVERY:
                told = time.monotonic()
                tell(f"Checked {checked.rows:,} rows so far.")
            self._look(line, checked, book, retry_refused=retry_refused)
        if self._table.typed:
            self._check_columns()
        self._check_ids(column, wanted_id, book)
        self._faults.stop()
        book.forget_ids()
        self._table.source.check()
        return checked

    def _look(self, line: Line, checked: Checked, book: Book, *, retry_refused: bool) -> None:
        id = identify(line, checked.id, self._faults.add)
        if id:
            book.add_id(id, line.number)
        operation = self._fields.operation(line, id or "none", self._faults.add, typed=self._table.typed)
        known = self._faults.count
        if operation is not None:
            self._fields.check(operation, line, self._faults.add)
        if operation is not None and self._faults.count == known:
            self._count(operation, checked, retry_refused=retry_refused)

    def _id_column(self, wanted: str | None) -> str:
        """Choose the column of the ids: the one that was named, else ``id``, else the client's."""
        faults = Faults("")
        columns = self._first_columns(faults)
        if wanted is not None:
            if wanted not in columns and not self._table.typed:
                self._faults.add(1, wanted, f"--id names it, and it is not there; there are: {', '.join(columns)}")
                self._faults.stop()
            return wanted
        client = next((f.column for f in self._fields.all if f.name == _CLIENT), _CLIENT)
        for choice in ("id", _CLIENT, client):
            if choice in columns:
                return choice
        if faults.count:
            # There is worse to tell.
            return "id"
        raise self._no_ids("has no column id or client_id")

    def _first_columns(self, faults: Faults) -> list[str]:
        """Return the columns, of JSONL those of the first row."""
        if self._table.typed:
            next(self._table.rows(faults.add), None)
        return list(self._table.columns)

    def _check_columns(self) -> None:
        """See that every column that is needed or named is there; cells of JSONL may be missing row by row."""
        columns, row = self._table.columns, self._fields.row
        there = f"there are: {', '.join(columns)}"
        for field in self._fields.all if columns else []:
            mapped = field.column != field.name
            if field.column not in columns and (mapped or (field.required and not self._table.typed)):
                why = "--map names it" if mapped else f"{row.name} needs it"
                mend = "" if mapped else f" (--map {field.name}=COLUMN takes it from another one)"
                self._faults.add(1, field.column, f"{why}, and it is not there{mend}; {there}")
        if self._fields.body and columns and not self._fields.used(columns) and not self._faults.count:
            wanted = ", ".join(field.name for field in self._fields.all)
            self._faults.add(1, None, f"no column is a field of {row.name} ({wanted}); {there}")
        if not self._table.typed:
            self._faults.stop()

    def _count(self, operation: Operation[Any, Any], checked: Checked, *, retry_refused: bool) -> None:
        state = None
        if not self._survey.empty:
            state = self._survey.state(operation, self._job)
        if state is not None:
            checked.states[state] += 1
        package = getattr(operation.request, "package_id", None)
        sent = state is EntryState.DONE or (state is EntryState.REFUSED and not retry_refused)
        if package and not sent and (package in checked.packages or len(checked.packages) < _MOST_PRICES):
            checked.packages[package] += 1

    def _check_ids(self, column: str, wanted: str | None, book: Book) -> None:
        for doubled in book.doubled():
            if wanted is None and column != "id":
                raise self._no_ids(
                    f"has no column id, and {column} is not unique "
                    f"({doubled.id!r:.80} is on line {doubled.first} and on line {doubled.line})"
                )
            self._faults.add(doubled.line, column, f"the id {doubled.id!r:.80} is on line {doubled.first}, too")

    def _no_ids(self, why: str) -> UsageError:
        unique = ", ".join(unique_columns(self._table))
        found = f"Columns that differ in every row: {unique}." if unique else "No column differs in every row: add one."
        return UsageError(
            f"{self._table.source.name} {why}. An id tells what was done already, in every later run.",
            f"Pass --id COLUMN, a column of ids of your own, one for each operation. {found}",
        )


def unique_columns(table: Table) -> list[str]:
    """Find the columns that have another value in each row; rows that cannot be read are left out."""
    faults = Faults("")
    seen = sqlite3.connect("", isolation_level=None)
    try:
        seen.executescript(
            "PRAGMA journal_mode = OFF; CREATE TABLE seen (c, v, PRIMARY KEY (c, v)) WITHOUT ROWID; BEGIN"
        )
        unique = list(table.columns)
        for line in table.rows(faults.add):
            for name in list(unique):
                value = str(line.cells.get(name, "")).strip()
                known = seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (name, value)).rowcount == 0
                if not value or known:
                    unique.remove(name)
        return unique
    finally:
        seen.close()


def refuse_changes(table: Table) -> Report:
    """Make what takes the faults of a later pass: what was right before was changed since."""

    def report(*_: object) -> None:
        raise table.source.changed()

    return report
