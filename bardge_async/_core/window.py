"""The replay window: how old a key is, and whether it may still be sent. Pure: no I/O.

The server forgets a key 90 seconds after it first saw it (page: Idempotent Requests). The page does not say whether
they start at receipt or at completion; counting from the first send is safe under both readings.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

import attrs

from bardge_async._core.settings import ReplayWindow
from bardge_async.errors import APIError

MIN_SECONDS_LEFT: Final = 1.0
"""Minimum seconds left in the window for an attempt to start."""


@attrs.frozen
class ClockReading:
    """One reading of the clocks.

    ``wall`` is a Unix time in seconds and ``highest`` the highest one seen so far. ``elapsed`` is in seconds since the
    boot identified by ``boot``.
    """

    wall: float
    elapsed: float
    highest: float
    boot: str = ""

    def to_datetime(self) -> dt.datetime:
        """Return the wall time as an aware UTC datetime."""
        return dt.datetime.fromtimestamp(self.wall, dt.UTC)


@attrs.define
class History:
    """All attempts under one key so far. Decisions rest on all of it, never on the last attempt alone."""

    attempts: int = 0
    sent: bool = False
    in_doubt: bool = False
    ever_in_doubt: bool = False
    timed_out: bool = False
    first_sent: ClockReading | None = None
    last_api_error: APIError | None = None
    connection_broke: bool = False
    """Whether the last attempt ended without any response."""


def key_age(first_sent: ClockReading, now: ClockReading) -> float:
    """Return seconds since the first send, by the clock that shows most: a clock set back must not reopen a window."""
    by_wall = max(now.wall, now.highest) - first_sent.wall
    # The boot-time clock restarts at a reboot, so readings of different boots cannot be compared.
    return max(by_wall, now.elapsed - first_sent.elapsed) if now.boot == first_sent.boot else by_wall


def seconds_left(window: ReplayWindow, history: History, now: ClockReading) -> float | None:
    """Return for how many seconds the key may still be sent, negative once too late; None while no window is open."""
    if history.first_sent is None:
        return None
    return window.length - window.margin - key_age(history.first_sent, now)
