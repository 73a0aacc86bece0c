"""What works for a batch: one task feeds, each operation is a task of its own, and the outcomes stand in line."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from bardge_async._batch.executor import One, Performer, ends_all
from bardge_async._batch.operations import Operation, Plan
from bardge_async._batch.stream import Source
from bardge_async._doubts.recovery import Doubts
from bardge_async._runtime.clock import Timer
from bardge_async.errors import NotSentError

if TYPE_CHECKING:
    from bardge_async._calls.client_caller import Calls

_RECOVER_EVERY: Final = 5.0
# The loop itself holds their tasks weakly.
_RUNNING: Final[set[Crew]] = set()


class Crew:
    """Work through a source in the running loop: what was taken runs to its end, whatever the consumer does."""

    def __init__(self, calls: Calls, source: Source, plan: Plan) -> None:
        self.failure: BaseException | None = None
        self.lane = calls.engine.slots.lane()
        self._engine = calls.engine
        self._clock = calls.engine.watch.clock
        self._source = source
        self._plan = plan
        self._performer = Performer(calls, plan)
        self._doubts = Doubts(calls)
        self._most = min(plan.concurrency, calls.engine.slots.size)
        self._tasks: set[asyncio.Task[None]] = set()
        self._feeder: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._line: deque[One] = deque()
        self._undelivered = self._working = 0
        self._stopped = False
        self._room = asyncio.Event()
        self._changed = asyncio.Event()

    def start(self) -> None:
        """Begin: doubts first, then the operations."""
        self.lane.pace.join(self._most)
        self._room.set()
        self._begin(self._lead())

    @property
    def over(self) -> bool:
        """Tell whether nobody works any more."""
        return not self._tasks

    def stop(self) -> None:
        """Begin nothing new; what has begun runs to its end."""
        if self._stopped:
            return
        self._stopped = self._performer.stopping = True
        if self._feeder is not None:
            self._feeder.cancel()

    async def changed(self) -> None:
        """Wait until an outcome is there, or all is over."""
        await self._changed.wait()
        self._changed.clear()

    async def ended(self) -> None:
        """Wait until all is over, whether or not outcomes are taken."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def due(self) -> One | None:
        """Take the next operation whose outcome is to be delivered."""
        line = self._line
        while line and line[0].outcome is None and self.over:
            # The loop was shut down under it.
            line.popleft()
        if not line or line[0].outcome is None:
            return None
        self._undelivered -= 1
        self._make_room()
        return line.popleft()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        _RUNNING.add(self)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        # Where nobody stopped it, the source raised a cancellation: what is left would be lost in silence.
        if failure is not None and not (task.cancelled() and self._stopped):
            self._fail(failure)
        if not self._tasks:
            _RUNNING.discard(self)
            self.lane.pace.leave()
            if self._timer is not None:
                self._timer.cancel()
            self._changed.set()

    def _fail(self, failure: BaseException) -> None:
        self.failure = self.failure or failure
        self.stop()

    async def _lead(self) -> None:
        await self._recover()
        if not self._stopped:
            self._feeder = self._begin(self._feed())

    async def _recover(self) -> None:
        await self._doubts.recover()
        # A timer and no sleep: a clock that skips waits would run away.
        self._timer = self._clock.timer(_RECOVER_EVERY, self._recover_later)

    def _recover_later(self) -> None:
        if self._tasks and not self._stopped:
            self._begin(self._recover())

    async def _feed(self) -> None:
        """Begin operation after operation, each as a task of its own, as there is room and the pace allows."""
        # No workers that take turns at a gate: each turn costs a round of the loop, and one a round is too few.
        while (one := await self._take()) is not None:
            self._begin(self._work(one))

    async def _work(self, one: One) -> None:
        try:
            one.outcome = await self._performer.perform(one)
        finally:
            self._working -= 1
            self._make_room()
            self.lane.pace.give_back()
        self._finish(one)

    async def _take(self) -> One | None:
        """Take the next operation once it may begin; None at the end."""
        await self._room.wait()
        if not self._source.waits:
            return await self._in_place(self._next)
        await self._in_place(self._ready)
        # It may be fed by another batch of the client, which needs the place meanwhile.
        operation = await self._source.next()
        return None if operation is None else await self._in_place(lambda: self._taken(operation))

    async def _in_place(self, step: Callable[[], Awaitable[One | None]]) -> One | None:
        """Do something as one of those that may run at once; the place is kept for the operation that comes of it."""
        pace = self.lane.pace
        await pace.enter()
        try:
            one = await step()
        except BaseException:
            pace.give_back()
            raise
        if one is None:
            pace.give_back()
        return one

    async def _ready(self) -> None:
        await self._held_back()
        await self._turn(take=False)

    async def _next(self) -> One | None:
        await self._ready()
        operation = await self._source.next()
        return None if operation is None else await self._taken(operation)

    async def _taken(self, operation: Operation[Any, Any]) -> One:
        await self._held_back()
        await self._turn(take=True)
        one = One(operation)
        if self._plan.ordered:
            self._line.append(one)
        self._undelivered += 1
        self._working += 1
        if not self._has_room():
            self._room.clear()
        return one

    def _has_room(self) -> bool:
        return self._working < self._most and self._undelivered < 2 * self._most

    def _make_room(self) -> None:
        if self._has_room():
            self._room.set()

    async def _held_back(self) -> None:
        """Wait while the server asks all calls to: an operation's time would run meanwhile."""
        while (seconds := self._engine.holdback.everyone(self._clock.elapsed())) > 0:
            await self._clock.sleep(seconds)

    async def _turn(self, *, take: bool) -> None:
        """Wait for a turn, and take it only when there is something to begin."""
        per_second = self._plan.rate
        if per_second is None:
            return
        rate = self._engine.slots.rate
        while (seconds := rate.wait(per_second, self._clock.elapsed(), take=take)) > 0:
            await self._clock.sleep(seconds)

    def _finish(self, one: One) -> None:
        assert one.outcome is not None  # noqa: S101 - it was performed
        if not self._plan.ordered:
            self._line.append(one)
        error = one.outcome.error
        if error is not None and (ends_all(error) or (self._engine.slots.closed and isinstance(error, NotSentError))):
            self._fail(error)
        self._changed.set()
