"""The results file: the input's columns and the outcome of each row, written atomically."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from bardge_async.cli.batch._errors import CommandError, UsageError
from bardge_async.cli.batch._jobs.files import JobFiles, make_slug, replacing_file
from bardge_async.cli.batch._jobs.row_log import RowLog
from bardge_async.cli.batch._rows.reader import InputTable
from bardge_async.cli.batch._rows.validation import reject_changes

_RESULT_COLUMNS: Final = ("status", "error", "request_id")
# What starts a formula in spreadsheets, including the full-width forms of East Asian keyboards.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NEEDS_QUOTES: Final = re.compile(r'[",\r\n]')
_NUMBER: Final = re.compile(r"[+-][0-9]+([.,][0-9]+)*")


def choose_results_path(out: Path | None, input_path: Path | None, files: JobFiles) -> Path:
    """Return the results file, by default next to the input or in the working directory; check that it is writable.

    Raises:
        UsageError: It cannot be written, or is the input itself or one of the job's own files.
    """
    name = f"{_make_unique_slug(files.job)}.results.csv"
    default = Path(name) if input_path is None else input_path.with_name(f"{input_path.stem}.{name}")
    path = (out or default).absolute()
    # A device or a pipe would be replaced by a file.
    if (path.exists() and not path.is_file()) or not os.access(path.parent, os.W_OK):
        raise UsageError(f"The results cannot be written to {path}.", "Name another file with --out.")
    if input_path is not None and path.exists() and path.samefile(input_path):
        raise UsageError("--out names the input itself.", "Name another file.")
    if files.owns_path(path):
        raise UsageError(f"--out names one of the job's own files: {path}.", "Name another file.")
    return path


def _make_unique_slug(job: str) -> str:
    """Make a part of the results' name that is unique to the job; different jobs may have the same slug."""
    found = make_slug(job)
    return found if found == job else f"{found}-{hashlib.sha256(job.encode()).hexdigest()[:6]}"


def write_results(path: Path, table: InputTable, row_log: RowLog, rows: int) -> None:
    """Write a header and one line for each row of the input, in order: its columns, then ours.

    Raises:
        CommandError: The file cannot be written, or the input has changed; the old file stays.
    """
    table.source.check_unchanged()
    try:
        with replacing_file(path) as file:
            for cells in _iter_result_rows(table, row_log, rows):
                file.write(_format_line(cells).encode(errors="replace"))
            table.source.check_unchanged()
    except OSError as error:
        raise CommandError(f"The results cannot be written to {path}: {error.strerror}.") from None


def name_result_columns(columns: Iterable[str]) -> list[str]:
    """Name the result columns so that they differ from the input's."""
    taken = set(columns)
    return [next(name for name in _iter_name_candidates(ours) if name not in taken) for ours in _RESULT_COLUMNS]


def _iter_name_candidates(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}_{number}"
        number += 1


def _iter_result_rows(table: InputTable, row_log: RowLog, rows: int) -> Iterator[list[str]]:
    columns = list(table.columns)
    yield [escape_formula(name) for name in [*columns, *name_result_columns(columns)]]
    for row, outcome in zip(table.read_rows(reject_changes(table)), row_log.read_outcomes(rows), strict=False):
        cells = [_format_cell(row.cells.get(name, "")) for name in columns]
        yield [escape_formula(cell) for cell in [*cells, *outcome]]


def _format_line(cells: Iterable[str]) -> str:
    # Before Python 3.13 csv leaves a carriage return inside a cell unquoted.
    quoted = ('"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell for cell in cells)
    return ",".join(quoted) + "\n"


def _format_cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def escape_formula(cell: str) -> str:
    """Put an apostrophe before a cell that a spreadsheet would evaluate as a formula; plain numbers stay."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(cell) else cell
