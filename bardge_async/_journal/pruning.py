"""Decide when a journal may prune: a single wrong reading of the wall clock must not remove anything."""

from __future__ import annotations

import math
from typing import Final

import attrs

from bardge_async._core.window import ClockReading

PRUNE_INTERVAL: Final = 3600.0
_MAX_DISAGREEMENT: Final = 60.0
"""Seconds by which wall and boot-time clock may drift apart within the interval: slewing stays far below."""


@attrs.frozen
class PruneTime:
    """The time at which retention is judged.

    ``wall`` in seconds; entries sent in the boot ``boot`` are also judged by ``elapsed``, the seconds since that boot.
    """

    wall: float
    elapsed: float = math.inf
    boot: str = ""

    def limits(self, keep: float) -> tuple[float, float, float, str, float]:
        """Return the parameters of ``WHERE_EXPIRED`` for entries that are kept for a number of seconds."""
        return self.wall - keep, self.wall - keep, self.wall, self.boot, self.elapsed - keep


# A clock that was behind when an entry was written must not make it look old: the highest time then on record, unless
# that is itself still to come, and the boot-time clock speak for it.
WHERE_EXPIRED: Final = (
    "last_wall < {0} AND (last_highest < {0} OR last_highest > {0}) AND NOT (last_boot = {0} AND last_elapsed > {0})"
)


def is_due(baseline: ClockReading | None, now: ClockReading) -> bool:
    """Return whether a reading replaces the baseline: the first one, of another boot, or an hour later."""
    if baseline is None or baseline.boot != now.boot or now.elapsed < baseline.elapsed:
        return True
    return now.elapsed - baseline.elapsed > PRUNE_INTERVAL


def agreed_time(baseline: ClockReading | None, now: ClockReading) -> PruneTime | None:
    """Return the time to prune at; None unless wall and boot-time clock passed the same since the baseline."""
    if baseline is None or baseline.boot != now.boot or now.elapsed < baseline.elapsed:
        return None
    drift = (now.wall - baseline.wall) - (now.elapsed - baseline.elapsed)
    return PruneTime(now.wall, now.elapsed, now.boot) if abs(drift) <= _MAX_DISAGREEMENT else None
