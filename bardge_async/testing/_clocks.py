"""Clocks for tests: time that moves when the test says so, or when the code under test waits."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Protocol

import anyio.lowlevel

from bardge_async._runtime.clock import Clock, Timer


class MovableClock(Clock, Protocol):
    """A clock that can be moved forward."""

    def advance(self, seconds: float) -> None:
        """Move it by so many seconds, and call what has come due."""


class SkippingClock:
    """Read another clock, and move it in place of waiting: ``BardgeClient(clock=SkippingClock(sandbox.clock))``.

    Waits between attempts and for ``Retry-After`` then take no time, and whoever else reads the clock sees them pass.
    ``sleeps`` holds them, in seconds.
    """

    def __init__(self, clock: MovableClock) -> None:
        self._clock = clock
        self.sleeps: list[float] = []

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return self._clock.wall()

    def elapsed(self) -> float:
        """Return seconds that never go back."""
        return self._clock.elapsed()

    async def sleep(self, seconds: float) -> None:
        """Move the clock on; waits of several tasks at once pass together, not one after the other."""
        self.sleeps.append(seconds)
        until = self._clock.elapsed() + seconds
        await anyio.lowlevel.checkpoint()
        self._clock.advance(max(0.0, until - self._clock.elapsed()))

    def timer(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` in the running loop once the clock has moved so far."""
        return self._clock.timer(seconds, callback)


class ManualTimer:
    """A callback that is still to come."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Let the callback never be called."""
        self.callback = None

    def fire(self) -> None:
        """Call back, unless cancelled."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class ManualClock:
    """Stand still until told to move, or until somebody waits: for unit tests beside :class:`FakeTransport`.

    ``wall`` is where it begins, in seconds since the epoch; ``sleeps`` holds the waits, which end at once.
    """

    def __init__(self, wall: float = 1_780_000_000.0) -> None:
        self._started_at = wall
        self._elapsed = 0.0
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._order = itertools.count()
        self.sleeps: list[float] = []

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return self._started_at + self._elapsed

    def elapsed(self) -> float:
        """Return seconds since the clock was made."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move by so many seconds and call what has come due, in order."""
        self._elapsed += seconds
        while self._timers and self._timers[0][0] <= self._elapsed:
            heapq.heappop(self._timers)[2].fire()

    async def sleep(self, seconds: float) -> None:
        """Move on by the wait."""
        self.sleeps.append(seconds)
        await anyio.lowlevel.checkpoint()
        self.advance(seconds)

    def timer(self, seconds: float, callback: Callable[[], object]) -> ManualTimer:
        """Call ``callback`` once the clock has moved so far."""
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (self._elapsed + seconds, next(self._order), timer))
        return timer
