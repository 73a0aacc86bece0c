"""From exceptions to messages and exit codes; names for shell completion."""

from __future__ import annotations

import os
import sqlite3
import traceback
from collections.abc import Callable

import click

from bardge_async.cli.batch._drive import interrupt, on_signals
from bardge_async.cli.batch._faults import StopError
from bardge_async.cli.batch._voice import Voice
from bardge_async.errors import BardgeError

_INTERRUPTED = 130


def finish(work: Callable[[], int], voice: Voice, *, with_traceback: bool) -> int:
    """Do a command's work and return its exit code; whatever ends it becomes a message."""
    try:
        with on_signals(interrupt):
            return work()
    except (KeyboardInterrupt, click.Abort):
        stop = StopError("Interrupted.", code=_INTERRUPTED)
    except StopError as error:
        stop = error
    except BardgeError as error:
        stop = StopError(str(error), request_id=error.request_id)
    except click.ClickException as error:
        stop = StopError(error.format_message(), code=error.exit_code)
    except (OSError, sqlite3.Error) as error:
        stop = StopError(f"{error}.")
    except Exception as error:  # noqa: BLE001 - people get a message, whatever it is
        stop = StopError(f"This is a fault of bardge: {type(error).__name__}: {error}.", "Report it with --traceback.")
    if with_traceback or os.environ.get("BARDGE_TRACEBACK"):
        voice.say(traceback.format_exc().rstrip())
    voice.say(*stop.lines())
    if voice.as_json:
        voice.answer({"error": stop.facts(), "exit_code": stop.code})
    return stop.code
