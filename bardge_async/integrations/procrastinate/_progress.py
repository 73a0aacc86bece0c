"""How far a job of a queue has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import attrs

from bardge_async._doubts.recovery import Doubt

_FAILED = ("failed", "aborted", "cancelled")


@attrs.frozen
class Progress:
    """Tell how far a job has come, over all workers.

    Attributes:
        waiting: Operations that no worker has taken, or that wait to be tried again.
        running: Operations that a worker has taken, and those of one that died and were not yet put back.
        done: Operations that the server did, now or before.
        failed: Operations that ended without that: refused, in doubt, or with another error.
    """

    waiting: int
    running: int
    done: int
    failed: int

    @classmethod
    def from_counts(cls, counts: Mapping[str, int]) -> Self:
        """Make it of the counts by procrastinate's statuses."""
        failed = sum(counts.get(status, 0) for status in _FAILED)
        return cls(counts.get("todo", 0), counts.get("doing", 0), counts.get("succeeded", 0), failed)


@attrs.frozen
class JobDoubt:
    """An operation of a job that was sent and has no outcome on record.

    Attributes:
        id: Your own id of the operation.
        doubt: What is known of it; settle it with ``bardge.resolve(doubt.idempotency_key, ...)``.
    """

    id: str
    doubt: Doubt
