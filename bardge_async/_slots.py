"""Places for requests under way, per event loop: first come, first served, and countable for a clean close."""

from __future__ import annotations

import anyio

from bardge_async._clock import Clock
from bardge_async._loops import PerLoop, run_in
from bardge_async.errors import NotSentError, PoolTimeoutError


class _Lane:
    """One loop's places, and how many calls it has under way."""

    def __init__(self, size: int) -> None:
        self.free = anyio.Semaphore(size)
        self.calls = 0
        self.idle: anyio.Event | None = None

    async def emptied(self) -> None:
        """Wait until no call is under way; to be run in the lane's own loop."""
        if self.calls:
            self.idle = self.idle or anyio.Event()
            await self.idle.wait()


class Slots:
    """Limit how many requests are under way at once; count the calls that run."""

    def __init__(self, size: int, clock: Clock) -> None:
        self._clock = clock
        self._lanes: PerLoop[_Lane] = PerLoop(lambda: _Lane(size))
        self.closed = False
        self.used = False

    def enter(self) -> None:
        """Count a call in.

        Raises:
            NotSentError: The client is closed.
        """
        if self.closed:
            raise NotSentError("the client is closed; make a new one")
        self.used = True
        self._lanes.get().calls += 1

    def leave(self) -> None:
        """Count a call out."""
        lane = self._lanes.get()
        lane.calls -= 1
        if lane.calls == 0 and lane.idle is not None:
            lane.idle.set()

    async def acquire(self, seconds: float) -> None:
        """Take a place, waiting in line for at most a number of seconds.

        Raises:
            PoolTimeoutError: None came free in time.
        """
        free = self._lanes.get().free
        try:
            free.acquire_nowait()
        except anyio.WouldBlock:
            await self._wait(free, seconds)

    async def _wait(self, free: anyio.Semaphore, seconds: float) -> None:
        with anyio.CancelScope() as scope:
            timer = self._clock.timer(seconds, scope.cancel)
            try:
                await free.acquire()
                return
            finally:
                timer.cancel()
        error = PoolTimeoutError("no connection came free in time; raise max_connections or timeout.pool, or send less")
        error.timed_out = True
        raise error

    def release(self) -> None:
        """Give a place back to the first in line."""
        self._lanes.get().free.release()

    async def drain(self, seconds: float) -> None:
        """Let the calls of all loops finish, for at most a number of seconds."""
        self.closed = True
        busy = [(loop, lane) for loop, lane in self._lanes.items() if lane.calls and loop.is_running()]
        if not busy:
            return
        with anyio.CancelScope() as scope:
            timer = self._clock.timer(seconds, scope.cancel)
            try:
                for loop, lane in busy:
                    await run_in(loop, lane.emptied)
            finally:
                timer.cancel()
