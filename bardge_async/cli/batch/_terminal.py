"""A command and its terminal: what it says to people and programs, signals, exit codes, names for shell completion."""

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
def _silence_log() -> Generator[None]:
    """Keep what the client logs from standard error, where it would tear the bar: it is in the results, too."""
    logger, handler = logging.getLogger("bardge_async"), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def run_command(work: Callable[[], int], output: Output, *, with_traceback: bool) -> int:
    """Do a command's work and return its exit code; whatever ends it becomes a message."""
    try:
        with handle_signals(raise_interrupt), _silence_log():
            return work()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - people get a message, whatever it is
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
                f"This is a fault of bardge: {type(error).__name__}: {error}.", "Report it: --traceback."
            )


@attrs.frozen
class Output:
    """Talk; a reader who has gone away does not end the work."""

    as_json: bool = False

    def write_message(self, *lines: str) -> None:
        """Tell people."""
        with suppress(OSError):
            for line in lines:
                click.echo(escape_unprintable(line), err=True)

    def write_result(self, value: dict[str, Any] | list[dict[str, Any]], lines: Iterable[str] = ()) -> None:
        """Give the result: JSON on standard output if that was asked for, else lines for people there."""
        with suppress(OSError):
            if self.as_json:
                click.echo(json.dumps(value, default=str))
            else:
                for line in lines:
                    click.echo(escape_unprintable(line))


def escape_unprintable(text: str) -> str:
    """Spell out what would move the terminal's cursor or worse: files and servers may send anything."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handle_signals(callback: Callable[[], None]) -> Generator[None]:
    """Do something at Ctrl-C, SIGTERM and the terminal's end, instead of dying of it."""

    def on_signal(*_: object) -> None:
        callback()

    # What is ignored stays so: nohup means it.
    handled = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = [(number, signal.signal(number, on_signal)) for number in handled]
    try:
        yield
    finally:
        for number, old in previous:
            signal.signal(number, old)


def raise_interrupt() -> None:
    """End what is under way as Ctrl-C does."""
    raise KeyboardInterrupt
