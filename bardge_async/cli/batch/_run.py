"""``bardge batch run`` from the options to the exit code."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import attrs
import click

from bardge_async._client import BardgeClient
from bardge_async._core.secret import Secret
from bardge_async._journal import SQLiteJournal
from bardge_async.cli._api_key import find_api_key, provide_no_key, require_api_key
from bardge_async.cli._journal import is_shared
from bardge_async.cli.batch import _report
from bardge_async.cli.batch._cost import NOT_KNOWN, Cost, can_estimate_cost, estimate_cost
from bardge_async.cli.batch._errors import CommandError, InputErrors, UsageError
from bardge_async.cli.batch._jobs.files import JobFacts, JobFiles, check_name, iter_jobs
from bardge_async.cli.batch._jobs.history import open_history
from bardge_async.cli.batch._jobs.job_lock import JobLock
from bardge_async.cli.batch._jobs.row_log import RowLog
from bardge_async.cli.batch._options import RunOptions
from bardge_async.cli.batch._progress import choose_display
from bardge_async.cli.batch._results import choose_results_path, write_results
from bardge_async.cli.batch._rows.columns import InputFields, find_batch_endpoint
from bardge_async.cli.batch._rows.file import STDIN, InputFile, copy_input, is_rereadable
from bardge_async.cli.batch._rows.reader import open_table
from bardge_async.cli.batch._rows.validation import CheckedInput, OperationReader, RowValidator
from bardge_async.cli.batch._runner import JobRunner, RunSummary, SendOptions
from bardge_async.cli.batch._terminal import Output
from bardge_async.errors import BardgeError

_MIN_CONNECTIONS: Final = 100
_STDIN_NAME: Final = "stdin"


@attrs.frozen
class PreparedRun:
    """A checked job that is ready to start."""

    options: RunOptions
    files: JobFiles
    reader: OperationReader
    checked: CheckedInput
    row_log: RowLog
    source: InputFile
    spooled: bool
    out: Path

    @property
    def rows_left(self) -> int:
        """Number of rows that a run would send."""
        return self.checked.rows_left(retry_refused=self.options.retry_refused)


def run_job(options: RunOptions, output: Output, confirmed_stamp: list[int] | None = None) -> int:
    """Run a job and return the exit code; ``confirmed_stamp`` is the stamp of a file that was confirmed before.

    Raises:
        CommandError: It cannot start.
    """
    fields = InputFields(find_batch_endpoint(options.operation), options.maps)
    files = JobFiles.for_job(check_name(options.job), options.base_url, options.account, options.journal)
    if options.key_from_stdin and options.file == STDIN:
        raise UsageError("--api-key-stdin: standard input already contains the rows.", "Set BARDGE_API_KEY instead.")
    with ExitStack() as stack:
        if not options.dry_run:
            files.create_folders()
            stack.enter_context(JobLock(files.lock_path, files.job))
            # A run that does not start leaves no copy of its rows: they are personal data.
            stack.callback(files.incoming_input_copy.unlink, missing_ok=True)
        files.check_matches_record(options.operation)
        ready = prepare_run(options, files, fields, stack, output.write_message)
        key = find_api_key(options.account, from_stdin=options.key_from_stdin)
        cost = _fetch_cost(ready, key)
        output.write_message(*_describe_namesakes(files))
        if not ready.checked.rows:
            output.write_message(f"Nothing to do: {ready.source.name} has a header and no rows.")
        output.write_message(*_report.format_plan(options, files, ready.reader, ready.checked, cost))
        result = _report.plan_to_json(options, files, ready.checked, cost)
        if options.dry_run:
            output.write_message("Dry run: nothing was sent.")
            output.write_result({**result, "exit_code": 0})
            return 0
        if ready.rows_left:
            require_api_key(key, options.account)
            _confirm_sending(options, ready, confirmed_stamp)
        _save_job(ready)
        summary = _send_rows(ready, key, output) if ready.checked.rows else RunSummary()
        return _report_results(ready, summary, result, output)


def _describe_namesakes(files: JobFiles) -> list[str]:
    """Describe other jobs of this name: their journals do not record what this one does."""
    namesakes = [each for each in iter_jobs() if each.job == files.job and Path(each.journal) != files.journal]
    where = (f"{each.base_url}{f', account {each.account}' if each.account else ''}" for each in namesakes)
    return [f"Note: another job of this name exists for {each}." for each in where]


def prepare_run(
    options: RunOptions, files: JobFiles, fields: InputFields, stack: ExitStack, echo: Callable[[str], None]
) -> PreparedRun:
    """Check every row and look up what the journal records of it.

    Raises:
        CommandError: The input or the journal cannot be used.
    """
    spooled = not is_rereadable(options.file)
    path, name = Path(options.file).absolute(), options.file
    if spooled:
        name = _STDIN_NAME if options.file == STDIN else options.file
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bardge-"))) if options.dry_run else None
        path = files.incoming_input_copy if folder is None else folder / "input"
        copy_input(options.file, path)
    out = choose_results_path(options.out, None if spooled or path == files.input_copy else path, files)
    source = stack.enter_context(InputFile(path, name))
    errors = InputErrors(name)
    table = open_table(source, errors)
    row_log = stack.enter_context(RowLog())
    with open_history(files.journal, options.base_url, options.account) as journal:
        validator = RowValidator(table, fields, errors, journal, files.job)
        checked = validator.validate_rows(options.id, row_log, echo, retry_refused=options.retry_refused)
    return PreparedRun(
        options, files, OperationReader(table, fields, checked.id), checked, row_log, source, spooled, out
    )


def _fetch_cost(ready: PreparedRun, key: Secret | None) -> Cost:
    """Ask the server what the run will cost, unless nothing is left to send."""
    if not can_estimate_cost(ready.reader.fields.endpoint):
        return Cost(unknown_reason=NOT_KNOWN)
    if not ready.rows_left:
        return Cost(unknown_reason="none: nothing is left to send")
    if key is None:
        return Cost(unknown_reason=f"{NOT_KNOWN}: there is no API key to ask with")

    async def ask_server() -> Cost:
        async with BardgeClient(key, ready.options.base_url, account=ready.options.account) as bardge:
            return await estimate_cost(bardge, ready.checked.packages, ready.rows_left)

    return asyncio.run(ask_server())


def _confirm_sending(options: RunOptions, ready: PreparedRun, confirmed_stamp: list[int] | None) -> None:
    if options.yes or confirmed_stamp == ready.source.stamp:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("Cannot ask for confirmation: standard input is not a terminal.", "Pass --yes to go ahead.")
    if not click.confirm(f"Send {ready.rows_left:,} operations?", err=True):
        raise CommandError("Not confirmed: nothing was sent.")


def _save_job(ready: PreparedRun) -> None:
    """Store what a later run needs, including the copy of an input that can be read only once."""
    options, files = ready.options, ready.files
    spooled = ready.spooled or ready.source.path == files.input_copy
    if ready.spooled:
        files.incoming_input_copy.replace(files.input_copy)
    facts = JobFacts(
        job=files.job,
        operation=options.operation,
        base_url=options.base_url,
        account=options.account,
        file=str(files.input_copy if spooled else ready.source.path),
        spooled=spooled,
        stamp=ready.source.stamp,
        rows=ready.checked.rows,
        id=ready.checked.id,
        maps=options.maps,
        concurrency=options.concurrency,
        rate=options.rate,
        out=str(ready.out),
        journal=str(files.journal),
    )
    files.save_facts(facts)


def _send_rows(ready: PreparedRun, key: Secret | None, output: Output) -> RunSummary:
    options = ready.options
    runner = JobRunner(ready.reader, ready.checked.rows, ready.row_log, choose_display(output))
    try:
        with closing(SQLiteJournal(ready.files.journal, shared=is_shared())) as journal:
            client = BardgeClient(
                key or provide_no_key,
                options.base_url,
                account=options.account,
                journal=journal,
                max_connections=max(_MIN_CONNECTIONS, options.concurrency),
            )
            return runner.run(
                client, ready.files.job, SendOptions(options.concurrency, options.rate, options.retry_refused)
            )
    except BardgeError as error:
        raise _report.to_command_error(error) from None
    except KeyboardInterrupt:
        raise CommandError(
            "Stopped immediately. Requests in flight may have been executed.",
            f"Resume with: {_report.format_command('resume', ready.files)}",
            code=130,
        ) from None


def _report_results(ready: PreparedRun, summary: RunSummary, result: dict[str, object], output: Output) -> int:
    """Write the results and print the summary."""
    out: Path | None = ready.out
    try:
        write_results(ready.out, ready.reader.table, ready.row_log, ready.checked.rows)
    except CommandError as error:
        out, summary.error = None, summary.error or error
    output.write_message(*_report.format_summary(summary, ready.checked, ready.files, out))
    exit_code = _report.choose_exit_code(summary)
    output.write_result({**result, **_report.summary_to_json(summary, ready.checked, ready.files, out)})
    return exit_code
