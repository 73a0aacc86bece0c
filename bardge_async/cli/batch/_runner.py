"""Run a batch: record the outcomes, show the progress, stop on signals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from bardge_async._batch import Batch, Operation, OperationOutcome, OperationStatus
from bardge_async._client import BardgeClient
from bardge_async.cli.batch._errors import CommandError
from bardge_async.cli.batch._jobs.row_log import RowLog, RowOutcome
from bardge_async.cli.batch._progress import ProgressCounter, ProgressDisplay
from bardge_async.cli.batch._rows.validation import OperationReader
from bardge_async.cli.batch._terminal import handle_signals, raise_interrupt
from bardge_async.errors import BardgeError, ConnectError

_SUCCESSES: Final = frozenset({OperationStatus.DONE, OperationStatus.REPLAYED, OperationStatus.SKIPPED})
_MAX_FAILED_ROWS: Final = 3
"""Unsuccessful rows that are kept for the summary."""
_MAX_UNREACHABLE_ROWS: Final = 100
"""Consecutive rows without a connection, after which the run stops."""
_ROWS_BETWEEN_CHECKS: Final = 64
"""Rows between two checks that the input has not changed."""


@attrs.frozen
class FailedRow:
    """A row that did not succeed."""

    line: int
    id: str
    status: str
    error: str
    request_id: str | None


@attrs.define
class RunSummary:
    """How a run ended."""

    counts: dict[OperationStatus, int] = attrs.Factory(lambda: dict.fromkeys(OperationStatus, 0))
    failed_rows: list[FailedRow] = attrs.Factory(list[FailedRow])
    interrupted: bool = False
    error: Exception | None = None
    seconds: float = 0.0


@attrs.frozen
class SendOptions:
    """How a run sends its rows."""

    concurrency: int
    rate: float | None
    retry_refused: bool


class JobRunner:
    """Run one job once."""

    def __init__(self, reader: OperationReader, rows: int, row_log: RowLog, display: ProgressDisplay) -> None:
        self.summary = RunSummary()
        self._reader = reader
        self._total = rows
        self._row_log = row_log
        self._display = display
        self._in_flight: dict[str, tuple[int, int]] = {}
        self._unreachable_rows = 0

    def run(self, client: BardgeClient, job: str, options: SendOptions) -> RunSummary:
        """Run to completion or the first signal.

        Raises:
            KeyboardInterrupt: There was a second signal.
        """
        try:
            with asyncio.Runner() as runner:
                runner.run(self._run_batch(client, job, options))
        finally:
            self._display.close_display()
        return self.summary

    async def _run_batch(self, client: BardgeClient, job: str, options: SendOptions) -> None:
        started_at = time.monotonic()
        async with client:
            batch = client.batch(
                self._read_operations(),
                job=job,
                concurrency=options.concurrency,
                rate=options.rate,
                retry_refused=options.retry_refused,
            )
            progress = ProgressCounter(job, self._total, batch, started_at)
            refresher = asyncio.create_task(self._refresh_display(progress))
            try:
                with handle_signals(self._make_signal_callback(batch, asyncio.get_running_loop())):
                    await self._consume_outcomes(batch)
            finally:
                refresher.cancel()
                self.summary.counts = dict(batch.counts)
                self.summary.seconds = time.monotonic() - started_at
                progress.add_sample(time.monotonic())
                self._display.show_progress(progress)

    async def _consume_outcomes(self, batch: Batch) -> None:
        try:
            async with batch:
                async for outcome in batch:
                    self._record_outcome(outcome)
                    self._stop_if_unreachable(outcome, batch)
        except (BardgeError, CommandError) as error:
            self.summary.error = error

    def _record_outcome(self, outcome: OperationOutcome[Any]) -> None:
        id = outcome.operation.id
        row_number, line_number = self._in_flight.pop(id)
        error = "" if outcome.error is None else str(outcome.error)
        self._row_log.add_outcome(row_number, RowOutcome(outcome.status.value, error, outcome.request_id or ""))
        if outcome.status not in _SUCCESSES and len(self.summary.failed_rows) < _MAX_FAILED_ROWS:
            self.summary.failed_rows.append(FailedRow(line_number, id, outcome.status.value, error, outcome.request_id))

    def _stop_if_unreachable(self, outcome: OperationOutcome[Any], batch: Batch) -> None:
        """Stop if the server is unreachable: every further row would take time to fail and have to be run again."""
        if isinstance(outcome.error, ConnectError):
            self._unreachable_rows += 1
        elif outcome.attempts:
            self._unreachable_rows = 0
        if self._unreachable_rows == _MAX_UNREACHABLE_ROWS and self.summary.error is None:
            what = f"The server is unreachable: {_MAX_UNREACHABLE_ROWS} consecutive rows could not be sent."
            self.summary.error = CommandError(what, "Check network and server, then resume the job.")
            batch.stop()

    def _read_operations(self) -> Iterator[Operation[Any, Any]]:
        source = self._reader.table.source
        for row_number, (row, operation) in enumerate(self._reader.read_operations(), start=1):
            if row_number % _ROWS_BETWEEN_CHECKS == 1:
                source.check_unchanged()
            self._in_flight[operation.id] = (row_number, row.line_number)
            yield operation
        source.check_unchanged()

    def _make_signal_callback(self, batch: Batch, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        def stop_batch() -> None:
            batch.stop()
            self._display.show_message(
                "Stopping: requests in flight are being completed. Ctrl-C again stops immediately."
            )

        # A signal handler runs between any two bytecodes: an exception there could lose what the loop was about to hand
        # over to the journal, for which its tasks would wait for ever.
        steps = iter((stop_batch, raise_interrupt))

        def on_signal() -> None:
            self.summary.interrupted = True
            step = next(steps, None)
            if step is None:
                raise KeyboardInterrupt
            loop.call_soon_threadsafe(step)

        return on_signal

    async def _refresh_display(self, progress: ProgressCounter) -> None:
        while True:
            await asyncio.sleep(self._display.interval)
            progress.add_sample(time.monotonic())
            self._display.show_progress(progress)
