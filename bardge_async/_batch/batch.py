"""The batch's public interface: iterate outcomes, stop, read counts and pace."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Self

from bardge_async._batch.operations import BatchOptions, OperationOutcome, OperationStatus, Pace
from bardge_async._batch.runner import BatchRunner
from bardge_async._batch.stream import OperationStream
from bardge_async.errors import ConfigurationError, InvalidArgumentError

if TYPE_CHECKING:
    from bardge_async._calls.client_caller import ClientCaller


class Batch:
    """Execute many operations: ``async for outcome in bardge.batch(operations, job="renewals-2026-11")``.

    Leaving the loop, an error or a cancellation starts no further operations. Those in flight run to completion and are
    recorded; ``aclose()`` on the batch or the client waits for them. The same batch run again, in this process or a
    later one, continues where it stopped. A batch can be iterated only once.

    Attributes:
        counts: Number of delivered outcomes by status.
    """

    def __init__(self, caller: ClientCaller, operations: object, options: BatchOptions) -> None:
        self.counts = dict.fromkeys(OperationStatus, 0)
        self._caller = caller
        self._options = options
        self._stream = OperationStream(operations, ConfigurationError)
        self._runner: BatchRunner | None = None
        self._stopped = False

    @property
    def pace(self) -> Pace:
        """The current pace; all zero before the iteration starts."""
        if self._runner is None:
            return Pace(0, 0, 0, 0.0, self._options.rate)
        pacer = self._runner.adaptive_limit
        return Pace(int(pacer.limit), pacer.running, pacer.backoffs, pacer.latency, self._options.rate)

    def stop(self) -> None:
        """Start no further operations; outcomes of those in flight are still delivered, then the iteration ends."""
        self._stopped = True
        if self._runner is not None:
            self._runner.stop()

    async def aclose(self) -> None:
        """Start no further operations, and wait for those in flight."""
        self.stop()
        if self._runner is not None:
            await self._runner.wait_until_finished()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncGenerator[OperationOutcome[Any]]:
        if self._runner is not None:
            raise InvalidArgumentError("batch: it can be iterated once only; make another with bardge.batch()")
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
            # Also when the consumer leaves the loop early.
            runner.stop()
        if runner.failure is not None:
            raise runner.failure
