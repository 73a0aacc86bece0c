"""Hold calls back while the server asks for it: a 429 all of them, a 503 those of its row."""

from __future__ import annotations

from typing import Any

from bardge_async.endpoints import Endpoint


class HoldBack:
    """Remember until when calls wait, in seconds of ``Clock.elapsed``; every waiter waits on its own clock.

    ``asked`` tells whether it was ever asked for.
    """

    def __init__(self) -> None:
        self.asked = False
        self._all = 0.0
        self._rows: dict[str, float] = {}

    def hold_all(self, until: float) -> None:
        """Hold back every call."""
        self.asked = True
        self._all = max(self._all, until)

    def hold_row(self, row: str, until: float) -> None:
        """Hold back the calls of one row."""
        self.asked = True
        self._rows[row] = max(self._rows.get(row, 0.0), until)

    def everyone(self, now: float) -> float:
        """Seconds until calls of any row may go, zero or less if they may go now."""
        return self._all - now

    def wait(self, row: Endpoint[Any, Any], now: float) -> float:
        """Seconds until a call of a row may go, zero or less if it may go now."""
        until = self._all
        if self._rows:
            until = max(until, self._rows.get(row.name, 0.0))
        return until - now
