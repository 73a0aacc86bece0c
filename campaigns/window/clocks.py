"""The client's clocks, and what happens to them, at any reading: steps, wrong readings, pauses.

A pause stops both clocks while the server's time goes on, as when a host pauses its guest. Only a client that asks for
the server's time (``ReplayWindow(probe=True)``) is promised anything then, and only if no pause longer than the margin
falls between the server's answer and the request that relies on it: that request counts as sent when the pause began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from campaigns.window.virtual import WALL, VirtualLoop


class ClientClock:
    """Implement the library's ``Clock`` in the loop's virtual time; ``skew`` is the error of its wall clock.

    ``boot`` identifies the boot, which was at ``booted_at`` by the loop's time.
    """

    resolution = 1e-6
    """Shortest wait: one that is lost in rounding would never end."""

    def __init__(self, boot: str = "boot-0", booted_at: float = 0.0, skew: float = 0.0) -> None:
        self.boot = boot
        self.skew = skew
        self.paused_at = -1.0
        self.booted_at = booted_at
        self._loop = cast("VirtualLoop", asyncio.get_running_loop())
        self._seconds_paused = 0.0
        self._wrong_readings = 0
        self._reading_error = 0.0
        self._countdown = 0
        self._change: Callable[[], None] | None = None

    def wall(self) -> float:
        self._count_reading()
        wall = WALL + self._loop.time() - self._seconds_paused + self.skew
        if self._wrong_readings:
            self._wrong_readings -= 1
            return wall + self._reading_error
        return wall

    def elapsed(self) -> float:
        self._count_reading()
        return self._loop.time() - self._seconds_paused - self.booted_at

    async def sleep(self, seconds: float) -> None:
        until = self.elapsed() + seconds
        while (left := until - self.elapsed()) > 0:  # noqa: ASYNC110 - a pause makes the wait longer
            await asyncio.sleep(max(left, self.resolution))

    def timer(self, seconds: float, callback: Callable[[], object]) -> ClientTimer:
        return ClientTimer(self, self.elapsed() + seconds, callback)

    def change_later(self, readings: int, change: Callable[[], None]) -> None:
        """Make a change immediately before one of the next readings: between any two steps of the client."""
        self._countdown, self._change = readings, change

    def misread(self, error: float, count: int) -> None:
        """Show a wrong wall time for a number of readings."""
        self._reading_error, self._wrong_readings = error, count

    def pause(self, seconds: float) -> None:
        """Stand still while the server's time goes on."""
        self.paused_at = self._loop.time()
        self._seconds_paused += seconds
        self._loop.jump(seconds)

    def _count_reading(self) -> None:
        if self._countdown:
            self._countdown -= 1
            if not self._countdown and self._change is not None:
                self._change()


class WallClock(ClientClock):
    """A clock without a boot-time clock of its own, for a control: elapsed time is what the wall clock shows."""

    resolution = 0.1
    _highest = 0.0

    def elapsed(self) -> float:
        self._highest = max(self._highest, self.wall() - WALL)
        return self._highest


class ClientTimer:
    """A timer that waits longer if the clock stood still."""

    def __init__(self, clock: ClientClock, due: float, callback: Callable[[], object]) -> None:
        self._clock = clock
        self._due = due
        self._callback = callback
        self._schedule()

    def _schedule(self) -> None:
        left = self._due - self._clock.elapsed()
        self._handle = asyncio.get_running_loop().call_later(
            max(left, self._clock.resolution) if left > 0 else 0.0, self._fire
        )

    def _fire(self) -> None:
        if self._clock.elapsed() < self._due:
            self._schedule()
        else:
            self._callback()

    def cancel(self) -> None:
        self._handle.cancel()
