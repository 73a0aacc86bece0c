"""Clocks that only this project's tests need; all others use ``bardge_async.testing.ManualClock``."""

from __future__ import annotations

from typing import ClassVar

import anyio

from bardge_async.testing import ManualClock


class PausedClock(ManualClock):
    """A ManualClock on which a wait ends only when the test advances the clock that far.

    Not public: it is for tests that look at the library while it waits, and code that waits on it without such a test
    never returns. Elapsed time starts at ``STARTED_AT``, as it does for a process on a machine that was booted earlier.
    """

    STARTED_AT: ClassVar = 1000.0

    def __init__(self, wall: float = 1_780_000_000.0) -> None:
        super().__init__(wall - self.STARTED_AT)
        self.advance(self.STARTED_AT)

    async def sleep(self, seconds: float) -> None:
        """Wait until ``advance`` reaches the end of the wait."""
        self.sleeps.append(seconds)
        done = anyio.Event()
        timer = self.timer(seconds, done.set)
        try:
            await done.wait()
        finally:
            timer.cancel()


class SuspendableClock(ManualClock):
    """A ManualClock of a machine that can be suspended: wall and elapsed time pass, and no timer fires.

    Not public: the clocks of users' tests have no reason to contradict their own timers.
    """

    suspended = 0.0

    def suspend(self, seconds: float) -> None:
        """Let time pass without firing timers, by a number of seconds."""
        self.suspended += seconds

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return super().wall() + self.suspended

    def elapsed(self) -> float:
        """Return seconds since the clock was created."""
        return super().elapsed() + self.suspended
