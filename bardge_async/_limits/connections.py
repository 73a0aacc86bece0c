"""Places for requests under way, per event loop: first come, first served, and countable for a clean close."""

from __future__ import annotations

import asyncio
from collections import deque

import anyio
import attrs

from bardge_async._limits.pacing import Pacer, Rate
from bardge_async._runtime.clock import Clock, TimeLimit, Timer
from bardge_async._runtime.loops import PerLoop, run_in
from bardge_async.errors import NotSentError


@attrs.define(eq=False)
class _Turn:
    """A call that waits in line: whether it got a place, and until when it waits."""

    granted: asyncio.Future[bool]
    until: float


class Lane:
    """One loop's places, and how many calls it has under way; while somebody waits in line, none is ``free``."""

    def __init__(self, size: int, clock: Clock) -> None:
        self._clock = clock
        self.free = size
        self._line: deque[_Turn] = deque()
        self._timer: Timer | None = None
        self._due = 0.0
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
        if not self.free:
            return False
        self.free -= 1
        return True

    async def wait(self, seconds: float) -> bool:
        """Take a place, waiting in line for at most a number of seconds; False if none came free in time."""
        if self.take():
            return True
        turn = _Turn(asyncio.get_running_loop().create_future(), self._clock.elapsed() + seconds)
        self._line.append(turn)
        self._watch(turn.until)
        try:
            return await turn.granted
        except asyncio.CancelledError:
            if turn.granted.done() and not turn.granted.cancelled() and turn.granted.result():
                self.release()
            raise

    def release(self) -> None:
        """Give a place back to the first in line."""
        while self._line:
            turn = self._line.popleft().granted
            if not turn.done():
                turn.set_result(True)
                break
        else:
            self.free += 1
        if not self._line and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self, until: float) -> None:
        """Keep one timer for all who wait, for whoever's time is up first."""
        if self._timer is not None:
            if self._due <= until:
                return
            self._timer.cancel()
        self._due = until
        self._timer = self._clock.timer(max(0.0, until - self._clock.elapsed()), self._expire)

    def _expire(self) -> None:
        """Send away those whose time is up."""
        self._timer, now = None, self._clock.elapsed()
        waiting = [turn for turn in self._line if not turn.granted.done()]
        self._line = deque(turn for turn in waiting if turn.until > now)
        for turn in waiting:
            if turn.until <= now:
                turn.granted.set_result(False)
        if self._line:
            self._watch(min(turn.until for turn in self._line))

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
