"""The commands and their options; modules that do the work are imported on demand, to keep ``--help`` fast."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bardge_async._core.secret import Secret

if TYPE_CHECKING:
    from bardge_async.cli.batch._local_jobs import LocalJob
    from bardge_async.cli.batch._queue_jobs import QueuedJob
    from bardge_async.cli.batch._terminal import Output

# \b keeps click from rewrapping the paragraph.
_EXIT_CODES: Final = """
\b
Exit codes:
  0    all done
  1    stopped by another error: a wrong key, the disk, a bug
  2    bad input: nothing was sent
  3    some were refused or failed
  4    some are in doubt
  130  interrupted; the command to resume the job is printed
"""
_CHOICES: Final = ("done", "never_happened", "by_evidence")


def _complete_operation(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Complete operations that take an idempotency key."""
    from bardge_async.cli.batch._rows.columns import list_batch_endpoints

    return [name for name in list_batch_endpoints() if name.startswith(incomplete)]


def _complete_job(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Complete the names of recorded jobs."""
    from bardge_async.cli.batch._jobs.files import iter_jobs

    return sorted({facts.job for facts in iter_jobs() if facts.job.startswith(incomplete)})


@click.group()
def batch() -> None:
    """Run an operation for each row of a file, never twice."""


_Command = Callable[..., None]
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
_TRACEBACK: Final = click.option(
    "--traceback", "with_traceback", is_flag=True, help="Show the traceback of an error (or set BARDGE_TRACEBACK)."
)
_KEY: Final = click.option(
    "--api-key-stdin", "key_from_stdin", is_flag=True, help="Read the API key from standard input; needs --yes."
)


def _parse_database_url(ctx: click.Context, param: click.Parameter, value: str | None) -> Secret | None:
    """Wrap the database URL as a secret: it may contain a password, which no message may show."""
    if value is None or value.startswith(("postgresql://", "postgres://")):
        return None if value is None else Secret(value)
    raise click.BadParameter("expected postgresql://USER@HOST/DATABASE", ctx, param)


_OP: Final = click.option(
    "--op", "operation", required=True, shell_complete=_complete_operation, help="Operation, such as credits.purchase."
)
_ID: Final = click.option("--id", metavar="COLUMN", help="Column of your own unique ids; default: id, else client_id.")
_MAP: Final = click.option(
    "--map", "maps", multiple=True, metavar="FIELD=COLUMN", help="Take a field from another column."
)
_SERVER: Final = click.option("--base-url", help="Server; default: BARDGE_BASE_URL, else the vendor's.")
_ACCOUNT: Final = click.option("--account", default="", help="Label of the account that the API key belongs to.")
_YES: Final = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
_CONCURRENCY: Final = click.IntRange(1, 1000)
_RATE: Final = click.FloatRange(0, 100_000, min_open=True)


def _add_options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def add_to_command(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add_to_command


def _run_command(work: Callable[[Output], int], *, as_json: bool, with_traceback: bool) -> None:
    from bardge_async.cli.batch._terminal import Output, run_command

    output = Output(as_json)
    sys.exit(run_command(lambda: work(output), output, with_traceback=with_traceback))


_PATH: Final = click.Path(path_type=Path, dir_okay=False)


@batch.command(epilog=_EXIT_CODES)
@click.argument("file")
@_add_options(
    _OP,
    click.option(
        "--job", required=True, shell_complete=_complete_job, help="Job name: the same for every run of the job."
    ),
    _ID,
    _MAP,
    click.option(
        "--concurrency", default=64, show_default=True, type=_CONCURRENCY, help="Maximum concurrent requests."
    ),
    click.option("--rate", type=_RATE, help="Maximum operations per second."),
    click.option("--dry-run", is_flag=True, help="Check every row, print the plan, send nothing."),
    click.option("--journal", type=_PATH, help="Journal file; default: one for each job, server and account."),
    click.option("--out", type=_PATH, help="Results file; default: next to FILE, its stem plus .JOB.results.csv."),
    click.option("--retry-refused", is_flag=True, help="Send rows again that the API refused in an earlier run."),
    _YES,
    _SERVER,
    _ACCOUNT,
    _KEY,
    _JSON,
    _TRACEBACK,
)
def run(*, with_traceback: bool, **options: Any) -> None:
    """Run an operation for each row of FILE.

    FILE is CSV or JSONL; - is standard input. Columns are matched by the API's field names. Every row is checked
    before anything is sent.
    """
    from bardge_async.cli.batch import _options, _run

    def run_checked(output: Output) -> int:
        given: dict[str, Any] = {
            **options,
            "maps": _options.parse_maps(options["maps"]),
            "base_url": _options.resolve_base_url(options["base_url"]),
        }
        return _run.run_job(_options.RunOptions(**given), output)

    _run_command(run_checked, as_json=options["as_json"], with_traceback=with_traceback)


def _add_job_options(command: _Command) -> _Command:
    """Add the argument and options of every job command."""
    return _add_options(
        click.argument("job", shell_complete=_complete_job),
        click.option("--base-url", help="The job's server, if several have a job of that name."),
        click.option("--account", help="The job's account."),
        click.option(
            "--queue",
            metavar="URL",
            callback=_parse_database_url,
            help="Database of the queue that the job was submitted to.",
        ),
        _JSON,
        _TRACEBACK,
    )(command)


def _dispatch_action(
    local_action: Callable[[LocalJob, Output], int],
    queue_action: Callable[[QueuedJob, Output], int],
    options: dict[str, Any],
) -> None:
    from bardge_async.cli.batch import _local_jobs, _options

    def run_action(output: Output) -> int:
        if options["queue"] is not None:
            return queue_action(_make_queued_job(options), output)
        return local_action(
            _local_jobs.LocalJob.find_by_name(
                options["job"], _options.find_base_url(options["base_url"]), options["account"]
            ),
            output,
        )

    _run_command(run_action, as_json=options["as_json"], with_traceback=options["with_traceback"])


def _make_queued_job(options: dict[str, Any]) -> QueuedJob:
    from bardge_async.cli.batch import _options, _queue_jobs

    return _queue_jobs.QueuedJob(
        options["queue"], options["job"], _options.resolve_base_url(options["base_url"]), options["account"] or ""
    )


@batch.command()
@_add_job_options
def status(**options: Any) -> None:
    """Show the progress of JOB."""
    from bardge_async.cli.batch import _local_jobs

    def show_queued_status(job: QueuedJob, output: Output) -> int:
        from bardge_async.cli.batch import _queue_jobs

        return _queue_jobs.show_status(job, output)

    _dispatch_action(_local_jobs.show_status, show_queued_status, options)


@batch.command(epilog=_EXIT_CODES)
@_add_job_options
@_add_options(
    click.option("--concurrency", type=_CONCURRENCY, help="Maximum concurrent requests; default: as before."),
    click.option("--rate", type=_RATE, help="Maximum operations per second; default: as before."),
    click.option("--out", type=_PATH, help="Results file; default: as before."),
    click.option("--retry-refused", is_flag=True, help="Send rows again that the API refused."),
    click.option("--yes", is_flag=True, help="Do not ask for confirmation if the file has changed."),
    _KEY,
)
def resume(**options: Any) -> None:
    """Resume JOB with the options it was started with.

    Asks for confirmation only if the file has changed since.
    """
    from bardge_async.cli.batch import _local_jobs

    def resume_queued_job(job: QueuedJob, output: Output) -> int:
        from bardge_async.cli.batch import _queue_jobs

        return _queue_jobs.resume_job(job, output, changes)

    names = ("concurrency", "rate", "out", "retry_refused", "yes", "key_from_stdin")
    changes = {name: options[name] for name in names if options[name]}
    _dispatch_action(lambda job, output: _local_jobs.resume_job(job, output, changes), resume_queued_job, options)


@batch.command()
@_add_job_options
def doubts(**options: Any) -> None:
    """List the operations of JOB that are in doubt: sent, outcome unknown."""
    from bardge_async.cli.batch import _local_jobs

    def list_queued_doubts(job: QueuedJob, output: Output) -> int:
        from bardge_async.cli.batch import _queue_jobs

        return _queue_jobs.list_doubts(job, output)

    _dispatch_action(_local_jobs.list_doubts, list_queued_doubts, options)


@batch.command()
@_add_job_options
@click.argument("id_or_key")
@_add_options(
    click.option("--done", is_flag=True, help="It was executed."),
    click.option("--never-happened", is_flag=True, help="It was not executed: the next run sends it."),
    click.option("--by-evidence", is_flag=True, help="Ask the server; resolve only on conclusive evidence."),
)
def resolve(id_or_key: str, **options: Any) -> None:
    """Resolve a doubt, by exactly one option."""
    from bardge_async.cli.batch import _local_jobs

    def resolve_queued_doubt(job: QueuedJob, output: Output) -> int:
        from bardge_async.cli.batch import _queue_jobs

        return _queue_jobs.resolve_doubt(job, output, id_or_key, choices)

    choices = {name: options[name] for name in _CHOICES}
    _dispatch_action(
        lambda job, output: _local_jobs.resolve_doubt(job, output, id_or_key, choices), resolve_queued_doubt, options
    )


_DATABASE: Final = click.option(
    "--queue",
    metavar="URL",
    required=True,
    callback=_parse_database_url,
    help="postgresql://USER@HOST/DATABASE; the password belongs in ~/.pgpass.",
)


@batch.command(epilog=_EXIT_CODES)
@click.argument("file")
@_add_options(
    _OP,
    click.option("--job", required=True, help="Job name: the same whenever the same rows are submitted."),
    _DATABASE,
    _ID,
    _MAP,
    click.option("--dry-run", is_flag=True, help="Check every row, submit nothing."),
    _YES,
    _JSON,
    _TRACEBACK,
)
def submit(*, with_traceback: bool, **options: Any) -> None:
    """Put an operation for each row of FILE into a queue, all or none.

    Every row is checked as by `bardge batch run`. Submitting the same rows again is harmless.
    """

    def submit_rows(output: Output) -> int:
        from bardge_async.cli.batch import _options, _submit

        queue = options.pop("queue")
        given: dict[str, Any] = {**options, "maps": _options.parse_maps(options["maps"])}
        return _submit.submit_job(
            _options.RunOptions(**given, base_url=_options.resolve_base_url(None), account=""), queue, output
        )

    _run_command(submit_rows, as_json=options["as_json"], with_traceback=with_traceback)


@batch.command()
@_add_options(
    _DATABASE,
    click.option(
        "--concurrency", default=25, show_default=True, type=_CONCURRENCY, help="Maximum concurrent requests."
    ),
    click.option(
        "--rate", type=_RATE, help="Requests per second of all workers together; pass the same value to each."
    ),
    click.option("--until-done", is_flag=True, help="Exit when no operation is due."),
    click.option(
        "--delete-done", is_flag=True, help="Delete completed operations from the queue; the journal keeps them."
    ),
    _SERVER,
    _ACCOUNT,
    _KEY,
    click.option("--json", "as_json", is_flag=True, help="Print an object for each event: event, at, cause."),
    _TRACEBACK,
)
def worker(*, with_traceback: bool, **options: Any) -> None:
    """Run the operations of a queue until Ctrl-C or SIGTERM; those in flight are completed.

    Any number of workers may run, on any number of machines. The journal is in the queue's database. What the worker
    waits for is printed, every 30 seconds while it lasts.
    """

    def run_worker(output: Output) -> int:
        from bardge_async.cli.batch import _options, _queue_jobs

        given: dict[str, Any] = {**options, "base_url": _options.resolve_base_url(options["base_url"])}
        return _queue_jobs.run_worker(_queue_jobs.WorkerCommand(**given), output)

    _run_command(run_worker, as_json=False, with_traceback=with_traceback)
