"""Run a batch: one task starts the operations, each operation is its own task, finished ones wait in a queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from bardge_async._batch.executor import OperationExecutor, OperationRun, is_fatal
from bardge_async._batch.operations import BatchOptions, Operation
from bardge_async._batch.stream import OperationStream
from bardge_async._doubts.recovery import Doubts
from bardge_async._runtime.clock import Timer
from bardge_async.errors import NotSentError

if TYPE_CHECKING:
    from bardge_async._calls.client_caller import ClientCaller

_RECOVER_INTERVAL: Final = 5.0
# Strong references: the event loop holds tasks weakly, and the consumer may have dropped the batch.
_ACTIVE_RUNNERS: Final[set[BatchRunner]] = set()


class BatchRunner:
    """Run a stream's operations in the running loop; started ones run to completion, whatever the consumer does."""

    def __init__(self, caller: ClientCaller, stream: OperationStream, options: BatchOptions) -> None:
        self.failure: BaseException | None = None
        self._pacing = caller.account_limits.pacing
        self.adaptive_limit = self._pacing.loop_limit()
        self._caller = caller
        self._clock = caller.clock_reader.clock
        self._stream = stream
        self._options = options
        self._executor = OperationExecutor(caller, options)
        self._doubts = Doubts(caller)
        self._max_concurrency = min(options.concurrency, caller.slots.size)
        self._tasks: set[asyncio.Task[None]] = set()
        self._feeder: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._queue: deque[OperationRun] = deque()
        self._undelivered = self._executing = 0
        self._stopped = False
        self._room_available = asyncio.Event()
        self._changed = asyncio.Event()

    def start(self) -> None:
        """Start: recover doubts first, then start operations."""
        self.adaptive_limit.add_batch(self._max_concurrency)
        self._room_available.set()
        self._start_task(self._recover_then_feed())

    @property
    def is_finished(self) -> bool:
        """Whether no task is running any more."""
        return not self._tasks

    def stop(self) -> None:
        """Start no further operations; those in flight run to completion."""
        if self._stopped:
            return
        self._stopped = self._executor.stopping = True
        if self._feeder is not None:
            self._feeder.cancel()

    async def wait_for_change(self) -> None:
        """Wait until an outcome can be delivered, or all tasks have ended."""
        await self._changed.wait()
        self._changed.clear()

    async def wait_until_finished(self) -> None:
        """Wait until all tasks have ended, whether or not the outcomes are consumed."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def take_finished(self) -> OperationRun | None:
        """Take the next operation whose outcome can be delivered, or None."""
        queue = self._queue
        while queue and queue[0].outcome is None and self.is_finished:
            # The event loop was shut down and cancelled its task.
            queue.popleft()
        if not queue or queue[0].outcome is None:
            return None
        self._undelivered -= 1
        self._signal_room()
        return queue.popleft()

    def _start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        _ACTIVE_RUNNERS.add(self)
        task.add_done_callback(self._on_task_done)
        return task

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        # A cancellation without stop() came from the stream: ignoring it would silently lose the remaining operations.
        if failure is not None and not (task.cancelled() and self._stopped):
            self._fail_batch(failure)
        if not self._tasks:
            _ACTIVE_RUNNERS.discard(self)
            self.adaptive_limit.remove_batch()
            if self._timer is not None:
                self._timer.cancel()
            self._changed.set()

    def _fail_batch(self, failure: BaseException) -> None:
        self.failure = self.failure or failure
        self.stop()

    async def _recover_then_feed(self) -> None:
        await self._recover_doubts()
        if not self._stopped:
            self._feeder = self._start_task(self._feed_operations())

    async def _recover_doubts(self) -> None:
        await self._doubts.recover()
        # A timer, not a sleep: with a test clock that skips waits, a sleep would loop without end.
        self._timer = self._clock.timer(_RECOVER_INTERVAL, self._on_recover_timer)

    def _on_recover_timer(self) -> None:
        if self._tasks and not self._stopped:
            self._start_task(self._recover_doubts())

    async def _feed_operations(self) -> None:
        """Start one operation after another, each as its own task, as the limits allow."""
        # One task per operation, not a worker pool: each hand-over would cost a loop iteration.
        while (run := await self._take_operation()) is not None:
            self._start_task(self._run_operation(run))

    async def _run_operation(self, run: OperationRun) -> None:
        try:
            run.outcome = await self._executor.execute(run)
        finally:
            self._executing -= 1
            self._signal_room()
            self.adaptive_limit.release()
        self._finish_run(run)

    async def _take_operation(self) -> OperationRun | None:
        """Take the next operation once it may start; None at the end."""
        await self._room_available.wait()
        if not self._stream.is_async:
            return await self._run_with_slot(self._take_next)
        await self._run_with_slot(self._wait_until_ready)
        # The stream may be fed by another batch of this client, which needs the slot in the meantime.
        operation = await self._stream.next_operation()
        return None if operation is None else await self._run_with_slot(lambda: self._admit_operation(operation))

    async def _run_with_slot(self, step: Callable[[], Awaitable[OperationRun | None]]) -> OperationRun | None:
        """Run a step while holding a slot of the adaptive limit; an operation that it returns keeps the slot."""
        adaptive_limit = self.adaptive_limit
        await adaptive_limit.acquire()
        try:
            run = await step()
        except BaseException:
            adaptive_limit.release()
            raise
        if run is None:
            adaptive_limit.release()
        return run

    async def _wait_until_ready(self) -> None:
        # Do not charge the rate yet: the stream may have ended.
        await self._wait_for_retry_after()
        await self._wait_for_rate(take=False)

    async def _take_next(self) -> OperationRun | None:
        await self._wait_until_ready()
        operation = await self._stream.next_operation()
        return None if operation is None else await self._admit_operation(operation)

    async def _admit_operation(self, operation: Operation[Any, Any]) -> OperationRun:
        # Wait again: taking the operation from the stream may have taken time.
        await self._wait_for_retry_after()
        await self._wait_for_rate(take=True)
        run = OperationRun(operation)
        if self._options.ordered:
            self._queue.append(run)
        self._undelivered += 1
        self._executing += 1
        if not self._has_room():
            self._room_available.clear()
        return run

    def _has_room(self) -> bool:
        # At most twice the concurrency in memory, however slowly the consumer takes the outcomes.
        return self._executing < self._max_concurrency and self._undelivered < 2 * self._max_concurrency

    def _signal_room(self) -> None:
        if self._has_room():
            self._room_available.set()

    async def _wait_for_retry_after(self) -> None:
        """Wait while the server asks all calls of the account to: an operation started now would spend its deadline on that wait."""
        while (seconds := self._caller.seconds_throttled()) > 0:
            await self._clock.sleep(seconds)

    async def _wait_for_rate(self, *, take: bool) -> None:
        """Wait until the rate allows another operation; ``take`` it only if there is an operation to start."""
        per_second = self._options.rate
        if per_second is None:
            return
        rate = self._pacing.rate
        while (seconds := rate.seconds_until_free(per_second, self._clock.elapsed(), take=take)) > 0:
            await self._clock.sleep(seconds)

    def _finish_run(self, run: OperationRun) -> None:
        assert run.outcome is not None
        if not self._options.ordered:
            self._queue.append(run)
        error = run.outcome.error
        # After the client was closed, no other operation can be sent either.
        if error is not None and (
            is_fatal(error) or (self._caller.slots.is_closed and isinstance(error, NotSentError))
        ):
            self._fail_batch(error)
        self._changed.set()
