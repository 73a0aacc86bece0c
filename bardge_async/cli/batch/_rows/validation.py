"""The first pass: every row is checked before anything is sent."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from bardge_async._batch import Operation
from bardge_async._core.entry import EntryState
from bardge_async.cli.batch._errors import InputErrors, UsageError
from bardge_async.cli.batch._jobs.history import JobHistory
from bardge_async.cli.batch._jobs.row_log import RowLog
from bardge_async.cli.batch._rows.columns import InputFields
from bardge_async.cli.batch._rows.file import ErrorReporter
from bardge_async.cli.batch._rows.reader import InputRow, InputTable

_MAX_ID_LENGTH: Final = 255
_MAX_PACKAGES: Final = 1000
_CLIENT: Final = "client_id"
_ROWS_BETWEEN_CLOCK_READS: Final = 1000
_MESSAGE_INTERVAL: Final = 5.0
"""Seconds between two messages."""


@attrs.define
class CheckedInput:
    """What the first pass found: rows, their states in the journal, and the packages of those left to send."""

    id: str
    rows: int = 0
    states: Counter[EntryState] = attrs.Factory(Counter[EntryState])
    packages: Counter[str] = attrs.Factory(Counter[str])

    def rows_left(self, *, retry_refused: bool) -> int:
        """Return the number of rows that a run would send."""
        refused = 0 if retry_refused else self.states[EntryState.REFUSED]
        return self.rows - self.states[EntryState.DONE] - refused


@attrs.frozen
class OperationReader:
    """Read a table as operations: of which endpoint, with which column as ids."""

    table: InputTable
    fields: InputFields
    id: str

    def read_operations(self) -> Iterator[tuple[InputRow, Operation[Any, Any]]]:
        """Yield the operation of each row of a table that was valid before.

        Raises:
            CommandError: A row is not valid any more.
        """
        report = reject_changes(self.table)
        for row in self.table.read_rows(report):
            id = read_id(row, self.id, report)
            operation = self.fields.build_operation(row, id, report, typed=self.table.typed)
            if operation is not None:
                yield row, operation


def read_id(row: InputRow, column: str, report: ErrorReporter) -> str:
    """Return a row's id; empty if there is no usable one, which is reported."""
    raw = row.cells.get(column)
    # bool is a subclass of int.
    if isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)
    if not isinstance(raw, str | None):
        report(row.line_number, column, f"an id is text or a whole number, got {raw!r:.40}")
        return ""
    id = (raw or "").strip()
    if not id:
        report(row.line_number, column, "the id is empty" if column in row.cells else "the id is missing")
    elif len(id) > _MAX_ID_LENGTH or not _is_text(id):
        report(row.line_number, column, f"an id has at most {_MAX_ID_LENGTH} characters, all of them valid Unicode")
        return ""
    return id


def _is_text(id: str) -> bool:
    try:
        id.encode()
    except UnicodeEncodeError:
        return False
    return True


class RowValidator:
    """Check every row."""

    def __init__(
        self, table: InputTable, fields: InputFields, errors: InputErrors, journal: JobHistory, job: str
    ) -> None:
        self._table = table
        self._fields = fields
        self._faults = errors
        self._journal = journal
        self._job = job

    def validate_rows(
        self, id_option: str | None, row_log: RowLog, echo: Callable[[str], None], *, retry_refused: bool
    ) -> CheckedInput:
        """Check every row and count what is left to send; ``echo`` prints how far it is, if that takes long.

        Raises:
            InvalidInputError: There are errors in the rows.
            UsageError: There is no column of unique ids.
        """
        column = self._choose_id_column(id_option)
        checked = CheckedInput(column)
        if not self._table.typed:
            self._check_columns()
        reported_at = time.monotonic()
        for row in self._table.read_rows(self._faults.add_error):
            checked.rows += 1
            if not checked.rows % _ROWS_BETWEEN_CLOCK_READS and time.monotonic() - reported_at > _MESSAGE_INTERVAL:
                reported_at = time.monotonic()
                echo(f"Checked {checked.rows:,} rows so far.")
            self._check_row(row, checked, row_log, retry_refused=retry_refused)
        if self._table.typed:
            self._check_columns()
        self._check_ids(column, id_option, row_log)
        self._faults.raise_if_any()
        row_log.forget_ids()
        self._table.source.check_unchanged()
        return checked

    def _check_row(self, row: InputRow, checked: CheckedInput, row_log: RowLog, *, retry_refused: bool) -> None:
        id = read_id(row, checked.id, self._faults.add_error)
        if id:
            row_log.add_id(id, row.line_number)
        operation = self._fields.build_operation(row, id or "none", self._faults.add_error, typed=self._table.typed)
        errors_before = self._faults.count
        if operation is not None:
            self._fields.check_sendable(operation, row, self._faults.add_error)
        if operation is not None and self._faults.count == errors_before:
            self._count_row(operation, checked, retry_refused=retry_refused)

    def _choose_id_column(self, id_option: str | None) -> str:
        """Choose the id column: the given one, else ``id``, else the client's."""
        errors = InputErrors("")
        columns = self._read_columns(errors)
        if id_option is not None:
            if id_option not in columns and not self._table.typed:
                self._faults.add_error(
                    1, id_option, f"--id names it, but it does not exist; the columns are: {', '.join(columns)}"
                )
                self._faults.raise_if_any()
            return id_option
        client_column = next((f.column for f in self._fields.all_fields if f.name == _CLIENT), _CLIENT)
        for choice in ("id", _CLIENT, client_column):
            if choice in columns:
                return choice
        if errors.count:
            # The errors of the first row are reported instead.
            return "id"
        raise self._make_id_error("has no column id or client_id")

    def _read_columns(self, errors: InputErrors) -> list[str]:
        """Return the columns; for JSONL those of the first row."""
        if self._table.typed:
            next(self._table.read_rows(errors.add_error), None)
        return list(self._table.columns)

    def _check_columns(self) -> None:
        """Check that every required or mapped column exists; in JSONL, required cells are checked row by row."""
        columns, endpoint = self._table.columns, self._fields.endpoint
        available = f"the columns are: {', '.join(columns)}"
        for field in self._fields.all_fields if columns else []:
            mapped = field.column != field.name
            if field.column not in columns and (mapped or (field.required and not self._table.typed)):
                why = "--map names it" if mapped else f"{endpoint.name} needs it"
                hint = "" if mapped else f" (--map {field.name}=COLUMN takes it from another column)"
                self._faults.add_error(1, field.column, f"{why}, but it does not exist{hint}; {available}")
        if self._fields.body and columns and not self._fields.select_used(columns) and not self._faults.count:
            wanted = ", ".join(field.name for field in self._fields.all_fields)
            self._faults.add_error(1, None, f"no column is a field of {endpoint.name} ({wanted}); {available}")
        if not self._table.typed:
            self._faults.raise_if_any()

    def _count_row(self, operation: Operation[Any, Any], checked: CheckedInput, *, retry_refused: bool) -> None:
        state = None
        if not self._journal.is_empty:
            state = self._journal.read_state(operation, self._job)
        if state is not None:
            checked.states[state] += 1
        package = getattr(operation.request, "package_id", None)
        sent = state is EntryState.DONE or (state is EntryState.REFUSED and not retry_refused)
        if package and not sent and (package in checked.packages or len(checked.packages) < _MAX_PACKAGES):
            checked.packages[package] += 1

    def _check_ids(self, column: str, id_option: str | None, row_log: RowLog) -> None:
        for duplicate in row_log.find_duplicates():
            if id_option is None and column != "id":
                raise self._make_id_error(
                    f"has no column id, and {column} is not unique "
                    f"({duplicate.id!r:.80} is on line {duplicate.first_line} and on line {duplicate.line})"
                )
            self._faults.add_error(
                duplicate.line, column, f"the id {duplicate.id!r:.80} is also on line {duplicate.first_line}"
            )

    def _make_id_error(self, reason: str) -> UsageError:
        unique = ", ".join(find_unique_columns(self._table))
        found = f"Columns with unique values: {unique}." if unique else "No column has unique values: add one."
        return UsageError(
            f"{self._table.source.name} {reason}. Later runs use the ids to skip what is done.",
            f"Pass --id COLUMN: a column of your own ids, one for each operation. {found}",
        )


def find_unique_columns(table: InputTable) -> list[str]:
    """Find the columns with unique values; rows that cannot be read are skipped."""
    errors = InputErrors("")
    seen = sqlite3.connect("", isolation_level=None)
    try:
        seen.executescript(
            "PRAGMA journal_mode = OFF; CREATE TABLE seen (c, v, PRIMARY KEY (c, v)) WITHOUT ROWID; BEGIN"
        )
        unique = list(table.columns)
        for row in table.read_rows(errors.add_error):
            for name in list(unique):
                value = str(row.cells.get(name, "")).strip()
                is_repeated = seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (name, value)).rowcount == 0
                if not value or is_repeated:
                    unique.remove(name)
        return unique
    finally:
        seen.close()


def reject_changes(table: InputTable) -> ErrorReporter:
    """Return an error reporter for later passes: the rows were valid before, so the file has changed since."""

    def raise_changed(*_: object) -> None:
        raise table.source.make_changed_error()

    return raise_changed
