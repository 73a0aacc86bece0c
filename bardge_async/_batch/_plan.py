"""How a batch is to be done."""

from __future__ import annotations

import math
from typing import Final

import attrs

from bardge_async._core.arguments import check_whole
from bardge_async._core.keys import operation_key
from bardge_async.errors import InvalidArgumentError

_MOST: Final = 100_000


@attrs.frozen(kw_only=True)
class Plan:
    """What a batch was called with.

    Raises:
        InvalidArgumentError: A value out of its range.
    """

    job: str
    concurrency: int
    rate: float | None
    ordered: bool
    retry_refused: bool

    def __attrs_post_init__(self) -> None:
        job: object = self.job
        if not isinstance(job, str) or not job:
            raise InvalidArgumentError(f"job: expected the job's name, such as 'renewals-2026-11', got {job!r:.80}")
        operation_key(job, "any", "any")
        check_whole("concurrency", self.concurrency, 1, _MOST)
        rate: object = self.rate
        if rate is None:
            return
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise InvalidArgumentError(f"rate: expected operations a second, above 0, got {rate!r:.40}")
