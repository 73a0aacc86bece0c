"""The replay window, purely: how old a key is, and whether it may still be sent.

The server forgets a key 90 seconds after it first saw it (page: Idempotent Requests). Whether these begin at receipt
or at completion is not documented: counted from the first send, both readings are safe.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import attrs

from bardge_async._core.settings import ReplayWindow
from bardge_async.errors import APIError

MIN_SECONDS_LEFT: Final = 1.0
"""No attempt begins with less than this many seconds left of a window."""


@attrs.frozen
class ClockReading:
    """One reading of the clocks.

    ``highest`` is the highest wall time ever seen; ``boot`` names the boot of the machine that ``elapsed`` counts from.
    """

    wall: float
    elapsed: float
    highest: float
    boot: str = ""

    def to_datetime(self) -> dt.datetime:
        """Return the wall time as an aware UTC instant."""
        return dt.datetime.fromtimestamp(self.wall, dt.UTC)


@attrs.define
class History:
    """What has happened under one key so far; the verdict is over all of it, never over the last attempt."""

    attempts: int = 0
    sent: bool = False
    in_doubt: bool = False
    ever_in_doubt: bool = False
    timed_out: bool = False
    first_sent: ClockReading | None = None
    last_api_error: APIError | None = None


def key_age(first_sent: ClockReading, now: ClockReading) -> float:
    """Seconds since the first send, by whichever clock says most: one that jumps back never reopens a window."""
    by_wall = max(now.wall, now.highest) - first_sent.wall
    # After a reboot the boot-time clock counts anew and says nothing.
    return max(by_wall, now.elapsed - first_sent.elapsed) if now.boot == first_sent.boot else by_wall


def seconds_left(window: ReplayWindow, history: History, now: ClockReading) -> float | None:
    """Seconds in which the key may still be sent; None while no window is open."""
    if history.first_sent is None:
        return None
    return window.length - window.margin - key_age(history.first_sent, now)
