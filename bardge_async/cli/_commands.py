"""The commands and their options; the work is done in modules that are imported on demand."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import click

from bardge_async._core.secret import Secret
from bardge_async._version import __version__
from bardge_async.cli.batch import batch

_EXIT_INTERRUPTED: Final = 130


class _InterruptibleGroup(click.Group):
    """Commands that Ctrl-C ends with one line and the shells' exit code for it."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, asyncio.CancelledError):
            click.echo("Interrupted.", err=True)
            sys.exit(_EXIT_INTERRUPTED)


@click.group(cls=_InterruptibleGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="bardge")
def bardge() -> None:
    """Work with the Bardge Reseller API V3."""


bardge.add_command(batch)


@bardge.command()
def demo() -> None:
    """Demonstrate the client against a sandbox on this machine."""
    from bardge_async.cli._demo import run_demo

    _run_until_stopped(run_demo(click.echo))


@bardge.command()
@click.option("--bind", "host", default="127.0.0.1", show_default=True, help="Address to serve on.")
@click.option(
    "--port", default=8765, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 picks a free one."
)
@click.option("--db", type=click.Path(dir_okay=False, path_type=Path), help="File for the state; default: in memory.")
@click.option("--seed", default=1, show_default=True, help="Seed of the initial data.")
@click.option("--latency", default=0.0, type=click.FloatRange(0), help="Latency of each request in milliseconds.")
@click.option("--window", default=90.0, show_default=True, type=click.FloatRange(0), help="Seconds that a key is kept.")
@click.option(
    "--window-from",
    default="received",
    show_default=True,
    type=click.Choice(["received", "completed"]),
    help="When a key's window starts.",
)
@click.option("--cache-errors", is_flag=True, help="Replay error responses too.")
@click.option("--drift", type=int, metavar="SEED", help="Let the answers to GETs differ from the table.")
@click.option("--keyed", multiple=True, metavar="NAME", help="An endpoint that honours keys; repeatable.")
def sandbox(**options: Any) -> None:
    """Serve a stateful fake of the API until Ctrl-C."""
    from bardge_async.cli._sandbox import serve

    options["latency"] /= 1000  # milliseconds to seconds
    _run_until_stopped(serve(click.echo, **options))


@bardge.command()
@click.option("--yaml", "as_yaml", is_flag=True, help="Write YAML instead of JSON (extra: yaml).")
@click.option("--server", help="Base URL in the document; default: the vendor's.")
def openapi(*, as_yaml: bool, server: str | None) -> None:
    """Write the API as an OpenAPI 3.1 document."""
    from bardge_async.cli._openapi import render_document

    click.echo(render_document(as_yaml=as_yaml, server=server))


@bardge.command()
@click.option(
    "--client", "client_id", metavar="ID", help="A client of yours, to examine the endpoints of clients, too."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML page for the vendor.")
def doctor(**options: Any) -> None:
    """Compare what the server answers with what this version knows of the API; needs BARDGE_API_KEY.

    Only GETs are sent. Exit code 0: no contradiction; 3: contradictions; 1: no connection, or the key is refused.
    """
    from bardge_async.cli._doctor import run_doctor

    sys.exit(run_doctor(**options))


@bardge.group()
def journal() -> None:
    """Inspect a journal (a file or a postgresql:// URL) and resolve doubts."""


class _JournalPath(click.Path):
    """A journal's file, or the URL of its database."""

    name = "file or URL"

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Wrap a URL as a secret: it may contain a password."""
        # Any scheme: no message may show a wrong one with the password after it.
        if isinstance(value, str) and "://" in value:
            return Secret(value)
        return super().convert(value, param, ctx)


def _add_journal_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options and the argument of every journal command."""
    for decorate in (
        click.option("--base-url", help="Only entries of this server."),
        click.option("--account", help="Only entries of this account's label."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.argument("path", type=_JournalPath()),
    ):
        command = decorate(command)
    return command


@journal.command("list")
@_add_journal_options
def list_(**options: Any) -> None:
    """Print all entries, oldest first."""
    from bardge_async.cli import _journal

    _journal.list_entries(_journal.JournalTarget(**options), unfinished=False)


@journal.command()
@_add_journal_options
def doubts(**options: Any) -> None:
    """Print the entries in doubt (sent, outcome unknown), oldest first."""
    from bardge_async.cli import _journal

    _journal.list_entries(_journal.JournalTarget(**options), unfinished=True)


@journal.command()
@_add_journal_options
@click.argument("key")
@click.option("--done", is_flag=True, help="It was executed.")
@click.option("--never-happened", is_flag=True, help="It was not executed: the key may be sent again.")
@click.option("--by-evidence", is_flag=True, help="Resolve by evidence from the server (needs BARDGE_API_KEY).")
def resolve(key: str, *, done: bool, never_happened: bool, by_evidence: bool, **options: Any) -> None:
    """Resolve the doubt of KEY, by exactly one option."""
    from bardge_async.cli import _journal

    choices = {"done": done, "never_happened": never_happened, "by_evidence": by_evidence}
    _journal.resolve_entry(_journal.JournalTarget(**options), key, choices)


@journal.command()
@_add_journal_options
@click.argument("key", required=False)
def reconcile(key: str | None, **options: Any) -> None:
    """Look for evidence about KEY, or about all doubts (needs BARDGE_API_KEY); change nothing."""
    from bardge_async.cli import _journal

    _journal.reconcile_doubts(_journal.JournalTarget(**options), key)


@journal.command()
@click.argument("path", type=_JournalPath())
@click.argument("client_id")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def erase(path: Path | Secret, client_id: str, *, as_json: bool) -> None:
    """Remove the bodies of finished entries that name CLIENT_ID; entries in doubt keep theirs."""
    from bardge_async.cli import _journal

    _journal.erase_client(_journal.JournalTarget(path, as_json), client_id)


@journal.command()
@click.argument("path", type=_JournalPath())
@click.option("--keep-bodies", default=30.0, show_default=True, type=click.FloatRange(0), help="Days to keep bodies.")
@click.option("--keep-entries", default=400.0, show_default=True, type=click.FloatRange(0), help="Days; 0: forever.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def prune(path: Path | Secret, *, keep_bodies: float, keep_entries: float, as_json: bool) -> None:
    """Remove bodies and entries that are older than their limits; entries in doubt stay."""
    from bardge_async.cli import _journal

    _journal.prune_entries(_journal.JournalTarget(path, as_json), keep_bodies, keep_entries)


@journal.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--accept", is_flag=True, help="Take an older copy, or a file whose log is missing, as it is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(file: Path, *, accept: bool, as_json: bool) -> None:
    """Check every page and entry of the journal in FILE; exit with 1 if it is not whole. Others wait meanwhile."""
    from bardge_async.cli import _journal

    _journal.verify_file(file, accept=accept, as_json=as_json)


def _run_until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run to completion; stop on Ctrl-C or SIGTERM without a traceback."""
    from bardge_async.cli.batch._terminal import handle_signals

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(work)
        # Not the loop's own handlers, which Windows does not have; what is called from another thread wakes the loop.
        with handle_signals(lambda: loop.call_soon_threadsafe(task.cancel)):
            try:
                loop.run_until_complete(task)
            except asyncio.CancelledError:
                click.echo("Stopped.", err=True)
