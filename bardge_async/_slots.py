"""Places for requests under way, per event loop: first come, first served, and countable for a clean close."""

from __future__ import annotations

import anyio

from bardge_async._clock import Clock, TimeLimit
from bardge_async._loops import PerLoop, run_in
from bardge_async._pace import Pacer, Rate
from bardge_async.errors import NotSentError, PoolTimeoutError


class Lane:
    """One loop's places, and how many calls it has under way."""

    def __init__(self, size: int, clock: Clock) -> None:
        self._clock = clock
        self.free = anyio.Semaphore(size)
        self.pace = Pacer()
        self.calls = 0
        self.idle: anyio.Event | None = None

    def leave(self) -> None:
        """Count a call out."""
        self.calls -= 1
        if self.calls == 0 and self.idle is not None:
            self.idle.set()

    def take(self) -> bool:
        """Take a place if there is one and nobody waits in line."""
        try:
            self.free.acquire_nowait()
        except anyio.WouldBlock:
            return False
        return True

    async def wait(self, seconds: float) -> None:
        """Take a place, waiting in line for at most a number of seconds.

        Raises:
            PoolTimeoutError: None came free in time.
        """
        with TimeLimit(self._clock, seconds):
            await self.free.acquire()
            return
        error = PoolTimeoutError("no connection came free in time; raise max_connections or timeout.pool, or send less")
        error.timed_out = True
        raise error

    def release(self) -> None:
        """Give a place back to the first in line."""
        self.free.release()

    async def emptied(self) -> None:
        """Wait until no call is under way; to be run in the lane's own loop."""
        if self.calls:
            self.idle = self.idle or anyio.Event()
            await self.idle.wait()


class Slots:
    """Limit how many requests are under way at once; count the calls that run."""

    def __init__(self, size: int, clock: Clock) -> None:
        self.size = size
        self._clock = clock
        self._lanes: PerLoop[Lane] = PerLoop(lambda: Lane(size, clock))
        self.rate = Rate()
        self.closed = False
        self.used = False

    def lane(self) -> Lane:
        """Return the running loop's lane."""
        return self._lanes.get()

    def enter(self) -> Lane:
        """Count a call in, and return the running loop's lane.

        Raises:
            NotSentError: The client is closed.
        """
        if self.closed:
            raise NotSentError("the client is closed; make a new one")
        self.used = True
        lane = self._lanes.get()
        lane.calls += 1
        return lane

    async def drain(self, seconds: float) -> None:
        """Let the calls of all loops finish, for at most a number of seconds."""
        self.closed = True
        busy = [(loop, lane) for loop, lane in self._lanes.items() if lane.calls and loop.is_running()]
        if not busy:
            return
        with TimeLimit(self._clock, seconds):
            for loop, lane in busy:
                await run_in(loop, lane.emptied)
