"""How much is begun at once, and how fast: what the batches of one client have in common."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from typing import Final

_INITIAL_LIMIT: Final = 16
_LATENCY_TOLERANCE: Final = 1.5
"""An answer may take so many times as long as at the best of times before growth stops."""
_NEGLIGIBLE_LATENCY: Final = 0.02
"""Seconds; answers that come within them show no strain, however much they vary."""
_RATE_GAIN: Final = 1.05
_BASELINE_DECAY: Final = 0.02
"""Share by which the best of times forgets with every round, for servers that become slower for good."""
_BURST_SHARE: Final = 0.03


class AdaptiveLimit:
    """Limit what runs at once in one event loop by what the server bears: grow while answers come as fast, else halve.

    It begins with 16, doubles until the first sign of strain and adds one a round from then on; a round is as many answers as
    may run at once. A 429, a 503 or a timeout halves it, once for all requests that were under way.
    """

    def __init__(self) -> None:
        self.batches = 0
        self.running = 0
        self.backoffs = 0
        self.limit = float(_INITIAL_LIMIT)
        self.latency = 0.0
        self._maximum = 1
        self._is_doubling = True
        self._backed_off_at = -math.inf
        self._best_latency = math.inf
        self._best_rate = 0.0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._round_started_at: float | None = None
        self._round_seconds = 0.0
        self._round_responses = self._round_peak = 0

    def add_batch(self, concurrency: int) -> None:
        """Begin to limit a batch, which wants so many at once."""
        self._maximum = max(self._maximum, concurrency) if self.batches else concurrency
        self.limit = max(1.0, min(self.limit, float(self._maximum)))
        if not self.batches:
            self._start_round(None)
        self.batches += 1

    def remove_batch(self) -> None:
        """End to limit a batch."""
        self.batches -= 1

    async def acquire(self) -> None:
        """Wait in line until one more may run."""
        if self.running < int(self.limit) and not self._queue:
            self.running += 1
            return
        granted = asyncio.get_running_loop().create_future()
        self._queue.append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.release()
            else:
                self._queue.remove(granted)
            raise

    def release(self) -> None:
        """Count one out, and let in who is first in line."""
        self.running -= 1
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        while self._queue and self.running < int(self.limit):
            granted = self._queue.popleft()
            if not granted.done():
                self.running += 1
                granted.set_result(None)

    def observe(self, strained: bool, *, started_at: float, seconds: float) -> None:
        """Take note of one answer, or of its absence; times are those of ``Clock.elapsed``."""
        now = started_at + seconds
        if strained:
            if started_at >= self._backed_off_at:
                self._back_off(now)
            return
        if self._round_started_at is None:
            self._round_started_at = started_at
        self._round_responses += 1
        self._round_seconds += seconds
        self._round_peak = max(self._round_peak, self.running)
        if self._round_responses >= int(self.limit):
            self._end_round(now)

    def _back_off(self, now: float) -> None:
        self.backoffs += 1
        self.limit = max(1.0, self.limit / 2)
        self._is_doubling = False
        self._backed_off_at = now
        self._start_round(now)

    def _end_round(self, now: float) -> None:
        self.latency = self._round_seconds / self._round_responses
        started_at = now if self._round_started_at is None else self._round_started_at
        rate = self._round_responses / (now - started_at) if now > started_at else 0.0
        keeps_up = (
            self.latency <= max(_LATENCY_TOLERANCE * self._best_latency, _NEGLIGIBLE_LATENCY)
            or rate > _RATE_GAIN * self._best_rate
        )
        if keeps_up and self._round_peak >= int(self.limit):
            self.limit = min(float(self._maximum), self.limit * 2 if self._is_doubling else self.limit + 1)
        else:
            self._is_doubling = self._is_doubling and keeps_up
        self._best_latency = min(self._best_latency * (1 + _BASELINE_DECAY), self.latency)
        self._best_rate = max(self._best_rate * (1 - _BASELINE_DECAY), rate)
        self._start_round(now)
        self._admit_waiting()

    def _start_round(self, now: float | None) -> None:
        self._round_started_at = now
        self._round_responses = 0
        self._round_seconds = 0.0
        self._round_peak = 0


class GcraRate:
    """Space out what the batches of one client begin, in all of its loops and threads.

    In any second at most ``per_second`` begin, and ``max(1, 3 %)`` more: what a late wake-up lost is made up for within
    that (generic cell rate algorithm).
    """

    def __init__(self) -> None:
        self._due = -math.inf
        self._lock = threading.Lock()

    def seconds_until_free(self, per_second: float, now: float, *, take: bool) -> float:
        """Return 0 where a turn is free, having taken it if so told, else the seconds until one is."""
        interval = 1.0 / per_second
        tolerance = (max(1.0, _BURST_SHARE * per_second) - 1.0) * interval
        with self._lock:
            early = self._due - tolerance - now
            if early > 0:
                return early
            if take:
                self._due = max(now, self._due) + interval
        return 0.0
