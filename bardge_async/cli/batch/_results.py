"""The results file: the input's columns and what became of each row, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from bardge_async.cli.batch._errors import StopError, UsageError
from bardge_async.cli.batch._jobs.files import Place, slug
from bardge_async.cli.batch._jobs.row_log import Book
from bardge_async.cli.batch._rows.reader import Table
from bardge_async.cli.batch._rows.validation import refuse_changes

_OURS: Final = ("status", "error", "request_id")
# What spreadsheets take for the begin of a formula, the wide forms of East Asian keyboards included.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_SPECIAL: Final = re.compile(r'[",\r\n]')
_NUMBER: Final = re.compile(r"[+-][0-9]+([.,][0-9]+)*")


def results_path(out: Path | None, beside: Path | None, place: Place) -> Path:
    """Name the results file, by default beside the input or in the working folder, and see that it can be written.

    Raises:
        UsageError: It cannot, or it is the input itself, or what the job is remembered by.
    """
    name = f"{_part(place.job)}.results.csv"
    usual = Path(name) if beside is None else beside.with_name(f"{beside.stem}.{name}")
    path = (out or usual).absolute()
    # A device or a pipe would be replaced by a file.
    if (path.exists() and not path.is_file()) or not os.access(path.parent, os.W_OK):
        raise UsageError(f"The results cannot be written to {path}.", "Name another file by --out.")
    if beside is not None and path.exists() and path.samefile(beside):
        raise UsageError("--out names the input itself.", "Name another file.")
    if place.keeps(path):
        raise UsageError(f"--out names a file that the job is kept in: {path}.", "Name another file.")
    return path


def _part(job: str) -> str:
    """Make a part of the results' name that is one job's only: a slug may be the same for several."""
    found = slug(job)
    return found if found == job else f"{found}-{hashlib.sha256(job.encode()).hexdigest()[:6]}"


def write_results(path: Path, table: Table, book: Book, rows: int) -> None:
    """Write one line for each row of the input, in its order, below its columns and ours.

    Raises:
        StopError: The file cannot be written, or the input was changed; the old file stays.
    """
    table.source.check()
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(number, "w", encoding="utf-8", errors="replace", newline="") as file:
                file.writelines(_line(cells) for cells in _rows(table, book, rows))
                table.source.check()
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StopError(f"The results cannot be written to {path}: {error.strerror}.") from None


def our_columns(columns: Iterable[str]) -> list[str]:
    """Name our columns so that they differ from the input's."""
    taken = set(columns)
    return [next(name for name in _names(ours) if name not in taken) for ours in _OURS]


def _names(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def _rows(table: Table, book: Book, rows: int) -> Iterator[list[str]]:
    columns = list(table.columns)
    yield [harmless(name) for name in [*columns, *our_columns(columns)]]
    for line, note in zip(table.rows(refuse_changes(table)), book.notes(rows), strict=False):
        cells = [_cell(line.cells.get(name, "")) for name in columns]
        yield [harmless(cell) for cell in [*cells, *note]]


def _line(cells: Iterable[str]) -> str:
    # Before Python 3.13 csv leaves a carriage return inside of a cell unquoted.
    quoted = ('"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell for cell in cells)
    return ",".join(quoted) + "\n"


def _cell(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def harmless(cell: str) -> str:
    """Put an apostrophe before what a spreadsheet would take for a formula; plain numbers stay."""
    return f"'{cell}" if cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell) else cell
