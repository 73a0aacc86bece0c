"""The batch as its user sees it: outcomes to iterate, a stop, figures."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Self

from bardge_async._batch.operations import OperationOutcome, OperationStatus, Pace, Plan
from bardge_async._batch.runner import Crew
from bardge_async._batch.stream import Source
from bardge_async.errors import InvalidArgumentError

if TYPE_CHECKING:
    from bardge_async._calls.client_caller import Calls


class Batch:
    """Do many operations: ``async for outcome in bardge.batch(operations, job="renewals-2026-11")``.

    Leaving the loop, an error or a cancellation begins nothing new; what was begun runs to its end, for which
    ``aclose()`` and the client's own wait, and is on record. The same batch again, in this process or a later one, goes
    on where it stopped. It is iterated once.

    Attributes:
        counts: How many of the delivered outcomes have each status.
    """

    def __init__(self, calls: Calls, operations: object, plan: Plan) -> None:
        self.counts = dict.fromkeys(OperationStatus, 0)
        self._calls = calls
        self._plan = plan
        self._source = Source(operations)
        self._crew: Crew | None = None
        self._stopped = False

    @property
    def pace(self) -> Pace:
        """How fast it goes now; all zero before it begins."""
        if self._crew is None:
            return Pace(0, 0, 0, 0.0, self._plan.rate)
        pacer = self._crew.lane.pace
        return Pace(int(pacer.limit), pacer.running, pacer.backoffs, pacer.latency, self._plan.rate)

    def stop(self) -> None:
        """Begin nothing new; the outcomes of what is under way are still delivered, then the iteration ends."""
        self._stopped = True
        if self._crew is not None:
            self._crew.stop()

    async def aclose(self) -> None:
        """Begin nothing new, and wait for what is under way."""
        self.stop()
        if self._crew is not None:
            await self._crew.ended()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncGenerator[OperationOutcome[Any]]:
        if self._crew is not None:
            raise InvalidArgumentError("batch: it is iterated once; make another with bardge.batch()")
        return self._outcomes()

    async def _outcomes(self) -> AsyncGenerator[OperationOutcome[Any]]:
        crew = self._crew = Crew(self._calls, self._source, self._plan)
        if not self._stopped:
            crew.start()
        try:
            while True:
                one = crew.due()
                if one is not None and one.outcome is not None:
                    self.counts[one.outcome.status] += 1
                    yield one.outcome
                elif crew.over:
                    break
                else:
                    await crew.changed()
        finally:
            crew.stop()
        if crew.failure is not None:
            raise crew.failure
