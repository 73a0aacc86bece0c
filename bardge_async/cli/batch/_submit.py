"""``bardge batch submit`` from the options to the exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import attrs
import click

from bardge_async._batch import Operation
from bardge_async._core.secret import Secret
from bardge_async.cli.batch import _queue_jobs
from bardge_async.cli.batch._errors import CommandError, UsageError
from bardge_async.cli.batch._jobs.files import JobFiles, check_name, iter_jobs
from bardge_async.cli.batch._options import RunOptions
from bardge_async.cli.batch._rows.columns import InputFields, find_batch_endpoint
from bardge_async.cli.batch._rows.validation import OperationReader
from bardge_async.cli.batch._run import prepare_run
from bardge_async.cli.batch._terminal import Output


def submit_job(options: RunOptions, queue: Secret, output: Output) -> int:
    """Check a file and put all its rows into a queue.

    Raises:
        CommandError: The rows cannot be put into the queue.
    """
    job = check_name(options.job)
    for known in iter_jobs():
        if known.job == job:
            # Its journal is a file on this machine, which the workers cannot read.
            raise UsageError(
                f"The job {job!r} exists on this machine; a queue does not know what it has done.",
                "Resume it with bardge batch resume, or use another job name for the new work.",
            )
    with ExitStack() as stack:
        files = JobFiles.for_job(job, options.base_url, options.account, None)
        fields = InputFields(find_batch_endpoint(options.operation), options.maps)
        # As with --dry-run, nothing is stored on this machine.
        ready = prepare_run(attrs.evolve(options, dry_run=True), files, fields, stack, output.write_message)
        rows, id = ready.checked.rows, ready.checked.id
        output.write_message(
            f"{fields.endpoint.name}: {rows:,} rows of {ready.source.name}, ids in column {id}, job {job}."
        )
        result = {"job": job, "operation": options.operation, "file": options.file, "rows": rows, "id_column": id}
        if options.dry_run or not rows:
            output.write_message("Nothing was put into the queue.")
            output.write_result({**result, "put_in": 0, "exit_code": 0})
            return 0
        _confirm_submission(options, rows)
        count = _enqueue_rows(ready.reader, queue, job)
    output.write_result({**result, "put_in": count, "exit_code": 0}, [f"{count:,} operations are in the queue."])
    return 0


def _enqueue_rows(reader: OperationReader, dsn: Secret, job: str) -> int:
    async def defer_rows() -> int:
        async with _queue_jobs.open_queue(dsn, _queue_jobs.reject_client) as queue:
            return await queue.defer_many(_read_operations(reader), job=job)

    return _queue_jobs.run_database_work(defer_rows)


def _read_operations(reader: OperationReader) -> Iterator[Operation[Any, Any]]:
    """Read the rows again; if the file has changed meanwhile, nothing is put into the queue."""
    for _, operation in reader.read_operations():
        yield operation
    reader.table.source.check_unchanged()


def _confirm_submission(options: RunOptions, rows: int) -> None:
    if options.yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("Cannot ask for confirmation: standard input is not a terminal.", "Pass --yes to go ahead.")
    if not click.confirm(f"Put {rows:,} operations into the queue?", err=True):
        raise CommandError("Not confirmed: nothing was put into the queue.")
