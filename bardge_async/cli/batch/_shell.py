"""From exceptions to messages and exit codes; names for shell completion."""

from __future__ import annotations

import logging
import os
import sqlite3
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import click

from bardge_async.cli.batch._drive import interrupt, on_signals
from bardge_async.cli.batch._faults import StopError
from bardge_async.cli.batch._voice import Voice
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
