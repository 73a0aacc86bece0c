"""The progress of a job in a queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import attrs

from bardge_async._doubts.recovery import Doubt

_FAILED = ("failed", "aborted", "cancelled")


@attrs.frozen
class Progress:
    """The progress of a job, across all workers.

    Attributes:
        waiting: Operations that no worker has taken, or that wait for a retry.
        running: Operations that a worker has taken, including those of dead workers that were not yet requeued.
        done: Operations that the server executed, now or before.
        failed: Operations that ended otherwise: refused, in doubt, or with another error.
    """

    waiting: int
    running: int
    done: int
    failed: int

    @classmethod
    def from_counts(cls, counts: Mapping[str, int]) -> Self:
        """Make it from the counts by procrastinate status."""
        failed = sum(counts.get(status, 0) for status in _FAILED)
        return cls(counts.get("todo", 0), counts.get("doing", 0), counts.get("succeeded", 0), failed)


@attrs.frozen
class JobDoubt:
    """An operation of a job that was sent and has no recorded outcome.

    Attributes:
        id: Your own id for the operation.
        doubt: What is known about it; resolve it with ``bardge.resolve(doubt.idempotency_key, ...)``.
    """

    id: str
    doubt: Doubt
