"""The sandbox's time: it runs with real time and can be moved forward."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from typing import Final

from bardge_async.errors import InvalidArgumentError

_MAX_ADVANCE: Final = 10 * 365 * 86_400


class _Timer:
    """A callback that is still to come, in the loop that asked for it."""

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
        """Look again once the clock was moved; safe from any thread."""
        if self._loop.is_closed():
            self.cancel()
        else:
            self._loop.call_soon_threadsafe(self._fire_if_due)

    def cancel(self) -> None:
        """Let the callback never be called."""
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
        if self._clock.elapsed() < self._due:
            self._start_timer()
        else:
            self.cancel()
            self._callback()


class SandboxClock:
    """Tell the sandbox's time and move it: window, expiry, sessions, codes and tokens all read it.

    It runs with real time, plus what was advanced. ``start`` is an aware instant to begin at; by default it is now.
    It is a :class:`Clock` as well: ``BardgeClient(clock=sandbox.clock)`` moves with the sandbox.
    """

    def __init__(self, start: dt.datetime | None = None) -> None:
        self._origin = time.time() if start is None else start.timestamp()
        self._started = time.monotonic()
        self._advanced = 0.0
        self.timers: set[_Timer] = set()

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return self._origin + self.elapsed()

    def elapsed(self) -> float:
        """Return seconds since the clock was made."""
        return time.monotonic() - self._started + self._advanced

    def now(self) -> dt.datetime:
        """Return the time as an aware UTC instant."""
        return dt.datetime.fromtimestamp(self.wall(), dt.UTC)

    def advance(self, seconds: float) -> None:
        """Move the time forward by so many seconds and wake whatever waits on it; safe from any thread.

        Raises:
            InvalidArgumentError: Negative seconds, a server's clock does not run backwards here; or more than ten years.
        """
        if not 0 <= seconds <= _MAX_ADVANCE:
            raise InvalidArgumentError(f"seconds: expected 0 to {_MAX_ADVANCE}, got {seconds!r}")
        self._advanced += seconds
        for timer in tuple(self.timers):
            timer.schedule_check()

    async def sleep(self, seconds: float) -> None:
        """Wait until so many seconds of this clock have passed."""
        done = asyncio.Event()
        timer = self.timer(seconds, done.set)
        try:
            await done.wait()
        finally:
            timer.cancel()

    def timer(self, seconds: float, callback: Callable[[], object]) -> _Timer:
        """Call ``callback`` in the running loop once so many seconds of this clock have passed."""
        return _Timer(self, self.elapsed() + seconds, callback)
