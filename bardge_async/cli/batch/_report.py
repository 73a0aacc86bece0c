"""What is told before a run and after it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Final

from bardge_async._batch import OperationStatus
from bardge_async._core.entry import EntryState
from bardge_async.cli.batch._cost import Cost
from bardge_async.cli.batch._errors import StopError
from bardge_async.cli.batch._jobs.files import Place
from bardge_async.cli.batch._options import Order
from bardge_async.cli.batch._progress import duration
from bardge_async.cli.batch._rows.validation import Checked, Reading
from bardge_async.cli.batch._runner import Ending
from bardge_async.endpoints import Again, Endpoint, KeySupport
from bardge_async.errors import (
    AuthenticationError,
    BardgeError,
    ConfigurationError,
    JournalError,
    OutcomeUnknownError,
    PermissionDeniedError,
)

_AGAIN: Final = {
    Again.SAME: "a second execution changes nothing",
    Again.TWICE: "a second execution charges again",
    Again.CONFLICT: "a second execution is refused",
    None: "",
}
_MINUTE: Final = 60.0
_LONGEST: Final = 500
"""Characters of an error that are told: a server may repeat all that it was sent."""
_MEND: Final = (
    (AuthenticationError, "Check the API key, then go on with the job."),
    (PermissionDeniedError, "Ask the vendor: the account is disabled or lacks the permission."),
    (JournalError, "Look at the journal's disk and rights, then go on with the job."),
    (ConfigurationError, "Correct the setting, then go on with the job."),
)


def before(order: Order, place: Place, reading: Reading, checked: Checked, cost: Cost) -> list[str]:
    """Tell what a run will do."""
    table, fields, states = reading.table, reading.fields, checked.states
    row = fields.row
    used = fields.used(table.columns)
    taken = {checked.id, *(field.column for field in used)}
    sent = ", ".join(
        field.name if field.name == field.column else f"{field.name} (from {field.column})" for field in used
    )
    copied = ", ".join(name for name in table.columns if name not in taken)
    left = checked.left(retry_refused=order.retry_refused)
    known = [f"{states[state]:,} {word}" for state, word in _STATES.items() if states[state]]
    account = f", account {order.account}" if order.account else ""
    first, *more = cost.lines()
    told = [
        ("operation", f"{row.name}: {row.method} {row.path}"),
        ("again", _AGAIN[row.again]),
        ("file", f"{table.source.name}: {checked.rows:,} rows, ids in column {checked.id}"),
        ("sends", sent),
        ("copies", f"to the results only: {copied or 'nothing'}"),
        ("server", f"{order.base_url}{account}"),
        ("job", order.job),
        ("journal", str(place.journal)),
        ("on record", f"{', '.join(known) or 'nothing'}; left to send: {left:,}"),
        ("cost", first),
        *(("", line) for line in more),
    ]
    return [f"{name:10} {what}" for name, what in told] + _warnings(row)


_STATES: Final = {EntryState.DONE: "done", EntryState.REFUSED: "refused", EntryState.SENT: "in doubt"}


def _warnings(row: Endpoint[Any, Any]) -> list[str]:
    if row.key is KeySupport.YES:
        return []
    return ["Warning: nothing shows that the server honours keys here: what is cut off stays in doubt."]


def before_facts(order: Order, place: Place, checked: Checked, cost: Cost) -> dict[str, Any]:
    """Tell programs what a run will do."""
    return {
        "job": order.job,
        "operation": order.operation,
        "file": order.file,
        "rows": checked.rows,
        "id_column": checked.id,
        "base_url": order.base_url,
        "account": order.account,
        "journal": str(place.journal),
        "on_record": {word.replace(" ", "_"): checked.states[state] for state, word in _STATES.items()},
        "left": checked.left(retry_refused=order.retry_refused),
        "cost": cost.facts(),
    }


def exit_code(ending: Ending) -> int:
    """Choose the exit code: what is in doubt weighs more than what was refused."""
    if ending.error is not None:
        return 1
    if ending.interrupted:
        return 130
    if ending.counts[OperationStatus.IN_DOUBT]:
        return 4
    return 3 if ending.counts[OperationStatus.REFUSED] or ending.counts[OperationStatus.FAILED] else 0


def command(name: str, place: Place, *more: str) -> str:
    """Spell a command about the job, so that it names this one whatever the environment holds."""
    account = ["--account", place.account] if place.account else []
    return shlex.join(["bardge", "batch", name, place.job, "--base-url", place.base_url, *account, *more])


def after(ending: Ending, checked: Checked, place: Place, out: Path | None) -> list[str]:
    """Tell how a run ended, and what to do next."""
    counts = ending.counts
    finished = sum(counts.values())
    said = [f"{status.replace('_', ' ')} {number:,}" for status, number in counts.items() if number]
    if finished < checked.rows:
        said.append(f"not run {checked.rows - finished:,}")
    took = duration(ending.seconds) if ending.seconds > _MINUTE else f"{ending.seconds:.1f} s"
    told = [f"{place.job}: {finished:,} of {checked.rows:,} rows in {took}: {', '.join(said) or 'nothing'}."]
    told += [_trouble(ending)] if ending.troubles else []
    told += [f"Results: {out}"] if out is not None else []
    if ending.error is not None:
        told += error_of(ending.error).lines()
    return told + _next(ending, checked.rows - finished, place)


def _trouble(ending: Ending) -> str:
    first = ending.troubles[0]
    request = f" (request id {first.request_id})" if first.request_id else ""
    return (
        f"First {first.status.replace('_', ' ')}: line {first.line}, id {first.id}: {first.error:.{_LONGEST}}{request}"
    )


def _next(ending: Ending, left: int, place: Place) -> list[str]:
    counts = ending.counts
    told: list[str] = []
    if left or ending.interrupted or ending.error is not None or counts[OperationStatus.FAILED]:
        told.append(f"Go on with: {command('resume', place)}")
    if counts[OperationStatus.REFUSED]:
        told.append("What was refused is not sent again, except with --retry-refused; see the column error.")
    if counts[OperationStatus.IN_DOUBT]:
        told.append(f"Look into what is in doubt: {command('doubts', place)}")
    return told


def error_of(error: Exception) -> StopError:
    """Say how to mend what ended a run."""
    if isinstance(error, StopError) or not isinstance(error, BardgeError):
        return error if isinstance(error, StopError) else StopError(f"{type(error).__name__}: {error}")
    cause = error.last_error if isinstance(error, OutcomeUnknownError) and error.last_error is not None else error
    mend = next((mend for kind, mend in _MEND if isinstance(cause, kind)), "")
    return StopError(str(error), mend, request_id=error.request_id)


def after_facts(ending: Ending, checked: Checked, place: Place, out: Path | None) -> dict[str, Any]:
    """Tell programs how a run ended."""
    finished = sum(ending.counts.values())
    return {
        "counts": {**{status.value: n for status, n in ending.counts.items()}, "not_run": checked.rows - finished},
        "interrupted": ending.interrupted,
        "error": None if ending.error is None else error_of(ending.error).facts(),
        "results": None if out is None else str(out),
        "resume": command("resume", place),
        "exit_code": exit_code(ending),
    }
