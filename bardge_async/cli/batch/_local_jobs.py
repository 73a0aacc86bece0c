"""Commands for a job on this machine: status, resume, doubts, resolve."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from bardge_async._core.entry import EntryState, JournalEntry
from bardge_async._core.keys import operation_key
from bardge_async._journal import SQLiteJournal
from bardge_async.cli import _journal as journals
from bardge_async.cli._api_key import find_api_key
from bardge_async.cli.batch import _run
from bardge_async.cli.batch._errors import CommandError, InputErrors, UsageError
from bardge_async.cli.batch._jobs.files import JobFacts, JobFiles, find_job
from bardge_async.cli.batch._jobs.history import open_history
from bardge_async.cli.batch._jobs.job_lock import find_running_pid
from bardge_async.cli.batch._options import RunOptions
from bardge_async.cli.batch._report import format_command
from bardge_async.cli.batch._rows.file import InputFile
from bardge_async.cli.batch._rows.reader import open_table
from bardge_async.cli.batch._rows.validation import read_id
from bardge_async.cli.batch._terminal import Output

_NO_LINE: Final = "-"


@attrs.frozen
class LocalJob:
    """A recorded job."""

    facts: JobFacts
    files: JobFiles

    @classmethod
    def find_by_name(cls, name: str, base_url: str | None, account: str | None) -> LocalJob:
        """Find a job by name.

        Raises:
            UsageError: There is no such job, or several.
        """
        facts = find_job(name, base_url, account)
        return cls(facts, JobFiles.for_job(facts.job, facts.base_url, facts.account, Path(facts.journal)))


def show_status(job: LocalJob, output: Output) -> int:
    """Print the progress of a job."""
    facts, files = job.facts, job.files
    with open_history(files.journal, facts.base_url, facts.account) as journal:
        counts = journal.count_states()
    done, refused, sent = (counts.get(s, 0) for s in (EntryState.DONE, EntryState.REFUSED, EntryState.SENT))
    not_run = max(0, facts.rows - done - refused - sent)
    pid = find_running_pid(files.lock_path)
    known = {"rows": facts.rows, "done": done, "refused": refused, "in_doubt": sent, "not_run": not_run}
    value = {**attrs.asdict(facts), "running": pid, "counts": known}
    doubt = "in doubt or in flight" if pid is not None else "in doubt"
    lines = [
        f"{facts.job}: {facts.operation} at {facts.base_url}" + f", account {facts.account}" * bool(facts.account),
        f"  file     {facts.file}, {facts.rows:,} rows",
        f"  done {done:,}, refused {refused:,}, {doubt} {sent:,}, not run {not_run:,}",
        f"  results  {facts.out}",
        f"  journal  {facts.journal}",
    ]
    if pid is not None:
        lines.append(f"  running in process {pid}")
    elif not_run or sent:
        lines.append(f"  not running; resume with: {format_command('resume', files)}")
    output.write_result(value, lines)
    return 0


def resume_job(job: LocalJob, output: Output, changes: dict[str, Any]) -> int:
    """Run a job again with its recorded options, except for ``changes``."""
    facts = job.facts
    options = RunOptions(
        file=facts.file,
        operation=facts.operation,
        job=facts.job,
        base_url=facts.base_url,
        account=facts.account,
        id=facts.id,
        maps=facts.maps,
        concurrency=facts.concurrency,
        rate=facts.rate,
        journal=Path(facts.journal),
        out=Path(facts.out),
        as_json=output.as_json,
    )
    return _run.run_job(attrs.evolve(options, **changes), output, facts.stamp)


def list_doubts(job: LocalJob, output: Output) -> int:
    """List the operations in doubt, with lines and ids."""
    entries = _read_doubts(job)
    lines_of_keys = _find_lines(job, {entry.identity.key for entry in entries})
    found = [{**journals.entry_to_json(entry), **lines_of_keys.get(entry.identity.key, {})} for entry in entries]
    lines = [
        f"line {one.get('line', _NO_LINE)}  id {one.get('id', _NO_LINE)}  sent {one['first_sent_at']}  key {one['key']}"
        for one in found
    ]
    if lines:
        settle = format_command("resolve", job.files)
        lines.append(f"Resolve each with: {settle} ID --done | --never-happened | --by-evidence")
    output.write_result(found, lines or ["Nothing is in doubt."])
    return 0


def resolve_doubt(job: LocalJob, output: Output, id_or_key: str, choices: dict[str, bool]) -> int:
    """Resolve the doubt of an id or key."""
    facts = job.facts
    keys = {entry.identity.key for entry in _read_doubts(job)}
    key = id_or_key if id_or_key in keys else operation_key(facts.job, facts.operation, id_or_key)
    if key not in keys:
        raise CommandError(
            f"{id_or_key!r:.120} is not in doubt.", f"List the doubts with: {format_command('doubts', job.files)}"
        )
    api_key = find_api_key(facts.account, from_stdin=False)
    target = journals.JournalTarget(job.files.journal, output.as_json, facts.account, facts.base_url, api_key)
    journals.resolve_entry(target, key, choices)
    return 0


def _read_doubts(job: LocalJob) -> list[JournalEntry]:
    """Read the doubts of a job; requests in flight in a run are not among them."""
    if not job.files.journal.exists():
        return []

    async def read_unfinished(journal: SQLiteJournal) -> list[JournalEntry]:
        return await journal.unfinished(job.facts.base_url, job.facts.account)

    with SQLiteJournal(job.files.journal, shared=journals.is_shared()) as journal:
        return anyio.run(read_unfinished, journal)


def _find_lines(job: LocalJob, keys: set[str]) -> dict[str, dict[str, Any]]:
    """Find the lines and ids of keys in the job's file, if it still exists."""
    found: dict[str, dict[str, Any]] = {}
    errors = InputErrors(job.facts.file)
    try:
        with InputFile(Path(job.facts.file), job.facts.file) as source:
            for row in open_table(source, errors).read_rows(errors.add_error) if keys else ():
                id = read_id(row, job.facts.id, errors.add_error)
                key = operation_key(job.facts.job, job.facts.operation, id) if id else ""
                if key in keys:
                    found[key] = {"line": row.line_number, "id": id}
    except UsageError:
        return found
    return found
