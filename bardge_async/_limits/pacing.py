"""How much is begun at once, and how fast: what the batches of one client have in common."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from typing import Final

_FIRST: Final = 16
_FLAT: Final = 1.5
"""An answer may take so many times as long as at the best of times before growth stops."""
_QUICK: Final = 0.02
"""Seconds; answers that come within them show no strain, however much they vary."""
_BETTER: Final = 1.05
_DRIFT: Final = 0.02
"""Share by which the best of times forgets with every round, for servers that become slower for good."""
_ABOVE: Final = 0.03


class Pacer:
    """Limit what runs at once in one event loop by what the server bears: grow while answers come as fast, else halve.

    It begins with 16, doubles until the first sign of strain and adds one a round from then on; a round is as many answers as
    may run at once. A 429, a 503 or a timeout halves it, once for all requests that were under way.
    """

    def __init__(self) -> None:
        self.watched = 0
        self.running = 0
        self.backoffs = 0
        self.limit = float(_FIRST)
        self.latency = 0.0
        self._most = 1
        self._doubling = True
        self._cut_at = -math.inf
        self._best = math.inf
        self._fastest = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._since: float | None = None
        self._seconds = 0.0
        self._answers = self._peak = 0

    def join(self, concurrency: int) -> None:
        """Begin to limit a batch, which wants so many at once."""
        self._most = max(self._most, concurrency) if self.watched else concurrency
        self.limit = max(1.0, min(self.limit, float(self._most)))
        if not self.watched:
            self._begin_round(None)
        self.watched += 1

    def leave(self) -> None:
        """End to limit a batch."""
        self.watched -= 1

    async def enter(self) -> None:
        """Wait in line until one more may run."""
        if self.running < int(self.limit) and not self._waiting:
            self.running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()
            else:
                self._waiting.remove(turn)
            raise

    def give_back(self) -> None:
        """Count one out, and let in who is first in line."""
        self.running -= 1
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self.running < int(self.limit):
            turn = self._waiting.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)

    def saw(self, strained: bool, *, begun: float, seconds: float) -> None:
        """Take note of one answer, or of its absence; times are those of ``Clock.elapsed``."""
        now = begun + seconds
        if strained:
            if begun >= self._cut_at:
                self._cut(now)
            return
        if self._since is None:
            self._since = begun
        self._answers += 1
        self._seconds += seconds
        self._peak = max(self._peak, self.running)
        if self._answers >= int(self.limit):
            self._end_round(now)

    def _cut(self, now: float) -> None:
        self.backoffs += 1
        self.limit = max(1.0, self.limit / 2)
        self._doubling = False
        self._cut_at = now
        self._begin_round(now)

    def _end_round(self, now: float) -> None:
        self.latency = self._seconds / self._answers
        since = now if self._since is None else self._since
        rate = self._answers / (now - since) if now > since else 0.0
        flat = self.latency <= max(_FLAT * self._best, _QUICK) or rate > _BETTER * self._fastest
        if flat and self._peak >= int(self.limit):
            self.limit = min(float(self._most), self.limit * 2 if self._doubling else self.limit + 1)
        else:
            self._doubling = self._doubling and flat
        self._best = min(self._best * (1 + _DRIFT), self.latency)
        self._fastest = max(self._fastest * (1 - _DRIFT), rate)
        self._begin_round(now)
        self._admit()

    def _begin_round(self, now: float | None) -> None:
        self._since = now
        self._answers = 0
        self._seconds = 0.0
        self._peak = 0


class Rate:
    """Space out what the batches of one client begin, in all of its loops and threads.

    In any second at most ``per_second`` begin, and ``max(1, 3 %)`` more: what a late wake-up lost is made up for within
    that (generic cell rate algorithm).
    """

    def __init__(self) -> None:
        self._due = -math.inf
        self._lock = threading.Lock()

    def wait(self, per_second: float, now: float, *, take: bool) -> float:
        """Return 0 where a turn is free, having taken it if so told, else the seconds until one is."""
        interval = 1.0 / per_second
        slack = (max(1.0, _ABOVE * per_second) - 1.0) * interval
        with self._lock:
            early = self._due - slack - now
            if early > 0:
                return early
            if take:
                self._due = max(now, self._due) + interval
        return 0.0
