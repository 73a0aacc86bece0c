"""The replay window: how old a key is, and whether it may still be sent. Pure: no I/O.

The server forgets a key 90 seconds after it first saw it (page: Idempotent Requests). The page does not say whether
they start at receipt or at completion; counting from the first send is safe under both readings.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Final, TypeAlias

import attrs

from bardge_async._core.factories import compile_factory
from bardge_async._core.settings import ReplayWindow
from bardge_async.errors import APIError

MIN_SECONDS_LEFT: Final = 1.0
"""Minimum seconds left in the window for an attempt to start."""
_ELAPSED_TOLERANCE: Final = 1e-3
"""Seconds by which two readings of one boot may seem to be in the wrong order."""

Peaks: TypeAlias = tuple[tuple[float, float], ...]
"""Elapsed and wall time of the readings of one boot that no later reading exceeds, in the order of time."""


@attrs.frozen(weakref_slot=False)
class ClockReading:
    """One reading of the clocks.

    ``wall`` is a Unix time in seconds and ``highest`` the highest one seen so far. ``elapsed`` is in seconds since the
    boot identified by ``boot``. ``server`` is the server's time then, as far as known from its answers. ``peaks`` are
    earlier readings of this boot whose wall time was higher. ``is_behind``: in this boot, the wall clock has shown less
    than in an earlier one.
    """

    wall: float
    elapsed: float
    highest: float
    boot: str = ""
    server: float | None = attrs.field(default=None, eq=False)
    peaks: Peaks = attrs.field(default=(), eq=False, repr=False)
    is_behind: bool = attrs.field(default=False, eq=False, repr=False)

    def to_datetime(self) -> dt.datetime:
        """Return the wall time as an aware UTC datetime."""
        return dt.datetime.fromtimestamp(self.wall, dt.UTC)


make_reading: Final = compile_factory(ClockReading)


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
    """Return seconds since the first send, by the clock that shows most: a clock set back must not reopen a window.

    Infinite if nothing proves an age: after another boot, once its wall time was below one that was read before.
    """
    if not _is_comparable(first_sent, now):
        highest = max(now.highest, first_sent.highest, first_sent.wall)
        ages = [math.inf if now.wall < highest or now.is_behind else now.wall - first_sent.wall]
    else:
        # Peaks fall: the first one since the key was sent is the highest.
        peak = next((wall for elapsed, wall in now.peaks if elapsed >= first_sent.elapsed), now.wall)
        ages = [max(peak, now.wall) - first_sent.wall, now.elapsed - first_sent.elapsed]
    if now.server is not None and first_sent.server is not None:
        ages.append(now.server - first_sent.server)
    return max(ages)


def proven_age(first_sent: ClockReading, now: ClockReading) -> float:
    """Return seconds that have certainly passed since the first send: by the clock that shows least."""
    ages = [now.wall - first_sent.wall]
    if _is_comparable(first_sent, now):
        ages.append(now.elapsed - first_sent.elapsed)
    elif now.wall < now.highest or now.is_behind:
        ages.append(-math.inf)
    if now.server is not None and first_sent.server is not None:
        ages.append(now.server - first_sent.server)
    return min(ages)


def unset_age(sent: ClockReading, now: ClockReading) -> float:
    """Return seconds since a send by the boot-time clock, which cannot be set; after a reboot those that are proven."""
    return now.elapsed - sent.elapsed if _is_comparable(sent, now) else proven_age(sent, now)


def _is_comparable(first_sent: ClockReading, now: ClockReading) -> bool:
    """Return whether the boot-time clock ran on between two readings: a reboot or a restored snapshot sets it back."""
    return now.boot == first_sent.boot and now.elapsed >= first_sent.elapsed - _ELAPSED_TOLERANCE


def seconds_left(window: ReplayWindow, history: History, now: ClockReading) -> float | None:
    """Return for how many seconds the key may still be sent, negative once too late; None while no window is open."""
    if history.first_sent is None:
        return None
    return window.length - window.margin - key_age(history.first_sent, now)
