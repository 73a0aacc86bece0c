"""The sandbox's time: it runs with real time and can be moved forward."""

from __future__ import annotations

import asyncio
import datetime as dt
import time

import anyio

from bardge_async.errors import InvalidArgumentError


class SandboxClock:
    """Tell the sandbox's time and move it: window, expiry, sessions, codes and tokens all read it.

    It runs with real time, plus what was advanced. ``start`` is an aware instant to begin at; by default it is now.
    """

    def __init__(self, start: dt.datetime | None = None) -> None:
        self._origin = time.time() if start is None else start.timestamp()
        self._began = time.monotonic()
        self._advanced = 0.0
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def wall(self) -> float:
        """Return seconds since the epoch."""
        return self._origin + (time.monotonic() - self._began) + self._advanced

    def now(self) -> dt.datetime:
        """Return the time as an aware UTC instant."""
        return dt.datetime.fromtimestamp(self.wall(), dt.UTC)

    def advance(self, seconds: float) -> None:
        """Move the time forward by so many seconds and wake whatever waits on it; safe from any thread.

        Raises:
            InvalidArgumentError: Negative seconds: a server's clock does not run backwards here.
        """
        if seconds < 0:
            raise InvalidArgumentError(f"seconds: expected zero or more, got {seconds!r}")
        self._advanced += seconds
        for loop, moved in tuple(self._waiters):
            loop.call_soon_threadsafe(moved.set)

    async def sleep(self, seconds: float) -> None:
        """Wait until so many seconds of this clock have passed."""
        until = self.wall() + seconds
        while (left := until - self.wall()) > 0:
            waiter = (asyncio.get_running_loop(), asyncio.Event())
            self._waiters.add(waiter)
            try:
                with anyio.move_on_after(left):
                    await waiter[1].wait()
            finally:
                self._waiters.discard(waiter)
