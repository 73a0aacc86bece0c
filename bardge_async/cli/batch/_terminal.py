"""A command's terminal: output for people and programs, signals, and exit codes."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Any, Final

import attrs
import click

from bardge_async.cli.batch._errors import CommandError
from bardge_async.errors import BardgeError

_EXIT_INTERRUPTED: Final = 130


@contextmanager
def silence_loggers(*names: str) -> Generator[None]:
    """Keep logs off standard error, where they would break the bar; the results and messages contain the same."""
    handler = logging.NullHandler()
    for name in names:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in names:
            logging.getLogger(name).removeHandler(handler)


def run_command(work: Callable[[], int], output: Output, *, with_traceback: bool) -> int:
    """Run a command and return its exit code; every error becomes a message."""
    try:
        with handle_signals(raise_interrupt), silence_loggers("bardge_async"):
            return work()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - every error becomes a message
        failure = _to_command_error(error)
        if with_traceback or os.environ.get("BARDGE_TRACEBACK"):
            output.write_message("".join(traceback.format_exception(error)).rstrip())
    output.write_message(*failure.format_lines())
    if output.as_json:
        output.write_result({"error": failure.to_json(), "exit_code": failure.code})
    return failure.code


def _to_command_error(error: BaseException) -> CommandError:
    match error:
        case CommandError():
            return error
        case KeyboardInterrupt() | click.Abort():
            return CommandError("Interrupted.", code=_EXIT_INTERRUPTED)
        case BardgeError():
            return CommandError(str(error), request_id=error.request_id)
        case click.ClickException():
            return CommandError(error.format_message(), code=error.exit_code)
        case OSError() | sqlite3.Error():
            return CommandError(f"{error}.")
        case _:
            return CommandError(
                f"This is a bug in bardge: {type(error).__name__}: {error}.",
                "Report it, with the output of --traceback.",
            )


@attrs.frozen
class Output:
    """Write to the standard streams; a closed reader does not end the work."""

    as_json: bool = False

    def write_message(self, *lines: str) -> None:
        """Write lines for people to standard error."""
        with suppress(OSError):
            for line in lines:
                click.echo(escape_unprintable(line), err=True)

    def write_result(self, value: dict[str, Any] | list[dict[str, Any]], lines: Iterable[str] = ()) -> None:
        """Write the result to standard output: as JSON if requested, else the lines."""
        with suppress(OSError):
            if self.as_json:
                click.echo(json.dumps(value, default=str))
            else:
                for line in lines:
                    click.echo(escape_unprintable(line))


def escape_unprintable(text: str) -> str:
    """Escape control characters: text from files and servers must not control the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


_SIGNAL_NAMES: Final = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


@contextmanager
def handle_signals(callback: Callable[[], object]) -> Generator[None]:
    """Call ``callback`` on Ctrl-C, a request to end and the end of the terminal, instead of ending the process."""

    def on_signal(*_: object) -> None:
        callback()

    # Each system has only some of them.
    numbers: list[int] = [getattr(signal, name) for name in _SIGNAL_NAMES if hasattr(signal, name)]
    # Ignored signals stay ignored: nohup relies on that.
    handled = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    previous = [(number, signal.signal(number, on_signal)) for number in handled]
    try:
        yield
    finally:
        for number, old in previous:
            signal.signal(number, old)


def raise_interrupt() -> None:
    """Raise ``KeyboardInterrupt``, as Ctrl-C does."""
    raise KeyboardInterrupt
