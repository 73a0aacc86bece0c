"""Which jobs are retried, and when."""

from __future__ import annotations

import datetime as dt
import time
from typing import Final

from procrastinate.exceptions import ProcrastinateException
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy, RetryDecision

from bardge_async.errors import (
    AuthenticationError,
    BardgeError,
    ConfigurationError,
    NotSentError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
)

# All in seconds.
_FIRST_WAIT: Final = 1.0
_MAX_WAIT: Final = 60.0
_DOUBT_RETRY_WAIT: Final = 2.0

_MAX_ATTEMPTS: Final = 20
_JITTER_STEPS: Final = 1000


class NoWorkerError(ProcrastinateException):
    """Run the queue's jobs with ``BardgeQueue.run_worker``: another kind of worker took this one, and requeued it."""


def is_fatal_for_worker(error: BaseException) -> bool:
    """Return whether every other job would fail likewise: wrong API key, disabled account, wrong settings.

    A journal that cannot be written is not fatal, unlike in a batch: it is in the queue's own database, or recovers as
    that does.
    """
    if isinstance(error, OutcomeUnknownError) and error.last_error is not None:
        return is_fatal_for_worker(error.last_error)
    if isinstance(error, PermissionDeniedError):
        return error.code == "account_disabled"
    return isinstance(error, AuthenticationError | ConfigurationError)


class RetryByError(BaseRetryStrategy):
    """Retry jobs whose error allows it, after 1 s, 2 s, 4 s and so on up to 60 s, or later if the server says so.

    Jobs that certainly did not execute are retried without limit, all others at most 20 times. A POST with an unknown
    outcome is retried every 2 s while its window is open.
    """

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Return when to retry a job, or None for never."""
        seconds = self._choose_wait(exception, job)
        if seconds is None:
            return None
        return RetryDecision(retry_at=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds))

    def _choose_wait(self, error: BaseException, job: Job) -> float | None:
        if isinstance(error, NoWorkerError):
            return _MAX_WAIT
        if not isinstance(error, BardgeError):
            return None
        if is_fatal_for_worker(error):
            # This worker stops; the job waits for the next one.
            return 0.0
        if isinstance(error, OutcomeUnknownError) and _is_window_open(error):
            return _DOUBT_RETRY_WAIT
        if not error.retryable:
            return None
        endless = isinstance(error, NotSentError | RateLimitError)
        return _backoff_seconds(error, job) if endless or job.attempts < _MAX_ATTEMPTS else None


def _is_window_open(error: OutcomeUnknownError) -> bool:
    closes = error.window_closes_at
    # The retry itself must start before the window closes.
    return error.may_repeat and closes is not None and time.time() + _DOUBT_RETRY_WAIT < closes.timestamp()


def _backoff_seconds(error: BardgeError, job: Job) -> float:
    """Double the wait each time, with jitter derived from the job's id so that jobs do not return simultaneously."""
    bound = min(_MAX_WAIT, _FIRST_WAIT * 2.0 ** min(job.attempts, 10))
    # 7919 and _JITTER_STEPS have no common factor: a thousand consecutive ids get a thousand different waits.
    jitter = 0.5 + ((job.id or 0) * 7919 % _JITTER_STEPS) / _JITTER_STEPS / 2
    return bound * jitter + (error.retry_after or 0.0)
