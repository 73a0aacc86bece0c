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

from bardge_async.cli.batch._errors import StopError
from bardge_async.errors import BardgeError

_INTERRUPTED: Final = 130


@contextmanager
def _quiet_log() -> Generator[None]:
    """Keep what the client logs from standard error, where it would tear the bar: it is in the results, too."""
    log, silent = logging.getLogger("bardge_async"), logging.NullHandler()
    log.addHandler(silent)
    try:
        yield
    finally:
        log.removeHandler(silent)


def finish(work: Callable[[], int], voice: Voice, *, with_traceback: bool) -> int:
    """Do a command's work and return its exit code; whatever ends it becomes a message."""
    try:
        with on_signals(interrupt), _quiet_log():
            return work()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - people get a message, whatever it is
        stop = _stop_of(error)
        if with_traceback or os.environ.get("BARDGE_TRACEBACK"):
            voice.say("".join(traceback.format_exception(error)).rstrip())
    voice.say(*stop.lines())
    if voice.as_json:
        voice.answer({"error": stop.facts(), "exit_code": stop.code})
    return stop.code


def _stop_of(error: BaseException) -> StopError:
    match error:
        case StopError():
            return error
        case KeyboardInterrupt() | click.Abort():
            return StopError("Interrupted.", code=_INTERRUPTED)
        case BardgeError():
            return StopError(str(error), request_id=error.request_id)
        case click.ClickException():
            return StopError(error.format_message(), code=error.exit_code)
        case OSError() | sqlite3.Error():
            return StopError(f"{error}.")
        case _:
            return StopError(f"This is a fault of bardge: {type(error).__name__}: {error}.", "Report it: --traceback.")


@attrs.frozen
class Voice:
    """Talk; a reader who has gone away does not end the work."""

    as_json: bool = False

    def say(self, *lines: str) -> None:
        """Tell people."""
        with suppress(OSError):
            for line in lines:
                click.echo(printable(line), err=True)

    def answer(self, value: dict[str, Any] | list[dict[str, Any]], lines: Iterable[str] = ()) -> None:
        """Give the result: JSON on standard output if that was asked for, else lines for people there."""
        with suppress(OSError):
            if self.as_json:
                click.echo(json.dumps(value, default=str))
            else:
                for line in lines:
                    click.echo(printable(line))


def printable(text: str) -> str:
    """Spell out what would move the terminal's cursor or worse: files and servers may send anything."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def on_signals(act: Callable[[], None]) -> Generator[None]:
    """Do something at Ctrl-C, SIGTERM and the terminal's end, instead of dying of it."""

    def note(*_: object) -> None:
        act()

    # What is ignored stays so: nohup means it.
    heeded = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, note)) for number in heeded]
    try:
        yield
    finally:
        for number, old in before:
            signal.signal(number, old)


def interrupt() -> None:
    """End what is under way as Ctrl-C does."""
    raise KeyboardInterrupt
