"""Clocks for tests: time advances when the test says so, or when the code under test waits."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Protocol

import anyio.lowlevel

from bardge_async._runtime.clock import Clock, Timer


class MovableClock(Clock, Protocol):
    """A clock that can be advanced."""

    def advance(self, seconds: float) -> None:
        """Advance by a number of seconds, and call the timers that have expired."""


class SkippingClock:
    """Advance another clock instead of waiting: ``BardgeClient(clock=SkippingClock(sandbox.clock))``.

    Waits between attempts and for ``Retry-After`` then take no real time, and every other reader of that clock sees
    them pass. ``sleeps`` holds the waits, in seconds.
    """

    def __init__(self, clock: MovableClock) -> None:
        self._clock = clock
        self.sleeps: list[float] = []

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return self._clock.wall()

    def elapsed(self) -> float:
        """Return seconds on a monotonic clock."""
        return self._clock.elapsed()

    async def sleep(self, seconds: float) -> None:
        """Advance the clock; concurrent waits of several tasks overlap instead of adding up."""
        self.sleeps.append(seconds)
        until = self._clock.elapsed() + seconds
        # Other tasks start their waits first, from the same time.
        await anyio.lowlevel.checkpoint()
        self._clock.advance(max(0.0, until - self._clock.elapsed()))

    def timer(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` in the running loop once the clock has advanced by ``seconds``."""
        return self._clock.timer(seconds, callback)


class ManualTimer:
    """A pending callback."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Cancel the callback."""
        self.callback = None

    def fire(self) -> None:
        """Call the callback, unless it was cancelled."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class ManualClock:
    """A clock that stands still until the test advances it or the code waits: for unit tests with a fake transport.

    ``wall`` is the initial time, in seconds since the epoch; ``sleeps`` holds the waits, which end immediately.
    """

    def __init__(self, wall: float = 1_780_000_000.0) -> None:
        self._wall = wall
        self._elapsed = 0.0
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._order = itertools.count()
        self.sleeps: list[float] = []

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return self._wall

    def elapsed(self) -> float:
        """Return seconds since the clock was created."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Advance by a number of seconds, and call the expired timers in order."""
        self._wall += seconds
        self._elapsed += seconds
        while self._timers and self._timers[0][0] <= self._elapsed:
            heapq.heappop(self._timers)[2].fire()

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forwards, or back if negative, by a number of seconds while no elapsed time passes."""
        self._wall += seconds

    @property
    def pending_timers(self) -> int:
        """Return the number of timers that have neither expired nor been cancelled."""
        return sum(timer.callback is not None for _, _, timer in self._timers)

    async def sleep(self, seconds: float) -> None:
        """Advance by the wait, without waiting."""
        self.sleeps.append(seconds)
        await anyio.lowlevel.checkpoint()
        self.advance(seconds)

    def timer(self, seconds: float, callback: Callable[[], object]) -> ManualTimer:
        """Call ``callback`` once the clock has advanced by ``seconds``."""
        timer = ManualTimer(callback)
        # The counter orders timers with the same deadline; timers themselves cannot be compared.
        heapq.heappush(self._timers, (self._elapsed + seconds, next(self._order), timer))
        return timer
