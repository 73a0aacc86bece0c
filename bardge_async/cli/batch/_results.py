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

from bardge_async.cli.batch._errors import CommandError, UsageError
from bardge_async.cli.batch._jobs.files import JobFiles, make_slug
from bardge_async.cli.batch._jobs.row_log import RowLog
from bardge_async.cli.batch._rows.reader import InputTable
from bardge_async.cli.batch._rows.validation import reject_changes

_RESULT_COLUMNS: Final = ("status", "error", "request_id")
# What spreadsheets take for the begin of a formula, the wide forms of East Asian keyboards included.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NEEDS_QUOTES: Final = re.compile(r'[",\r\n]')
_NUMBER: Final = re.compile(r"[+-][0-9]+([.,][0-9]+)*")


def choose_results_path(out: Path | None, input_path: Path | None, files: JobFiles) -> Path:
    """Name the results file, by default beside the input or in the working folder, and see that it can be written.

    Raises:
        UsageError: It cannot, or it is the input itself, or what the job is remembered by.
    """
    name = f"{_make_unique_slug(files.job)}.results.csv"
    default = Path(name) if input_path is None else input_path.with_name(f"{input_path.stem}.{name}")
    path = (out or default).absolute()
    # A device or a pipe would be replaced by a file.
    if (path.exists() and not path.is_file()) or not os.access(path.parent, os.W_OK):
        raise UsageError(f"The results cannot be written to {path}.", "Name another file by --out.")
    if input_path is not None and path.exists() and path.samefile(input_path):
        raise UsageError("--out names the input itself.", "Name another file.")
    if files.owns_path(path):
        raise UsageError(f"--out names a file that the job is kept in: {path}.", "Name another file.")
    return path


def _make_unique_slug(job: str) -> str:
    """Make a part of the results' name that is one job's only: a slug may be the same for several."""
    found = make_slug(job)
    return found if found == job else f"{found}-{hashlib.sha256(job.encode()).hexdigest()[:6]}"


def write_results(path: Path, table: InputTable, row_log: RowLog, rows: int) -> None:
    """Write one line for each row of the input, in its order, below its columns and ours.

    Raises:
        CommandError: The file cannot be written, or the input was changed; the old file stays.
    """
    table.source.check_unchanged()
    try:
        number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(number, "w", encoding="utf-8", errors="replace", newline="") as file:
                file.writelines(_format_line(cells) for cells in _iter_result_rows(table, row_log, rows))
                table.source.check_unchanged()
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CommandError(f"The results cannot be written to {path}: {error.strerror}.") from None


def name_result_columns(columns: Iterable[str]) -> list[str]:
    """Name our columns so that they differ from the input's."""
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
    # Before Python 3.13 csv leaves a carriage return inside of a cell unquoted.
    quoted = ('"' + cell.replace('"', '""') + '"' if _NEEDS_QUOTES.search(cell) else cell for cell in cells)
    return ",".join(quoted) + "\n"


def _format_cell(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def escape_formula(cell: str) -> str:
    """Put an apostrophe before what a spreadsheet would take for a formula; plain numbers stay."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(cell) else cell
