"""Concurrency (AIMD) and start rate (GCRA) shared by the batches of one account."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections import deque
from typing import Final

from bardge_async._core.forks import register_lock_owner
from bardge_async._runtime.loops import PerLoop

_INITIAL_LIMIT: Final = 16
_LATENCY_TOLERANCE: Final = 1.5
"""Stop growing once latency exceeds the best seen by this factor."""
_NEGLIGIBLE_LATENCY: Final = 0.02
"""Seconds; latency below this never counts as strain, however much it varies."""
_RATE_GAIN: Final = 1.05
_BASELINE_DECAY: Final = 0.02
"""Decay of the best latency per round, so that a permanently slower server becomes the new baseline."""
_BURST_SHARE: Final = 0.03


class AdaptiveLimit:
    """Adapt one event loop's concurrency to what the server can take (additive increase, multiplicative decrease).

    The limit starts at 16, doubles each round until the first sign of strain, then grows by one per round while latency
    stays flat; a round is as many responses as the limit. A 429, a 503 or a timeout halves it, once for all requests
    that were in flight.
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
        """Start limiting a batch that wants up to ``concurrency`` operations in flight."""
        self._maximum = max(self._maximum, concurrency) if self.batches else concurrency
        self.limit = max(1.0, min(self.limit, float(self._maximum)))
        if not self.batches:
            self._start_round(None)
        self.batches += 1

    def remove_batch(self) -> None:
        """Stop limiting a batch."""
        self.batches -= 1

    async def acquire(self) -> None:
        """Queue until one more operation may run."""
        if self.running < int(self.limit) and not self._queue:
            self.running += 1
            return
        granted = asyncio.get_running_loop().create_future()
        self._queue.append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            # Granted and cancelled in the same iteration of the loop: pass the slot on.
            if granted.done() and not granted.cancelled():
                self.release()
            else:
                # Another operation that ended in the same iteration may have removed it already.
                with contextlib.suppress(ValueError):
                    self._queue.remove(granted)
            raise

    def release(self) -> None:
        """Count an operation that has finished, and admit the first in the queue."""
        self.running -= 1
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        while self._queue and self.running < int(self.limit):
            granted = self._queue.popleft()
            if not granted.done():
                self.running += 1
                granted.set_result(None)

    def observe(self, strained: bool, *, started_at: float, seconds: float) -> None:
        """Record one response, or its absence; ``started_at`` is on the scale of ``Clock.elapsed``."""
        now = started_at + seconds
        if strained:
            # Requests that were in flight at the last back-off say nothing about the reduced limit.
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
        # Grow only if the limit was reached: otherwise the round says nothing about a higher one.
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
    """Space out the operations that one account's batches start, across its event loops and threads.

    In any second at most ``per_second`` start, plus ``max(1, 3 %)``: that tolerance makes up for late wake-ups (generic
    cell rate algorithm).
    """

    def __init__(self) -> None:
        self._due = -math.inf
        self.reset_after_fork()
        register_lock_owner(self)

    def reset_after_fork(self) -> None:
        """Make the lock anew."""
        self._lock = threading.Lock()

    def seconds_until_free(self, per_second: float, now: float, *, take: bool) -> float:
        """Return the seconds until the next start is allowed; 0 if it is now, which ``take`` then claims."""
        interval = 1.0 / per_second
        tolerance = (max(1.0, _BURST_SHARE * per_second) - 1.0) * interval
        with self._lock:
            early = self._due - tolerance - now
            if early > 0:
                return early
            if take:
                self._due = max(now, self._due) + interval
        return 0.0


class AccountPacing:
    """The pace of one account's batches: concurrency for each event loop, and one start rate for all."""

    def __init__(self) -> None:
        self.rate = GcraRate()
        self.was_used = False
        self._adaptive_limits: PerLoop[AdaptiveLimit] = PerLoop(AdaptiveLimit)

    def loop_limit(self) -> AdaptiveLimit:
        """Return the running loop's adaptive limit."""
        self.was_used = True
        return self._adaptive_limits.get()

    def observe(self, status: int | None, *, timed_out: bool, started_at: float, seconds: float) -> None:
        """Record one response of the account's calls, or its absence, if a batch is running in this loop."""
        limit = self._adaptive_limits.get()
        if limit.batches:
            limit.observe(is_overload(status, timed_out=timed_out), started_at=started_at, seconds=seconds)


def is_overload(status: int | None, *, timed_out: bool) -> bool:
    """Return whether an attempt indicates that the server is overloaded: 429, 503, or a time-out without a response."""
    return timed_out if status is None else status in {429, 503}
