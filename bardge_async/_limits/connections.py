"""Connection slots per event loop: a FIFO semaphore, and a count of the calls that a clean close waits for."""

from __future__ import annotations

import asyncio
from collections import deque

import anyio
import attrs

from bardge_async._runtime.clock import Clock, TimeLimit, Timer
from bardge_async._runtime.loops import PerLoop, run_in_loop
from bardge_async.errors import NotSentError


@attrs.define(eq=False)
class _Waiter:
    """A queued call: whether it got a slot, and the time at which it gives up."""

    granted: asyncio.Future[bool]
    deadline: float


class LoopSemaphore:
    """Semaphore for one event loop's requests, and a count of its calls. ``free`` is 0 while anyone is queued."""

    def __init__(self, size: int, clock: Clock) -> None:
        self._clock = clock
        self.free = size
        self._queue: deque[_Waiter] = deque()
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self.calls_in_flight = 0
        self.idle: anyio.Event | None = None

    def call_finished(self) -> None:
        """Count a call that has finished."""
        self.calls_in_flight -= 1
        if self.calls_in_flight == 0 and self.idle is not None:
            self.idle.set()

    def try_acquire(self) -> bool:
        """Take a slot if one is free; return whether it was."""
        if not self.free:
            return False
        self.free -= 1
        return True

    async def acquire(self, timeout: float) -> bool:
        """Take a slot, queueing for at most ``timeout`` seconds; return whether one became free in time."""
        if self.try_acquire():
            return True
        waiter = _Waiter(asyncio.get_running_loop().create_future(), self._clock.elapsed() + timeout)
        self._queue.append(waiter)
        self._schedule_timer(waiter.deadline)
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            # Granted and cancelled in the same iteration of the loop: pass the slot on.
            if waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.result():
                self.release()
            raise

    def release(self) -> None:
        """Return a slot, to the first call in the queue if there is one."""
        # The slot passes directly to the first waiter: `free` stays 0, so that no newcomer can overtake the queue.
        while self._queue:
            granted = self._queue.popleft().granted
            if not granted.done():
                granted.set_result(True)
                break
        else:
            self.free += 1
        if not self._queue and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule_timer(self, deadline: float) -> None:
        """Keep one timer for all queued calls, set to the earliest deadline."""
        if self._timer is not None:
            if self._timer_due <= deadline:
                return
            self._timer.cancel()
        self._timer_due = deadline
        self._timer = self._clock.timer(max(0.0, deadline - self._clock.elapsed()), self._expire_waiters)

    def _expire_waiters(self) -> None:
        """Turn away the queued calls whose deadline has passed."""
        self._timer, now = None, self._clock.elapsed()
        waiting = [turn for turn in self._queue if not turn.granted.done()]
        self._queue = deque(turn for turn in waiting if turn.deadline > now)
        for turn in waiting:
            if turn.deadline <= now:
                turn.granted.set_result(False)
        if self._queue:
            self._schedule_timer(min(turn.deadline for turn in self._queue))

    async def wait_idle(self) -> None:
        """Wait until no call is in flight; must run in this semaphore's own loop."""
        if self.calls_in_flight:
            self.idle = self.idle or anyio.Event()
            await self.idle.wait()


class ConnectionSlots:
    """Limit the number of concurrent requests per event loop, and count the calls in flight."""

    def __init__(self, size: int, clock: Clock) -> None:
        self.size = size
        self._clock = clock
        self._semaphores: PerLoop[LoopSemaphore] = PerLoop(lambda: LoopSemaphore(size, clock))
        self.is_closed = False
        self.was_used = False

    def call_started(self) -> LoopSemaphore:
        """Count a call that starts, and return the running loop's semaphore.

        Raises:
            NotSentError: The client is closed.
        """
        if self.is_closed:
            raise NotSentError("the client is closed; create a new one")
        self.was_used = True
        semaphore = self._semaphores.get()
        semaphore.calls_in_flight += 1
        return semaphore

    async def wait_for_calls(self, timeout: float) -> None:
        """Refuse new calls, and wait at most ``timeout`` seconds for those in flight in all running loops."""
        self.is_closed = True
        busy = [(loop, lane) for loop, lane in self._semaphores.items() if lane.calls_in_flight and loop.is_running()]
        if not busy:
            return
        with TimeLimit(self._clock, timeout):
            for loop, lane in busy:
                await run_in_loop(loop, lane.wait_idle)
