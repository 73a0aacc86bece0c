"""The commands and their options; the work is done elsewhere, so that ``--help`` is quick."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bardge_async._core.secret import Secret

if TYPE_CHECKING:
    from bardge_async.cli.batch._local_jobs import Job
    from bardge_async.cli.batch._queue_jobs import Desk
    from bardge_async.cli.batch._terminal import Voice

_CODES: Final = """
\b
Exit codes:
  0    all done
  1    ended by something else: a wrong key, the disk, a fault
  2    bad input: nothing was sent
  3    some were refused or failed
  4    some are in doubt
  130  interrupted; the command to go on with is printed
"""
_WAYS: Final = ("done", "never_happened", "by_evidence")


def _operations(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Offer the operations that take a key."""
    from bardge_async.cli.batch._rows.columns import keyed_rows  # noqa: PLC0415 - not needed for --help

    return [name for name in keyed_rows() if name.startswith(incomplete)]


def _jobs(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Offer the jobs on record."""
    from bardge_async.cli.batch._jobs.files import known_jobs  # noqa: PLC0415 - not needed for --help

    return sorted({facts.job for facts in known_jobs() if facts.job.startswith(incomplete)})


@click.group()
def batch() -> None:
    """Do an operation for each row of a file, never twice."""


_Command = Callable[..., None]
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
_TRACEBACK: Final = click.option(
    "--traceback", "with_traceback", is_flag=True, help="Show where an error came from (or set BARDGE_TRACEBACK)."
)
_KEY: Final = click.option(
    "--api-key-stdin", "key_from_stdin", is_flag=True, help="Read the API key from standard input; needs --yes."
)


def _database(ctx: click.Context, param: click.Parameter, value: str | None) -> Secret | None:
    """Keep a database's URL, which may hold a password, out of every message."""
    if value is None or value.startswith(("postgresql://", "postgres://")):
        return None if value is None else Secret(value)
    raise click.BadParameter("expected postgresql://USER@HOST/DATABASE", ctx, param)


_OP: Final = click.option(
    "--op", "operation", required=True, shell_complete=_operations, help="What to do, such as credits.purchase."
)
_ID: Final = click.option("--id", metavar="COLUMN", help="Column of your own unique ids; default: id, else client_id.")
_MAP: Final = click.option(
    "--map", "maps", multiple=True, metavar="FIELD=COLUMN", help="Take a field from another column."
)
_SERVER: Final = click.option("--base-url", help="Server; default: BARDGE_BASE_URL, else the vendor's.")
_ACCOUNT: Final = click.option("--account", default="", help="Label of the account that the API key belongs to.")
_YES: Final = click.option("--yes", is_flag=True, help="Begin without asking.")
_CONCURRENCY: Final = click.IntRange(1, 1000)
_RATE: Final = click.FloatRange(0, 100_000, min_open=True)


def _with(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def decorate(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _finish(work: Callable[[Voice], int], *, as_json: bool, with_traceback: bool) -> None:
    from bardge_async.cli.batch._terminal import Voice, finish  # noqa: PLC0415 - not needed for --help

    voice = Voice(as_json)
    sys.exit(finish(lambda: work(voice), voice, with_traceback=with_traceback))


_PATH: Final = click.Path(path_type=Path, dir_okay=False)


@batch.command(epilog=_CODES)
@click.argument("file")
@_with(
    _OP,
    click.option("--job", required=True, shell_complete=_jobs, help="The job's name: the same in every run of it."),
    _ID,
    _MAP,
    click.option("--concurrency", default=64, show_default=True, type=_CONCURRENCY, help="Requests at once, at most."),
    click.option("--rate", type=_RATE, help="Operations a second, at most."),
    click.option("--dry-run", is_flag=True, help="Check every row, tell what would be done, send nothing."),
    click.option(
        "--journal", type=_PATH, help="Where outcomes are kept; default: one for each job, server and account."
    ),
    click.option("--out", type=_PATH, help="Results file; default: FILE's name with .JOB.results.csv, beside it."),
    click.option("--retry-refused", is_flag=True, help="Send again what the API refused in an earlier run."),
    _YES,
    _SERVER,
    _ACCOUNT,
    _KEY,
    _JSON,
    _TRACEBACK,
)
def run(*, with_traceback: bool, **options: Any) -> None:  # noqa: ANN401 - click's options, checked by it
    """Do an operation for each row of FILE.

    FILE is CSV or JSONL, - for standard input. Columns are taken by the API's own names. Every row is checked before
    anything is sent.
    """
    from bardge_async.cli.batch import _options, _run  # noqa: PLC0415 - not needed for --help

    def work(voice: Voice) -> int:
        given: dict[str, Any] = {
            **options,
            "maps": _options.pairs(options["maps"]),
            "base_url": _options.server(options["base_url"]),
        }
        return _run.run(_options.Order(**given), voice)

    _finish(work, as_json=options["as_json"], with_traceback=with_traceback)


def _about_job(command: _Command) -> _Command:
    """Add what every command about a job takes."""
    return _with(
        click.argument("job", shell_complete=_jobs),
        click.option("--base-url", help="The job's server, where several have one of that name."),
        click.option("--account", help="The job's account."),
        click.option("--queue", metavar="URL", callback=_database, help="The database where the job was submitted to."),
        _JSON,
        _TRACEBACK,
    )(command)


def _on_job(work: Callable[[Job, Voice], int], queued: Callable[[Desk, Voice], int], where: dict[str, Any]) -> None:
    from bardge_async.cli.batch import _local_jobs, _options  # noqa: PLC0415 - not needed for --help

    def found(voice: Voice) -> int:
        if where["queue"] is not None:
            return queued(_queue_desk(where), voice)
        return work(
            _local_jobs.Job.named(where["job"], _options.server_named(where["base_url"]), where["account"]), voice
        )

    _finish(found, as_json=where["as_json"], with_traceback=where["with_traceback"])


def _queue_desk(where: dict[str, Any]) -> Desk:
    from bardge_async.cli.batch import _options, _queue_jobs  # noqa: PLC0415 - not needed for --help

    return _queue_jobs.Desk(where["queue"], where["job"], _options.server(where["base_url"]), where["account"] or "")


@batch.command()
@_about_job
def status(**where: Any) -> None:  # noqa: ANN401 - click's options, checked by it
    """Tell how far JOB has come."""
    from bardge_async.cli.batch import _local_jobs  # noqa: PLC0415 - not needed for --help

    def queued(desk: Desk, voice: Voice) -> int:
        from bardge_async.cli.batch import _queue_jobs  # noqa: PLC0415 - an extra

        return _queue_jobs.status(desk, voice)

    _on_job(_local_jobs.status, queued, where)


@batch.command(epilog=_CODES)
@_about_job
@_with(
    click.option("--concurrency", type=_CONCURRENCY, help="Requests at once, at most; default: as before."),
    click.option("--rate", type=_RATE, help="Operations a second, at most; default: as before."),
    click.option("--out", type=_PATH, help="Results file; default: as before."),
    click.option("--retry-refused", is_flag=True, help="Send again what the API refused."),
    click.option("--yes", is_flag=True, help="Do not ask if the file was changed."),
    _KEY,
)
def resume(**options: Any) -> None:  # noqa: ANN401
    """Go on with JOB as it was begun.

    Asks only if the file was changed since.
    """
    from bardge_async.cli.batch import _local_jobs  # noqa: PLC0415

    def queued(desk: Desk, voice: Voice) -> int:
        from bardge_async.cli.batch import _queue_jobs  # noqa: PLC0415 - an extra

        return _queue_jobs.resume(desk, voice, changes)

    names = ("concurrency", "rate", "out", "retry_refused", "yes", "key_from_stdin")
    changes = {name: options[name] for name in names if options[name]}
    _on_job(lambda job, voice: _local_jobs.resume(job, voice, changes), queued, options)


@batch.command()
@_about_job
def doubts(**where: Any) -> None:  # noqa: ANN401
    """List what JOB sent without an outcome."""
    from bardge_async.cli.batch import _local_jobs  # noqa: PLC0415

    def queued(desk: Desk, voice: Voice) -> int:
        from bardge_async.cli.batch import _queue_jobs  # noqa: PLC0415 - an extra

        return _queue_jobs.doubts(desk, voice)

    _on_job(_local_jobs.doubts, queued, where)


@batch.command()
@_about_job
@click.argument("id_or_key")
@_with(
    click.option("--done", is_flag=True, help="It happened."),
    click.option("--never-happened", is_flag=True, help="It did not: the next run sends it."),
    click.option("--by-evidence", is_flag=True, help="Ask the server, and act if it tells."),
)
def resolve(id_or_key: str, **options: Any) -> None:  # noqa: ANN401
    """Settle what is in doubt, in exactly one way."""
    from bardge_async.cli.batch import _local_jobs  # noqa: PLC0415

    def queued(desk: Desk, voice: Voice) -> int:
        from bardge_async.cli.batch import _queue_jobs  # noqa: PLC0415 - an extra

        return _queue_jobs.resolve(desk, voice, id_or_key, ways)

    ways = {name: options[name] for name in _WAYS}
    _on_job(lambda job, voice: _local_jobs.resolve(job, voice, id_or_key, ways), queued, options)


_DATABASE: Final = click.option(
    "--queue",
    metavar="URL",
    required=True,
    callback=_database,
    help="postgresql://USER@HOST/DATABASE; the password belongs in ~/.pgpass.",
)


@batch.command(epilog=_CODES)
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
        from bardge_async.cli.batch import _options, _submit  # noqa: PLC0415 - an extra, whose absence is a message

        queue = options.pop("queue")
        given: dict[str, Any] = {**options, "maps": _options.pairs(options["maps"])}
        return _submit.submit(_options.Order(**given, base_url=_options.server(None), account=""), queue, voice)

    _finish(work, as_json=options["as_json"], with_traceback=with_traceback)


@batch.command()
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
        from bardge_async.cli.batch import _options, _queue_jobs  # noqa: PLC0415 - an extra, whose absence is a message

        given: dict[str, Any] = {**options, "base_url": _options.server(options["base_url"])}
        return _queue_jobs.work(_queue_jobs.Post(**given), voice)

    _finish(work, as_json=False, with_traceback=with_traceback)
