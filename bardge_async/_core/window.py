"""The replay window: how old a key is, and whether it may still be sent. Pure: no I/O.

The server forgets a key 90 seconds after it first saw it (page: Idempotent Requests). The page does not say whether
they start at receipt or at completion; counting from the first send is safe under both readings.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import attrs

from bardge_async._core.settings import ReplayWindow
from bardge_async.errors import APIError

MIN_SECONDS_LEFT: Final = 1.0
"""Minimum seconds left in the window for an attempt to start."""
_MAX_PEAKS: Final = 16
_MAX_BOOTS: Final = 4
_ELAPSED_TOLERANCE: Final = 1e-3
"""Seconds by which two readings of one boot may seem to be in the wrong order."""

Peaks: TypeAlias = tuple[tuple[float, float], ...]
"""Elapsed and wall time of the readings of one boot that no later reading exceeds, in the order of time."""


@attrs.frozen
class ClockReading:
    """One reading of the clocks.

    ``wall`` is a Unix time in seconds and ``highest`` the highest one seen so far. ``elapsed`` is in seconds since the
    boot identified by ``boot``. ``server`` is the server's time then, as far as known from its answers. ``peaks`` are
    earlier readings of this boot whose wall time was higher.
    """

    wall: float
    elapsed: float
    highest: float
    boot: str = ""
    server: float | None = attrs.field(default=None, eq=False)
    peaks: Peaks = attrs.field(default=(), eq=False, repr=False)

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


class WallLog:
    """Remember the highest wall times read, so that each key's age can count those since its own first send.

    ``highest`` is the highest of all, in seconds; ``peaks`` holds those of the last boots.
    """

    __slots__ = ("highest", "peaks")

    def __init__(self, highest: float = 0.0, peaks: Mapping[str, Peaks] | None = None) -> None:
        self.highest = highest
        self.peaks: dict[str, Peaks] = {} if peaks is None else dict(peaks)

    def add(self, wall: float, elapsed: float, boot: str) -> Peaks:
        """Add a reading; return the peaks of its boot."""
        if wall > self.highest:  # noqa: PLR1730 - max() takes several times as long, and every POST gets here
            self.highest = wall
        known = self.peaks.get(boot)
        if known is not None and len(known) == 1 and known[0][1] <= wall and known[0][0] <= elapsed:
            self.peaks[boot] = rising = ((elapsed, wall),)
            return rising
        merged: Peaks = ((elapsed, wall),) if known is None else _merge_peaks((*known, (elapsed, wall)))
        self._set_peaks(boot, merged)
        return merged

    def merge(self, other: WallLog) -> None:
        """Add the readings of another log."""
        self.highest = max(self.highest, other.highest)
        for boot, theirs in list(other.peaks.items()):
            mine = self.peaks.get(boot)
            if mine != theirs:
                self._set_peaks(boot, theirs if mine is None else _merge_peaks((*mine, *theirs)))

    def _set_peaks(self, boot: str, peaks: Peaks) -> None:
        self.peaks[boot] = peaks
        if len(self.peaks) > _MAX_BOOTS:
            del self.peaks[next(iter(self.peaks))]


def _merge_peaks(readings: Iterable[tuple[float, float]]) -> Peaks:
    """Return the readings that no later one exceeds."""
    kept: list[tuple[float, float]] = []
    for reading in sorted(readings, reverse=True):
        if not kept or reading[1] > kept[-1][1]:
            kept.append(reading)
    kept.reverse()
    while len(kept) > _MAX_PEAKS:
        # Joining two only makes keys sent between them older.
        at = min(range(len(kept) - 1), key=lambda n: kept[n][1] - kept[n + 1][1])
        kept[at : at + 2] = [(kept[at + 1][0], kept[at][1])]
    return tuple(kept)


def key_age(first_sent: ClockReading, now: ClockReading) -> float:
    """Return seconds since the first send, by the clock that shows most: a clock set back must not reopen a window.

    Infinite if nothing proves an age: after another boot, with a wall time below one that was read before.
    """
    if not _is_comparable(first_sent, now):
        highest = max(now.highest, first_sent.highest, first_sent.wall)
        ages = [math.inf if now.wall < highest else now.wall - first_sent.wall]
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
    elif now.wall < now.highest:
        ages.append(-math.inf)
    if now.server is not None and first_sent.server is not None:
        ages.append(now.server - first_sent.server)
    return min(ages)


def _is_comparable(first_sent: ClockReading, now: ClockReading) -> bool:
    """Return whether the boot-time clock ran on between two readings: a reboot or a restored snapshot sets it back."""
    return now.boot == first_sent.boot and now.elapsed >= first_sent.elapsed - _ELAPSED_TOLERANCE


def seconds_left(window: ReplayWindow, history: History, now: ClockReading) -> float | None:
    """Return for how many seconds the key may still be sent, negative once too late; None while no window is open."""
    if history.first_sent is None:
        return None
    return window.length - window.margin - key_age(history.first_sent, now)
