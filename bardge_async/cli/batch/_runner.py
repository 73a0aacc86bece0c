"""Running a batch: outcomes into the book, figures onto the board, signals into a stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from bardge_async._batch import Batch, Operation, OperationOutcome, OperationStatus
from bardge_async._client import BardgeClient
from bardge_async.cli.batch._errors import StopError
from bardge_async.cli.batch._jobs.row_log import Book, Note
from bardge_async.cli.batch._progress import Board, Figures
from bardge_async.cli.batch._rows.validation import Reading
from bardge_async.cli.batch._terminal import on_signals
from bardge_async.errors import BardgeError, ConnectError

_WELL: Final = frozenset({OperationStatus.DONE, OperationStatus.REPLAYED, OperationStatus.SKIPPED})
_KEPT: Final = 3
"""Outcomes that are told at the end, of those that did not go well."""
_GONE: Final = 100
"""Rows in a row that found no server."""
_LOOK_EVERY: Final = 64
"""Rows after which the input is looked at."""


@attrs.frozen
class Trouble:
    """One row that did not go well."""

    line: int
    id: str
    status: str
    error: str
    request_id: str | None


@attrs.define
class Ending:
    """How a run ended."""

    counts: dict[OperationStatus, int] = attrs.Factory(lambda: dict.fromkeys(OperationStatus, 0))
    troubles: list[Trouble] = attrs.Factory(list[Trouble])
    interrupted: bool = False
    error: Exception | None = None
    seconds: float = 0.0


@attrs.frozen
class Pacing:
    """How a run goes about it."""

    concurrency: int
    rate: float | None
    retry_refused: bool


class Drive:
    """Run one job once."""

    def __init__(self, reading: Reading, rows: int, book: Book, board: Board) -> None:
        self.ending = Ending()
        self._reading = reading
        self._total = rows
        self._book = book
        self._board = board
        self._under_way: dict[str, tuple[int, int]] = {}
        self._out_of_reach = 0

    def run(self, client: BardgeClient, job: str, pacing: Pacing) -> Ending:
        """Do it, to the end or the first signal.

        Raises:
            KeyboardInterrupt: There was a second one.
        """
        try:
            with asyncio.Runner() as runner:
                runner.run(self._run(client, job, pacing))
        finally:
            self._board.end()
        return self.ending

    async def _run(self, client: BardgeClient, job: str, pacing: Pacing) -> None:
        begun = time.monotonic()
        async with client:
            batch = client.batch(
                self._operations(),
                job=job,
                concurrency=pacing.concurrency,
                rate=pacing.rate,
                retry_refused=pacing.retry_refused,
            )
            figures = Figures(job, self._total, batch, begun)
            ticks = asyncio.create_task(self._tick(figures))
            try:
                with on_signals(self._stopper(batch, asyncio.get_running_loop())):
                    await self._take(batch)
            finally:
                ticks.cancel()
                self.ending.counts = dict(batch.counts)
                self.ending.seconds = time.monotonic() - begun
                figures.sample(time.monotonic())
                self._board.show(figures)

    async def _take(self, batch: Batch) -> None:
        try:
            async with batch:
                async for outcome in batch:
                    self._note(outcome)
                    self._give_up(outcome, batch)
        except (BardgeError, StopError) as error:
            self.ending.error = error

    def _note(self, outcome: OperationOutcome[Any]) -> None:
        id = outcome.operation.id
        row, line = self._under_way.pop(id)
        error = "" if outcome.error is None else str(outcome.error)
        self._book.note(row, Note(outcome.status.value, error, outcome.request_id or ""))
        if outcome.status not in _WELL and len(self.ending.troubles) < _KEPT:
            self.ending.troubles.append(Trouble(line, id, outcome.status.value, error, outcome.request_id))

    def _give_up(self, outcome: OperationOutcome[Any], batch: Batch) -> None:
        """Stop where the server is gone: each of 100,000 rows would take its time to fail, and be run again anyway."""
        if isinstance(outcome.error, ConnectError):
            self._out_of_reach += 1
        elif outcome.attempts:
            self._out_of_reach = 0
        if self._out_of_reach == _GONE and self.ending.error is None:
            what = f"The server is out of reach: {_GONE} rows in a row could not be sent."
            self.ending.error = StopError(what, "Check network and server, then go on with the job.")
            batch.stop()

    def _operations(self) -> Iterator[Operation[Any, Any]]:
        source = self._reading.table.source
        for row, (line, operation) in enumerate(self._reading.operations(), start=1):
            if row % _LOOK_EVERY == 1:
                source.check()
            self._under_way[operation.id] = (row, line.number)
            yield operation
        source.check()

    def _stopper(self, batch: Batch, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        def stop() -> None:
            batch.stop()
            self._board.say("Stopping: what is under way is finished. Ctrl-C again ends it at once.")

        def act() -> None:
            if self.ending.interrupted:
                raise KeyboardInterrupt
            self.ending.interrupted = True
            loop.call_soon_threadsafe(stop)

        return act

    async def _tick(self, figures: Figures) -> None:
        while True:
            await asyncio.sleep(self._board.every)
            figures.sample(time.monotonic())
            self._board.show(figures)
