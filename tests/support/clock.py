"""A clock that moves only when told to, or when somebody sleeps on it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import anyio


class ManualTimer:
    """A callback that is still to come."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualClock:
    """Implement the library's Clock: ``sleeps`` records every wait, and sleeping moves the time at once.

    With ``auto=False`` a sleeper waits until ``advance`` reaches its time.
    """

    def __init__(self, wall: float = 1_780_000_000.0, *, auto: bool = True) -> None:
        self._wall = wall
        self._elapsed = 1000.0
        self._auto = auto
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._order = itertools.count()
        self.sleeps: list[float] = []

    def wall(self) -> float:
        return self._wall

    def elapsed(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        if self._auto:
            self.advance(seconds)
            await anyio.lowlevel.checkpoint()
            return
        done = anyio.Event()
        timer = self.timer(seconds, done.set)
        try:
            await done.wait()
        finally:
            timer.cancel()

    def timer(self, seconds: float, callback: Callable[[], object]) -> ManualTimer:
        timer = ManualTimer(callback)
        heapq.heappush(self._timers, (self._elapsed + seconds, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Move both clocks and call what has come due, in order."""
        self._wall += seconds
        self._elapsed += seconds
        while self._timers and self._timers[0][0] <= self._elapsed:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled:
                timer.callback()

    def jump_wall(self, seconds: float) -> None:
        """Move the wall clock alone, as an operator or NTP does."""
        self._wall += seconds

    @property
    def waiting(self) -> int:
        """How many timers are still to come."""
        return sum(not timer.cancelled for _, _, timer in self._timers)
