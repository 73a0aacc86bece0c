"""The batch as its user sees it: outcomes to iterate, a stop, figures."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Self

from bardge_async._batch.operations import BatchOptions, OperationOutcome, OperationStatus, Pace
from bardge_async._batch.runner import BatchRunner
from bardge_async._batch.stream import OperationStream
from bardge_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    from bardge_async._calls.client_caller import ClientCaller


class Batch:
    """Do many operations: ``async for outcome in bardge.batch(operations, job="renewals-2026-11")``.

    Leaving the loop, an error or a cancellation begins nothing new; what was begun runs to its end, for which
    ``aclose()`` and the client's own wait, and is on record. The same batch again, in this process or a later one, goes
    on where it stopped. It is iterated once.

    Attributes:
        counts: How many of the delivered outcomes have each status.
    """

    def __init__(self, caller: ClientCaller, operations: object, options: BatchOptions) -> None:
        self.counts = dict.fromkeys(OperationStatus, 0)
        self._caller = caller
        self._options = options
        self._stream = OperationStream(operations)
        self._runner: BatchRunner | None = None
        self._stopped = False

    @property
    def pace(self) -> Pace:
        """How fast it goes now; all zero before it begins."""
        if self._runner is None:
            return Pace(0, 0, 0, 0.0, self._options.rate)
        pacer = self._runner.semaphore.adaptive_limit
        return Pace(int(pacer.limit), pacer.running, pacer.backoffs, pacer.latency, self._options.rate)

    def stop(self) -> None:
        """Begin nothing new; the outcomes of what is under way are still delivered, then the iteration ends."""
        self._stopped = True
        if self._runner is not None:
            self._runner.stop()

    async def aclose(self) -> None:
        """Begin nothing new, and wait for what is under way."""
        self.stop()
        if self._runner is not None:
            await self._runner.wait_until_finished()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncGenerator[OperationOutcome[Any]]:
        if self._runner is not None:
            raise InvalidArgumentError("batch: it is iterated once; make another with bardge.batch()")
        return self._iterate_outcomes()

    async def _iterate_outcomes(self) -> AsyncGenerator[OperationOutcome[Any]]:
        runner = self._runner = BatchRunner(self._caller, self._stream, self._options)
        if not self._stopped:
            runner.start()
        try:
            while True:
                run = runner.take_finished()
                if run is not None and run.outcome is not None:
                    self.counts[run.outcome.status] += 1
                    yield run.outcome
                elif runner.is_finished:
                    break
                else:
                    await runner.wait_for_change()
        finally:
            runner.stop()
        if runner.failure is not None:
            raise runner.failure
