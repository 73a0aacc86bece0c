"""The sandbox's clock: real time plus whatever was advanced."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from typing import Final

from bardge_async._core.arguments import check_number
from bardge_async.errors import ConfigurationError

_MAX_ADVANCE: Final = 10 * 365 * 86_400


class _Timer:
    """One pending callback, on the event loop that asked for it."""

    def __init__(self, clock: SandboxClock, due: float, callback: Callable[[], object]) -> None:
        self._clock = clock
        self._due = due
        self._callback = callback
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._done = False
        clock.timers.add(self)
        self._start_timer()

    def schedule_check(self) -> None:
        """Check again whether the callback is due, after the clock was advanced; safe from any thread."""
        # The loop ended without cancelling its timer.
        if self._loop.is_closed():
            self.cancel()
        else:
            self._loop.call_soon_threadsafe(self._fire_if_due)

    def cancel(self) -> None:
        """Cancel the callback."""
        self._done = True
        self._clock.timers.discard(self)
        if self._handle is not None:
            self._handle.cancel()

    def _start_timer(self) -> None:
        self._handle = self._loop.call_later(max(0.0, self._due - self._clock.elapsed()), self._fire_if_due)

    def _fire_if_due(self) -> None:
        if self._done:
            return
        if self._handle is not None:
            self._handle.cancel()
        # Advancing the clock checks every timer: one that is not due yet waits for the rest.
        if self._clock.elapsed() < self._due:
            self._start_timer()
        else:
            self.cancel()
            self._callback()


class SandboxClock:
    """Read and advance the sandbox's time, on which window, expiry, sessions, codes and tokens depend.

    It follows real time, plus what was advanced. ``start`` is the aware instant to start at, by default now. It is a
    :class:`Clock` as well: with ``BardgeClient(clock=sandbox.clock)`` client and sandbox advance together.

    Raises:
        ConfigurationError: ``start`` is not a datetime with a time zone.
    """

    def __init__(self, start: dt.datetime | None = None) -> None:
        given: object = start
        if given is not None and (not isinstance(given, dt.datetime) or given.tzinfo is None):
            raise ConfigurationError(f"start: expected a datetime with a time zone, got {start!r:.60}")
        self._origin = time.time() if start is None else start.timestamp()
        self._started = time.monotonic()
        self._advanced = 0.0
        self.timers: set[_Timer] = set()

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return self._origin + self.elapsed()

    def elapsed(self) -> float:
        """Return seconds since the clock was created."""
        return time.monotonic() - self._started + self._advanced

    def now(self) -> dt.datetime:
        """Return the current time as an aware UTC instant."""
        return dt.datetime.fromtimestamp(self.wall(), dt.UTC)

    def advance(self, seconds: float) -> None:
        """Advance the time by ``seconds`` and fire the timers that are due; safe from any thread.

        Raises:
            InvalidArgumentError: Negative seconds (the clock does not run backwards), or more than ten years.
        """
        check_number("seconds", seconds, 0, _MAX_ADVANCE)
        self._advanced += seconds
        for timer in tuple(self.timers):
            timer.schedule_check()

    async def sleep(self, seconds: float) -> None:
        """Wait until ``seconds`` of this clock have passed."""
        done = asyncio.Event()
        timer = self.timer(seconds, done.set)
        try:
            await done.wait()
        finally:
            timer.cancel()

    def timer(self, seconds: float, callback: Callable[[], object]) -> _Timer:
        """Call ``callback`` in the running loop after ``seconds`` of this clock; ``cancel()`` prevents it."""
        return _Timer(self, self.elapsed() + seconds, callback)
