"""The retry budget: limit retries as a share of the traffic, so that they do not overload a failing server."""

from __future__ import annotations

import threading
from typing import Final

from bardge_async._core.forks import register_lock_owner
from bardge_async._core.settings import RetryPolicy

_WINDOW_SECONDS: Final = 10
"""Seconds for which a first attempt counts towards the budget."""


class RetryBudget:
    """Token bucket for retries: ``budget_floor`` tokens per second, plus a share of the last 10 s' first attempts.

    It starts with ``budget_floor`` tokens. Times are in seconds of ``Clock.elapsed``.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._floor = policy.budget_floor
        self._ratio = policy.budget_ratio
        self._reserve = self._floor
        self._filled_at: float | None = None
        self._shares = [0.0] * _WINDOW_SECONDS
        self._second = 0
        self.reset_after_fork()
        register_lock_owner(self)

    def reset_after_fork(self) -> None:
        """Make the lock anew: event loops in several threads may share one client."""
        self._lock = threading.Lock()

    def count_first_attempt(self, now: float) -> None:
        """Count a first attempt."""
        with self._lock:
            if int(now) != self._second:
                self._expire_shares(now)
            self._shares[self._second % _WINDOW_SECONDS] += self._ratio

    def reserve_token(self, now: float, timeout: float) -> float | None:
        """Take a token and return the seconds until it is available; None if that is more than ``timeout``."""
        with self._lock:
            self._expire_shares(now)
            if self._take_share():
                return 0.0
            self._refill_reserve(now)
            wait = 0.0 if self._reserve >= 1 else (1 - self._reserve) / self._floor if self._floor else None
            if wait is None or wait > timeout:
                return None
            # May go below zero: the next caller waits for a later token.
            self._reserve -= 1
            return wait

    def _expire_shares(self, now: float) -> None:
        second = int(now)
        if second == self._second:
            return
        for past in range(self._second + 1, min(second, self._second + _WINDOW_SECONDS) + 1):
            self._shares[past % _WINDOW_SECONDS] = 0.0
        self._second = max(self._second, second)
        if second - _WINDOW_SECONDS >= self._second:
            self._shares = [0.0] * _WINDOW_SECONDS

    def _take_share(self) -> bool:
        if sum(self._shares) < 1:
            return False
        missing = 1.0
        for offset in range(1, _WINDOW_SECONDS + 1):
            at = (self._second + offset) % _WINDOW_SECONDS
            amount = min(missing, self._shares[at])
            self._shares[at] -= amount
            missing -= amount
        return True

    def _refill_reserve(self, now: float) -> None:
        since = 0.0 if self._filled_at is None else max(0.0, now - self._filled_at)
        self._reserve = min(self._floor, self._reserve + since * self._floor)
        self._filled_at = now
