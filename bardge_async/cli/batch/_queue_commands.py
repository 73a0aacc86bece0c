"""The commands that put a file into a queue and work it off; those about a job have ``--queue`` for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from bardge_async.cli.batch._commands import (
    _ACCOUNT,
    _CODES,
    _CONCURRENCY,
    _ID,
    _JSON,
    _KEY,
    _MAP,
    _OP,
    _RATE,
    _SERVER,
    _TRACEBACK,
    _YES,
    _database,
    _finish,
    _with,
)

if TYPE_CHECKING:
    from bardge_async.cli.batch._voice import Voice

_DATABASE: Final = click.option(
    "--queue",
    metavar="URL",
    required=True,
    callback=_database,
    help="postgresql://USER@HOST/DATABASE; the password belongs in ~/.pgpass.",
)


@click.command(epilog=_CODES)
@click.argument("file")
@_with(
    _OP,
    click.option("--job", required=True, help="The job's name: the same whenever the same rows are submitted."),
    _DATABASE,
    _ID,
    _MAP,
    click.option("--dry-run", is_flag=True, help="Check every row, put nothing in."),
    _YES,
    _JSON,
    _TRACEBACK,
)
def submit(*, with_traceback: bool, **options: Any) -> None:  # noqa: ANN401 - click's options, checked by it
    """Put an operation for each row of FILE into a queue, all or none.

    Every row is checked as `bardge batch run` does. To submit the same rows again is harmless.
    """

    def work(voice: Voice) -> int:
        from bardge_async.cli.batch import _order, _submit  # noqa: PLC0415 - an extra, whose absence is a message

        queue = options.pop("queue")
        given: dict[str, Any] = {**options, "maps": _order.pairs(options["maps"])}
        return _submit.submit(_order.Order(**given, base_url=_order.server(None), account=""), queue, voice)

    _finish(work, as_json=options["as_json"], with_traceback=with_traceback)


@click.command()
@_with(
    _DATABASE,
    click.option("--concurrency", default=25, show_default=True, type=_CONCURRENCY, help="Requests at once, at most."),
    click.option("--rate", type=_RATE, help="Requests a second of all workers together; the same for each of them."),
    click.option("--until-done", is_flag=True, help="End when no operation is due."),
    click.option("--delete-done", is_flag=True, help="Remove what was done from the queue; the journal keeps it."),
    _SERVER,
    _ACCOUNT,
    _KEY,
    _TRACEBACK,
)
def worker(*, with_traceback: bool, **options: Any) -> None:  # noqa: ANN401 - click's options, checked by it
    """Do what is in a queue, until Ctrl-C or SIGTERM; what is under way is finished.

    Any number of workers may run, on any number of machines. The journal is in the queue's database.
    """

    def work(voice: Voice) -> int:
        from bardge_async.cli.batch import _order, _queue_desk  # noqa: PLC0415 - an extra, whose absence is a message

        given: dict[str, Any] = {**options, "base_url": _order.server(options["base_url"])}
        return _queue_desk.work(_queue_desk.Post(**given), voice)

    _finish(work, as_json=False, with_traceback=with_traceback)
