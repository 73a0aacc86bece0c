"""Which jobs are tried again, and when."""

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

_FIRST_WAIT: Final = 1.0
_MAX_WAIT: Final = 60.0
_DOUBT_RETRY_WAIT: Final = 2.0
_MAX_ATTEMPTS: Final = 20
_JITTER_STEPS: Final = 1000


class NoWorkerError(ProcrastinateException):
    """Run the queue's jobs with ``BardgeQueue.run_worker``: another worker has taken one, and put it back."""


def is_fatal_for_worker(error: BaseException) -> bool:
    """Tell whether every other job would fail as this one did: wrong API key, disabled account, wrong settings.

    A journal that cannot be written is none of these: it is the queue's own database, or comes back as that does.
    """
    if isinstance(error, OutcomeUnknownError) and error.last_error is not None:
        return is_fatal_for_worker(error.last_error)
    if isinstance(error, PermissionDeniedError):
        return error.code == "account_disabled"
    return isinstance(error, AuthenticationError | ConfigurationError)


class RetryByError(BaseRetryStrategy):
    """Try again what the error says may be, in 1 s, 2 s, 4 s and so on up to 60 s, or later if the server says so.

    What proved not to have been executed is tried for as long as it takes; anything else 20 times at most. A POST
    without an answer is asked about again every 2 s while its window is open.
    """

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Return when a job is to be tried again; None for never."""
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
            # The worker ends; the job waits for the next one.
            return 0.0
        if isinstance(error, OutcomeUnknownError) and _is_window_open(error):
            return _DOUBT_RETRY_WAIT
        if not error.retryable:
            return None
        endless = isinstance(error, NotSentError | RateLimitError)
        return _backoff_seconds(error, job) if endless or job.attempts < _MAX_ATTEMPTS else None


def _is_window_open(error: OutcomeUnknownError) -> bool:
    closes = error.window_closes_at
    return error.may_repeat and closes is not None and time.time() + _DOUBT_RETRY_WAIT < closes.timestamp()


def _backoff_seconds(error: BardgeError, job: Job) -> float:
    """Double the wait each time, spread by the job's number so that a thousand jobs do not come back at once."""
    bound = min(_MAX_WAIT, _FIRST_WAIT * 2.0 ** min(job.attempts, 10))
    jitter = 0.5 + ((job.id or 0) * 7919 % _JITTER_STEPS) / _JITTER_STEPS / 2
    return bound * jitter + (error.retry_after or 0.0)
