"""What is printed before and after a run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Final

from bardge_async._batch import OperationStatus
from bardge_async._core.entry import EntryState
from bardge_async.cli.batch._cost import Cost
from bardge_async.cli.batch._errors import CommandError
from bardge_async.cli.batch._jobs.files import JobFiles
from bardge_async.cli.batch._options import RunOptions
from bardge_async.cli.batch._progress import format_duration
from bardge_async.cli.batch._rows.validation import CheckedInput, OperationReader
from bardge_async.cli.batch._runner import RunSummary
from bardge_async.endpoints import Endpoint, RepeatEffect
from bardge_async.errors import (
    AuthenticationError,
    BardgeError,
    ConfigurationError,
    JournalError,
    OutcomeUnknownError,
    PermissionDeniedError,
)

_REPEAT_EFFECTS: Final = {
    RepeatEffect.HARMLESS: "a second execution changes nothing",
    RepeatEffect.DUPLICATES: "a second execution charges again",
    RepeatEffect.CONFLICTS: "a second execution is refused",
    None: "",
}
_MINUTE: Final = 60.0
_MAX_ERROR: Final = 500
"""Characters of an error that are printed: a server may echo all that it was sent."""
_HINTS: Final = (
    (AuthenticationError, "Check the API key, then resume the job."),
    (PermissionDeniedError, "Ask the vendor: the account is disabled or lacks the permission."),
    (JournalError, "Check the journal's disk and permissions, then resume the job."),
    (ConfigurationError, "Correct the setting, then resume the job."),
)


def format_plan(
    options: RunOptions, files: JobFiles, reader: OperationReader, checked: CheckedInput, cost: Cost
) -> list[str]:
    """Return what a run will do, as text."""
    table, fields, states = reader.table, reader.fields, checked.states
    endpoint = fields.endpoint
    used = fields.select_used(table.columns)
    taken = {checked.id, *(field.column for field in used)}
    sent = ", ".join(
        field.name if field.name == field.column else f"{field.name} (from {field.column})" for field in used
    )
    copied = ", ".join(name for name in table.columns if name not in taken)
    left = checked.rows_left(retry_refused=options.retry_refused)
    on_record = [f"{states[state]:,} {word}" for state, word in _STATES.items() if states[state]]
    account = f", account {options.account}" if options.account else ""
    first, *more = cost.format_lines()
    items = [
        ("operation", f"{endpoint.name}: {endpoint.method} {endpoint.path}"),
        ("again", _REPEAT_EFFECTS[endpoint.repeat_effect]),
        ("file", f"{table.source.name}: {checked.rows:,} rows, ids in column {checked.id}"),
        ("sends", sent),
        ("copies", f"to the results only: {copied or 'nothing'}"),
        ("server", f"{options.base_url}{account}"),
        ("job", options.job),
        ("journal", str(files.journal)),
        ("on record", f"{', '.join(on_record) or 'nothing'}; left to send: {left:,}"),
        ("cost", first),
        *(("", line) for line in more),
    ]
    return [f"{name:10} {what}" for name, what in items] + _format_warnings(endpoint)


_STATES: Final = {EntryState.DONE: "done", EntryState.REFUSED: "refused", EntryState.SENT: "in doubt"}


def _format_warnings(endpoint: Endpoint[Any, Any]) -> list[str]:
    if endpoint.key_is_honoured:
        return []
    return ["Warning: nothing shows that the server honours keys here: interrupted requests stay in doubt."]


def plan_to_json(options: RunOptions, files: JobFiles, checked: CheckedInput, cost: Cost) -> dict[str, Any]:
    """Return what a run will do, for JSON output."""
    return {
        "job": options.job,
        "operation": options.operation,
        "file": options.file,
        "rows": checked.rows,
        "id_column": checked.id,
        "base_url": options.base_url,
        "account": options.account,
        "journal": str(files.journal),
        "on_record": {word.replace(" ", "_"): checked.states[state] for state, word in _STATES.items()},
        "left": checked.rows_left(retry_refused=options.retry_refused),
        "cost": cost.to_json(),
    }


def choose_exit_code(summary: RunSummary) -> int:
    """Choose the exit code: rows in doubt take precedence over refused or failed ones."""
    if summary.error is not None:
        return 1
    if summary.interrupted:
        return 130
    if summary.counts[OperationStatus.IN_DOUBT]:
        return 4
    return 3 if summary.counts[OperationStatus.REFUSED] or summary.counts[OperationStatus.FAILED] else 0


def format_command(name: str, files: JobFiles, *more: str) -> str:
    """Return a command line that names exactly this job, whatever the environment contains."""
    account = ["--account", files.account] if files.account else []
    return shlex.join(["bardge", "batch", name, files.job, "--base-url", files.base_url, *account, *more])


def format_summary(summary: RunSummary, checked: CheckedInput, files: JobFiles, out: Path | None) -> list[str]:
    """Return how a run ended and what to do next, as text."""
    counts = summary.counts
    finished = sum(counts.values())
    parts = [f"{status.replace('_', ' ')} {number:,}" for status, number in counts.items() if number]
    if finished < checked.rows:
        parts.append(f"not run {checked.rows - finished:,}")
    took = format_duration(summary.seconds) if summary.seconds > _MINUTE else f"{summary.seconds:.1f} s"
    lines = [f"{files.job}: {finished:,} of {checked.rows:,} rows in {took}: {', '.join(parts) or 'nothing'}."]
    lines += [_format_failed_row(summary)] if summary.failed_rows else []
    lines += [f"Results: {out}"] if out is not None else []
    if summary.error is not None:
        lines += to_command_error(summary.error).format_lines()
    return lines + _suggest_next_steps(summary, checked.rows - finished, files)


def _format_failed_row(summary: RunSummary) -> str:
    first = summary.failed_rows[0]
    request = f" (request id {first.request_id})" if first.request_id else ""
    where = f"First {first.status.replace('_', ' ')}: line {first.line}, id {first.id}"
    return f"{where}: {first.error:.{_MAX_ERROR}}{request}"


def _suggest_next_steps(summary: RunSummary, left: int, files: JobFiles) -> list[str]:
    counts = summary.counts
    lines: list[str] = []
    if left or summary.interrupted or summary.error is not None or counts[OperationStatus.FAILED]:
        lines.append(f"Resume with: {format_command('resume', files)}")
    if counts[OperationStatus.REFUSED]:
        lines.append("Refused rows are sent again only with --retry-refused; see the column error.")
    if counts[OperationStatus.IN_DOUBT]:
        lines.append(f"List the doubts with: {format_command('doubts', files)}")
    return lines


def to_command_error(error: Exception) -> CommandError:
    """Convert the error that ended a run, with a hint how to fix it."""
    if isinstance(error, CommandError) or not isinstance(error, BardgeError):
        return error if isinstance(error, CommandError) else CommandError(f"{type(error).__name__}: {error}")
    cause = error.last_error if isinstance(error, OutcomeUnknownError) and error.last_error is not None else error
    hint = next((text for kind, text in _HINTS if isinstance(cause, kind)), "")
    return CommandError(str(error), hint, request_id=error.request_id)


def summary_to_json(summary: RunSummary, checked: CheckedInput, files: JobFiles, out: Path | None) -> dict[str, Any]:
    """Return how a run ended, for JSON output."""
    finished = sum(summary.counts.values())
    return {
        "counts": {**{status.value: n for status, n in summary.counts.items()}, "not_run": checked.rows - finished},
        "interrupted": summary.interrupted,
        "error": None if summary.error is None else to_command_error(summary.error).to_json(),
        "results": None if out is None else str(out),
        "resume": format_command("resume", files),
        "exit_code": choose_exit_code(summary),
    }
