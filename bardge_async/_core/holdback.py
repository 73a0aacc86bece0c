"""Delay calls as ``Retry-After`` asks: a 429 delays all calls, a 503 those of its endpoint."""

from __future__ import annotations

from typing import Any

from bardge_async.endpoints import Endpoint


class RetryAfterGate:
    """Remember until when calls must wait, in seconds of ``Clock.elapsed``. It does not wait itself.

    ``ever_held``: whether any delay was ever set, a cheap check for the usual case.
    """

    def __init__(self) -> None:
        self.ever_held = False
        self._all_until = 0.0
        self._until_by_endpoint: dict[str, float] = {}

    def hold_all(self, until: float) -> None:
        """Delay all calls."""
        self.ever_held = True
        self._all_until = max(self._all_until, until)

    def hold_endpoint(self, name: str, until: float) -> None:
        """Delay the calls of one endpoint."""
        self.ever_held = True
        self._until_by_endpoint[name] = max(self._until_by_endpoint.get(name, 0.0), until)

    def seconds_until_all_open(self, now: float) -> float:
        """Return the seconds until calls of any endpoint may start, zero or less for now."""
        return self._all_until - now

    def seconds_until_open(self, endpoint: Endpoint[Any, Any], now: float) -> float:
        """Return the seconds until a call of this endpoint may start, zero or less for now."""
        until = self._all_until
        if self._until_by_endpoint:
            until = max(until, self._until_by_endpoint.get(endpoint.name, 0.0))
        return until - now
