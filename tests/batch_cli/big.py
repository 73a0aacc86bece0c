"""Stream a large file through ``bardge batch run --dry-run``: ``python -m tests.batch_cli.big [--gigabytes 1]``.

It prints how long it took and how much memory the command took at most, and ends with 1 if that was over the limit.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bardge_async.cli.batch._errors import InputErrors
from bardge_async.cli.batch._jobs.row_log import RowLog, RowOutcome
from bardge_async.cli.batch._results import write_results
from bardge_async.cli.batch._rows.file import InputFile
from bardge_async.cli.batch._rows.reader import open_table

LIMIT: Final = 100
"""Mebibytes; for a file of three rows the command takes about 45."""
_NOTE: Final = "a note of the size that such notes have, " * 10


def write_input(path: Path, size: int) -> int:
    """Write a file of purchases, and return how many rows it has."""
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        written = file.write("id,client_id,package_id,note\n")
        while written < size:
            rows += 1
            written += file.write(f'order-{rows},client_{rows},cpkg_{rows % 7},"{_NOTE}"\n')
    return rows


def write_result_file(path: Path, rows: int) -> None:
    """Write a results file for the input, as a run does at its end."""
    with InputFile(path, path.name) as source, RowLog() as book:
        table = open_table(source, InputErrors(path.name))
        for row in range(1, rows, 2):
            book.add_outcome(row, RowOutcome("done", "", f"req_{row:032x}"))
        write_results(path.with_name("results.csv"), table, book, rows)


def main() -> int:
    """Write the file, check it in a child process, and write its results here."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    size = int(parser.parse_args().gigabytes * 1e9)
    with tempfile.TemporaryDirectory(prefix="bardge-big-") as folder:
        path = Path(folder) / "big.csv"
        rows = write_input(path, size)
        arguments = ["batch", "run", str(path), "--op", "credits.purchase", "--job", "big", "--dry-run"]
        begun = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "bardge_async", *arguments], check=False)
        checked = time.monotonic() - begun
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        sys.stdout.write(
            f"{path.stat().st_size:,} bytes, {rows:,} rows: checked in {checked:.0f} s, {most} MiB at most" + "\n"
        )
        begun = time.monotonic()
        write_result_file(path, rows)
        mine = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        sys.stdout.write(
            f"results written in {time.monotonic() - begun:.0f} s, {mine} MiB at most in this process" + "\n"
        )
    return 0 if done.returncode == 0 and max(most, mine) <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
