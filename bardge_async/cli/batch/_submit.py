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
from bardge_async.cli.batch import _queue_jobs as desk
from bardge_async.cli.batch._errors import StopError, UsageError
from bardge_async.cli.batch._jobs.files import Place, check_name, known_jobs
from bardge_async.cli.batch._options import Order
from bardge_async.cli.batch._rows.columns import Fields, keyed_row
from bardge_async.cli.batch._rows.validation import Reading
from bardge_async.cli.batch._run import prepared
from bardge_async.cli.batch._terminal import Voice


def submit(order: Order, queue: Secret, voice: Voice) -> int:
    """Check a file and put all of it into a queue.

    Raises:
        StopError: It cannot be put in.
    """
    job = check_name(order.job)
    for known in known_jobs():
        if known.job == job:
            # Its journal is a file of this machine, of which the workers know nothing.
            raise UsageError(
                f"The job {job!r} is on record on this machine; what it did is not known to a queue.",
                "Go on with it by bardge batch resume, or give the new work a job name of its own.",
            )
    with ExitStack() as stack:
        place = Place.of(job, order.base_url, order.account, None)
        fields = Fields(keyed_row(order.operation), order.maps)
        # Nothing is kept on this machine, as with --dry-run.
        ready = prepared(attrs.evolve(order, dry_run=True), place, fields, stack, voice.say)
        rows, id = ready.checked.rows, ready.checked.id
        voice.say(f"{fields.row.name}: {rows:,} rows of {ready.source.name}, ids in column {id}, job {job}.")
        facts = {"job": job, "operation": order.operation, "file": order.file, "rows": rows, "id_column": id}
        if order.dry_run or not rows:
            voice.say("Nothing was put into the queue.")
            voice.answer({**facts, "put_in": 0, "exit_code": 0})
            return 0
        _confirm(order, rows)
        count = _put(ready.reading, queue, job)
    voice.answer({**facts, "put_in": count, "exit_code": 0}, [f"{count:,} operations are in the queue."])
    return 0


def _put(reading: Reading, dsn: Secret, job: str) -> int:
    async def put() -> int:
        async with desk.opened(dsn, desk.no_client) as queue:
            return await queue.defer_many(_operations(reading), job=job)

    return desk.asked(put)


def _operations(reading: Reading) -> Iterator[Operation[Any, Any]]:
    """Read the rows again; a file that was changed meanwhile puts nothing in."""
    for _, operation in reading.operations():
        yield operation
    reading.table.source.check()


def _confirm(order: Order, rows: int) -> None:
    if order.yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("Nobody can be asked here: standard input is no terminal.", "Pass --yes to begin without.")
    if not click.confirm(f"Put {rows:,} operations into the queue?", err=True):
        raise StopError("Not begun: nothing was put in.")
