"""Injected time: all waits and measurements use a :class:`Clock`."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

import anyio

from bardge_async._core.entry import WallLog
from bardge_async._core.server_clock import ServerClock, parse_http_date
from bardge_async._core.window import ClockReading, make_reading
from bardge_async.errors import ConfigurationError

__all__ = ["Clock", "ClockReader", "SystemClock", "TimeLimit", "Timer"]

# On Linux, time.monotonic() stops while the machine sleeps; the server's replay window does not.
_BOOT_TIME: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)
_read_clock: Final[Callable[[int], float]] = getattr(time, "clock_gettime", lambda _: time.monotonic())
_RESOLUTION: Final = 1e-9
"""Seconds within which two readings count as simultaneous."""


class Timer(Protocol):
    """A scheduled callback."""

    def cancel(self) -> object:
        """Cancel the callback."""


class Clock(Protocol):
    """Tell the time, sleep and schedule callbacks; pass your own as ``BardgeClient(clock=...)``."""

    def wall(self) -> float:
        """Return the seconds since 1970-01-01 UTC; may jump."""
        ...

    def elapsed(self) -> float:
        """Return seconds that never go back and that include time in which the machine sleeps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for a number of seconds."""

    def timer(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` in the running loop after a number of seconds."""
        ...


class ClockReader:
    """Read the clocks together; remember the highest wall times read, and the server's time."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._boot: str = getattr(clock, "boot", "")
        self._log = WallLog()
        self._server = ServerClock()
        self._last_date = ""
        # The last reading while the wall clock only rises; it is in the log once anything else happens.
        self._last_wall = self._last_elapsed = -math.inf

    def observe_date(self, text: str) -> None:
        """Include the server's time from an answer that has just arrived: its ``Date``."""
        if text == self._last_date:
            return
        date = parse_http_date(text)
        if date is not None and self._server.observe_date(date, self.clock.elapsed()):
            self._last_date = text

    def observe(self, log: WallLog) -> None:
        """Include the wall times that other or earlier processes have read."""
        theirs = log.peaks.get(self._boot, ())
        is_known = log.highest <= self._last_wall and len(theirs) == 1 and theirs[0][0] <= self._last_elapsed
        if is_known and self._boot not in log.behind:
            return
        self._log_last_reading()
        self._log.merge(log)

    def now(self) -> ClockReading:
        """Return a reading of the clocks."""
        clock = self.clock
        wall, elapsed = clock.wall(), clock.elapsed()
        if wall >= self._last_wall > 0.0 and elapsed > self._last_elapsed:
            self._last_wall, self._last_elapsed = wall, elapsed
            # As ServerClock.tell_time: every attempt gets here.
            offset = self._server.offset
            return make_reading(wall, elapsed, wall, self._boot, None if offset is None else offset + elapsed)
        self._log_last_reading()
        return self._read_with_log(wall, elapsed)

    def _log_last_reading(self) -> None:
        if self._last_wall > 0.0:
            self._log.add(self._last_wall, self._last_elapsed, self._boot)
            self._last_wall = self._last_elapsed = -math.inf

    def _read_with_log(self, wall: float, elapsed: float) -> ClockReading:
        """Return a reading that is ordered among those on record, and remembers the higher ones."""
        log = self._log
        known = log.peaks.get(self._boot)
        if known is not None and elapsed <= known[-1][0] < elapsed + _RESOLUTION:
            # Readings are ordered by elapsed time, also if the wall clock was set back within its resolution.
            elapsed = known[-1][0] if wall >= known[-1][1] else math.nextafter(known[-1][0], math.inf)
        peaks = log.add(wall, elapsed, self._boot)
        is_behind = self._boot in log.behind
        if len(peaks) == 1 and wall >= log.highest and not is_behind:
            self._last_wall, self._last_elapsed = wall, elapsed
            peaks = ()
        return ClockReading(wall, elapsed, log.highest, self._boot, self._server.tell_time(elapsed), peaks, is_behind)


class TimeLimit:
    """Cancel the body after a number of seconds by a clock; the scope's ``cancelled_caught`` is then True."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._scope = anyio.CancelScope()

    def __enter__(self) -> anyio.CancelScope:
        scope = self._scope.__enter__()
        self._timer = self._clock.timer(self._seconds, scope.cancel)
        return scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._timer.cancel()
        return self._scope.__exit__(kind, error, trace)


def choose_clock(clock: Clock | None) -> Clock:
    """Return the clock, by default the machine's.

    Raises:
        ConfigurationError: It is no clock.
    """
    if clock is None:
        return SystemClock()
    if not callable(getattr(clock, "elapsed", None)):
        raise ConfigurationError(f"clock: expected a Clock with a method elapsed(), got {clock!r:.40}")
    return clock


def _read_boot_id() -> str:
    """Return the machine's boot id; if the system has none, a random id of this process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return os.urandom(8).hex()


class SystemClock:
    """The machine's time; ``boot`` identifies the boot from which ``elapsed`` counts."""

    def __init__(self) -> None:
        self.boot = _read_boot_id()

    def wall(self) -> float:
        """Return the seconds since 1970-01-01 UTC."""
        return time.time()

    def elapsed(self) -> float:
        """Return the seconds since the boot, including time asleep if the system counts it."""
        return time.monotonic() if _BOOT_TIME is None else _read_clock(_BOOT_TIME)

    async def sleep(self, seconds: float) -> None:
        """Sleep for a number of seconds."""
        await anyio.sleep(seconds)

    def timer(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` in the running loop after a number of seconds."""
        return asyncio.get_running_loop().call_later(seconds, callback)
