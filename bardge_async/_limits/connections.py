"""Places for requests under way, per event loop: first come, first served, and countable for a clean close."""

from __future__ import annotations

import asyncio
from collections import deque

import anyio
import attrs

from bardge_async._limits.pacing import AdaptiveLimit, GcraRate
from bardge_async._runtime.clock import Clock, TimeLimit, Timer
from bardge_async._runtime.loops import PerLoop, run_in_loop
from bardge_async.errors import NotSentError


@attrs.define(eq=False)
class _Waiter:
    """A call that waits in line: whether it got a place, and until when it waits."""

    granted: asyncio.Future[bool]
    deadline: float


class LoopSemaphore:
    """One loop's places, and how many calls it has under way; while somebody waits in line, none is ``free``."""

    def __init__(self, size: int, clock: Clock) -> None:
        self._clock = clock
        self.free = size
        self._queue: deque[_Waiter] = deque()
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self.adaptive_limit = AdaptiveLimit()
        self.calls_in_flight = 0
        self.idle: anyio.Event | None = None

    def call_finished(self) -> None:
        """Count a call out."""
        self.calls_in_flight -= 1
        if self.calls_in_flight == 0 and self.idle is not None:
            self.idle.set()

    def try_acquire(self) -> bool:
        """Take a place if there is one and nobody waits in line."""
        if not self.free:
            return False
        self.free -= 1
        return True

    async def acquire(self, timeout: float) -> bool:
        """Take a place, waiting in line for at most a number of seconds; False if none came free in time."""
        if self.try_acquire():
            return True
        waiter = _Waiter(asyncio.get_running_loop().create_future(), self._clock.elapsed() + timeout)
        self._queue.append(waiter)
        self._schedule_timer(waiter.deadline)
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.result():
                self.release()
            raise

    def release(self) -> None:
        """Give a place back to the first in line."""
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
        """Keep one timer for all who wait, for whoever's time is up first."""
        if self._timer is not None:
            if self._timer_due <= deadline:
                return
            self._timer.cancel()
        self._timer_due = deadline
        self._timer = self._clock.timer(max(0.0, deadline - self._clock.elapsed()), self._expire_waiters)

    def _expire_waiters(self) -> None:
        """Send away those whose time is up."""
        self._timer, now = None, self._clock.elapsed()
        waiting = [turn for turn in self._queue if not turn.granted.done()]
        self._queue = deque(turn for turn in waiting if turn.deadline > now)
        for turn in waiting:
            if turn.deadline <= now:
                turn.granted.set_result(False)
        if self._queue:
            self._schedule_timer(min(turn.deadline for turn in self._queue))

    async def wait_idle(self) -> None:
        """Wait until no call is under way; to be run in the lane's own loop."""
        if self.calls_in_flight:
            self.idle = self.idle or anyio.Event()
            await self.idle.wait()


class ConnectionSlots:
    """Limit how many requests are under way at once; count the calls that run."""

    def __init__(self, size: int, clock: Clock) -> None:
        self.size = size
        self._clock = clock
        self._semaphores: PerLoop[LoopSemaphore] = PerLoop(lambda: LoopSemaphore(size, clock))
        self.rate = GcraRate()
        self.is_closed = False
        self.was_used = False

    def loop_semaphore(self) -> LoopSemaphore:
        """Return the running loop's lane."""
        return self._semaphores.get()

    def call_started(self) -> LoopSemaphore:
        """Count a call in, and return the running loop's lane.

        Raises:
            NotSentError: The client is closed.
        """
        if self.is_closed:
            raise NotSentError("the client is closed; make a new one")
        self.was_used = True
        semaphore = self._semaphores.get()
        semaphore.calls_in_flight += 1
        return semaphore

    async def wait_for_calls(self, timeout: float) -> None:
        """Let the calls of all loops finish, for at most a number of seconds."""
        self.is_closed = True
        busy = [(loop, lane) for loop, lane in self._semaphores.items() if lane.calls_in_flight and loop.is_running()]
        if not busy:
            return
        with TimeLimit(self._clock, timeout):
            for loop, lane in busy:
                await run_in_loop(loop, lane.wait_idle)
