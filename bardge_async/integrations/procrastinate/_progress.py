"""The progress of a job in a queue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

import attrs

from bardge_async._doubts.recovery import Doubt

_CANCELLED: Final = ("cancelled", "aborted")
"""Before and while it ran, both by a person."""


@attrs.frozen
class Progress:
    """The progress of a job, across all workers.

    Attributes:
        waiting: Operations that no worker has taken, or that wait for a retry.
        running: Operations that a worker has taken, including those of dead workers that were not yet requeued.
        done: Operations that the server executed, now or before.
        failed: Operations that ended otherwise: refused, in doubt, or with another error.
        cancelled: Operations that a person cancelled; one that was already sent may have been executed.
    """

    waiting: int
    running: int
    done: int
    failed: int
    cancelled: int = 0

    @classmethod
    def from_counts(cls, counts: Mapping[str, int]) -> Self:
        """Make it from the counts by procrastinate status."""
        waiting, running, done, failed = (counts.get(name, 0) for name in ("todo", "doing", "succeeded", "failed"))
        return cls(waiting, running, done, failed, sum(counts.get(status, 0) for status in _CANCELLED))


@attrs.frozen
class JobDoubt:
    """An operation of a job that was sent and has no recorded outcome.

    Attributes:
        id: Your own id for the operation.
        doubt: What is known about it; resolve it with ``bardge.resolve(doubt.idempotency_key, ...)``.
    """

    id: str
    doubt: Doubt
