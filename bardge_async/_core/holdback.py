"""Hold calls back while the server asks for it: a 429 all of them, a 503 those of its row."""

from __future__ import annotations

from typing import Any

from bardge_async.endpoints import Endpoint


class RetryAfterGate:
    """Remember until when calls wait, in seconds of ``Clock.elapsed``; every waiter waits on its own clock.

    ``asked`` tells whether it was ever asked for.
    """

    def __init__(self) -> None:
        self.ever_held = False
        self._all_until = 0.0
        self._until_by_endpoint: dict[str, float] = {}

    def hold_all(self, until: float) -> None:
        """Hold back every call."""
        self.ever_held = True
        self._all_until = max(self._all_until, until)

    def hold_endpoint(self, name: str, until: float) -> None:
        """Hold back the calls of one row."""
        self.ever_held = True
        self._until_by_endpoint[name] = max(self._until_by_endpoint.get(name, 0.0), until)

    def seconds_until_all_open(self, now: float) -> float:
        """Seconds until calls of any row may go, zero or less if they may go now."""
        return self._all_until - now

    def seconds_until_open(self, endpoint: Endpoint[Any, Any], now: float) -> float:
        """Seconds until a call of a row may go, zero or less if it may go now."""
        until = self._all_until
        if self._until_by_endpoint:
            until = max(until, self._until_by_endpoint.get(endpoint.name, 0.0))
        return until - now
