"""Rows out of CSV or JSONL text, with the lines that they begin at."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import PurePath
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

from bardge_async.cli.batch._errors import Faults, UsageError
from bardge_async.cli.batch._rows.file import Report, Source

Cells: TypeAlias = dict[str, Any]
"""A row's values by column: text from CSV, JSON values from JSONL."""

_JSON_LINES: Final = frozenset({".jsonl", ".ndjson"})
_MOST_COLUMNS: Final = 1000
_OTHER_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}


class Line(NamedTuple):
    """One row of the input, and the line where it begins."""

    number: int
    cells: Cells


class Table(Protocol):
    """Rows that can be read any number of times.

    ``columns`` holds the names in the order of the input; of JSONL they are all known after the first reading.
    """

    source: Source
    columns: dict[str, None]
    typed: bool

    def rows(self, report: Report) -> Iterator[Line]:
        """Read from the start; what is no row is reported and left out."""
        ...


def open_table(source: Source, faults: Faults) -> Table:
    """Tell by name and first character what the text is, and read its header if it has one.

    Raises:
        UsageError: It is empty, or no text.
        BadInputError: The header cannot be used.
    """
    first = source.first()
    if not first:
        raise UsageError(f"{source.name} is empty.", "It needs a header line and a line for each operation.")
    if first == "[":
        raise UsageError(f"{source.name} is one JSON list.", "Write an object on each line: jq -c '.[]' FILE")
    if first == "{" or PurePath(source.name).suffix.lower() in _JSON_LINES:
        return JSONLines(source)
    return CSVTable(source, faults)


class CSVTable:
    """Comma-separated values below a header."""

    typed = False

    def __init__(self, source: Source, faults: Faults) -> None:
        self.source = source
        start, names = next(self._records(faults.add), (1, list[str]()))
        self._names = [name.strip() for name in names]
        self._check(start, faults)
        faults.stop()
        self.columns = dict.fromkeys(self._names)

    def _check(self, line: int, faults: Faults) -> None:
        seen: set[str] = set()
        for place, name in enumerate(self._names, start=1):
            if not name:
                faults.add(line, None, f"the name of column {place} is empty")
            elif name in seen:
                faults.add(line, name, "two columns have this name")
            seen.add(name)
        hints = [word for sign, word in _OTHER_SEPARATORS.items() if len(self._names) == 1 and sign in self._names[0]]
        if hints:
            faults.add(line, None, f"the cells are separated by {hints[0]}; use commas")

    def rows(self, report: Report) -> Iterator[Line]:
        """Read from the start; what is no row is reported and left out."""
        records = self._records(report)
        next(records, None)
        names, width = self._names, len(self._names)
        for start, cells in records:
            if len(cells) == width:
                yield Line(start, dict(zip(names, cells, strict=True)))
            else:
                report(start, None, f"it has {len(cells)} cells, the header has {width}")

    def _records(self, report: Report) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(self.source.lines(report), strict=True)
        while True:
            start = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                report(start, None, _why(error))
                if reader.line_num != start:
                    # Where a quote was left open nobody knows where the next row begins.
                    return
            else:
                if cells:
                    yield start, cells


def _why(error: csv.Error) -> str:
    said = str(error)
    if "field limit" in said:
        return f'a cell has more than {csv.field_size_limit():,} characters; is a quote (") left open?'
    if "end of data" in said:
        return 'a quote (") is left open to the end of the file'
    if "expected after" in said:
        return 'a quote (") inside of a cell is not doubled, or one is left open'
    return said


class JSONLines:
    """One JSON object on each line."""

    typed = True

    def __init__(self, source: Source) -> None:
        self.source = source
        self.columns: dict[str, None] = {}

    def rows(self, report: Report) -> Iterator[Line]:
        """Read from the start; what is no row is reported and left out."""
        for number, text in enumerate(self.source.lines(report), start=1):
            if not text.strip():
                continue
            try:
                cells = _object(text)
            except ValueError as error:
                report(number, None, str(error))
                continue
            self._learn(cells, number)
            yield Line(number, cells)

    def _learn(self, cells: Cells, number: int) -> None:
        if cells.keys() <= self.columns.keys():
            return
        self.columns.update(dict.fromkeys(cells))
        if len(self.columns) > _MOST_COLUMNS:
            raise UsageError(f"{self.source.name}, line {number}: more than {_MOST_COLUMNS} different names so far.")


def _object(text: str) -> Cells:
    """Read one line; numbers stay exact.

    Raises:
        ValueError: It is no object, or names a field twice.
    """
    try:
        found: object = json.loads(
            text, parse_float=Decimal, parse_constant=_no_constant, object_pairs_hook=_without_doubles
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - a fault of the input
    return cast("Cells", found)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> Cells:
    found = dict(pairs)
    if len(found) != len(pairs):
        doubled = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise ValueError(f"the name {doubled!r} stands twice in one object")
    return found
