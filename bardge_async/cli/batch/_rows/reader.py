"""Read rows from CSV or JSONL text, with the lines on which they start."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import PurePath
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

from bardge_async.cli.batch._errors import InputErrors, UsageError
from bardge_async.cli.batch._rows.file import ErrorReporter, InputFile

Cells: TypeAlias = dict[str, Any]
"""A row's values by column: text from CSV, JSON values from JSONL."""

_JSON_LINES_SUFFIXES: Final = frozenset({".jsonl", ".ndjson"})
_MAX_COLUMNS: Final = 1000
_OTHER_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}


class InputRow(NamedTuple):
    """A row of the input and the line on which it starts."""

    line_number: int
    cells: Cells


class InputTable(Protocol):
    """Rows that can be read any number of times.

    ``columns`` holds the names in the order of the input; for JSONL they are complete after the first pass.
    """

    source: InputFile
    columns: dict[str, None]
    typed: bool

    def read_rows(self, report: ErrorReporter) -> Iterator[InputRow]:
        """Yield the rows from the start; invalid rows are reported and skipped."""
        ...


def open_table(source: InputFile, errors: InputErrors) -> InputTable:
    """Detect the format by name and first character, and read the header if there is one.

    Raises:
        UsageError: It is empty, or not text.
        InvalidInputError: The header cannot be used.
    """
    first = source.read_first_character()
    if not first:
        raise UsageError(f"{source.name} is empty.", "It needs a header line and a line for each operation.")
    if first == "[":
        raise UsageError(f"{source.name} is a single JSON array.", "Write one object per line: jq -c '.[]' FILE")
    if first == "{" or PurePath(source.name).suffix.lower() in _JSON_LINES_SUFFIXES:
        return JSONLinesTable(source)
    return CSVTable(source, errors)


class CSVTable:
    """Comma-separated values below a header."""

    typed = False

    def __init__(self, source: InputFile, errors: InputErrors) -> None:
        self.source = source
        start, names = next(self._read_records(errors.add_error), (1, list[str]()))
        self._names = [name.strip() for name in names]
        self._check_header(start, errors)
        errors.raise_if_any()
        self.columns = dict.fromkeys(self._names)

    def _check_header(self, line: int, errors: InputErrors) -> None:
        seen: set[str] = set()
        for position, name in enumerate(self._names, start=1):
            if not name:
                errors.add_error(line, None, f"the name of column {position} is empty")
            elif name in seen:
                errors.add_error(line, name, "two columns have this name")
            seen.add(name)
        hints = [word for sign, word in _OTHER_SEPARATORS.items() if len(self._names) == 1 and sign in self._names[0]]
        if hints:
            errors.add_error(line, None, f"the cells are separated by {hints[0]}; use commas")

    def read_rows(self, report: ErrorReporter) -> Iterator[InputRow]:
        """Yield the rows from the start; invalid rows are reported and skipped."""
        records = self._read_records(report)
        next(records, None)
        names, width = self._names, len(self._names)
        for start, cells in records:
            if len(cells) == width:
                yield InputRow(start, dict(zip(names, cells, strict=True)))
            else:
                report(start, None, f"it has {len(cells)} cells, the header has {width}")

    def _read_records(self, report: ErrorReporter) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(self.source.read_lines(report), strict=True)
        while True:
            # line_num counts lines, not rows: a cell may contain line breaks.
            start = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                report(start, None, _explain_error(error))
                if reader.line_num != start:
                    # After an open quote, the start of the next row is unknown.
                    return
            else:
                if cells:
                    yield start, cells


def _explain_error(error: csv.Error) -> str:
    message = str(error)
    if "field limit" in message:
        return f'a cell has more than {csv.field_size_limit():,} characters; is a quote (") left open?'
    if "end of data" in message:
        return 'a quote (") is left open to the end of the file'
    if "expected after" in message:
        return 'a quote (") inside a cell is not doubled, or one is left open'
    return message


class JSONLinesTable:
    """One JSON object per line."""

    typed = True

    def __init__(self, source: InputFile) -> None:
        self.source = source
        self.columns: dict[str, None] = {}

    def read_rows(self, report: ErrorReporter) -> Iterator[InputRow]:
        """Yield the rows from the start; invalid rows are reported and skipped."""
        for number, text in enumerate(self.source.read_lines(report), start=1):
            if not text.strip():
                continue
            try:
                cells = _parse_object(text)
            except ValueError as error:
                report(number, None, str(error))
                continue
            self._add_columns(cells, number)
            yield InputRow(number, cells)

    def _add_columns(self, cells: Cells, number: int) -> None:
        if cells.keys() <= self.columns.keys():
            return
        self.columns.update(dict.fromkeys(cells))
        if len(self.columns) > _MAX_COLUMNS:
            raise UsageError(f"{self.source.name}, line {number}: more than {_MAX_COLUMNS} different names so far.")


def _parse_object(text: str) -> Cells:
    """Parse one line; numbers stay exact.

    Raises:
        ValueError: It is not an object, or repeats a name.
    """
    try:
        found: object = json.loads(
            text, parse_float=Decimal, parse_constant=_reject_constant, object_pairs_hook=_reject_duplicates
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - an error in the input
    return cast("Cells", found)


def _reject_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _reject_duplicates(pairs: Sequence[tuple[str, Any]]) -> Cells:
    # json would silently keep the last of equal names.
    found = dict(pairs)
    if len(found) != len(pairs):
        duplicate = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise ValueError(f"the name {duplicate!r} occurs twice in one object")
    return found
