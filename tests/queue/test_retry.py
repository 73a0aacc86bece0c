"""Which jobs are retried, and when: the decision alone."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest
from procrastinate.jobs import Job

from bardge_async.errors import (
    AuthenticationError,
    BardgeError,
    ConnectError,
    InvalidRequestError,
    JournalError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from bardge_async.integrations.procrastinate._retry import RetryByError, is_fatal_for_worker

SECOND = dt.timedelta(seconds=1)


def get_wait(error: BaseException, attempts: int = 0, number: int = 1) -> float | None:
    """Return the seconds that a job waits after an error; None if it ends."""
    job = Job(id=number, queue="bardge", lock=None, queueing_lock=None, task_name="t", attempts=attempts)
    before = dt.datetime.now(dt.UTC)
    decision = RetryByError().get_retry_decision(exception=error, job=job)
    if decision is None:
        return None
    assert decision.retry_at is not None
    return (decision.retry_at - before) / SECOND


def set_attributes(error: BardgeError, **attributes: Any) -> BardgeError:
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def make_doubt(closes_in: float, *, may_repeat: bool = True) -> BardgeError:
    closes = dt.datetime.now(dt.UTC) + closes_in * SECOND
    return set_attributes(OutcomeUnknownError("?"), window_closes_at=closes, may_repeat=may_repeat)


def test_the_wait_doubles_with_every_attempt_up_to_a_minute() -> None:
    waits = [get_wait(ConnectError("no"), attempts) or 0.0 for attempts in range(12)]
    assert waits[0] <= 1.1
    assert all(30 <= it <= 61 for it in waits[6:])


def test_jobs_that_fail_together_come_back_apart() -> None:
    waits = {round(get_wait(ConnectError("no"), 6, number) or 0.0, 1) for number in range(1000)}
    assert len(waits) > 200


@pytest.mark.parametrize(
    "error", [ConnectError("no"), JournalError("no"), set_attributes(RateLimitError("429"), retryable=True)]
)
def test_what_was_proved_not_executed_is_tried_for_as_long_as_it_takes(error: BardgeError) -> None:
    assert get_wait(error, attempts=100_000) is not None


def test_a_server_that_asked_to_wait_is_given_that_time() -> None:
    assert 30 <= (get_wait(set_attributes(RateLimitError("429"), retryable=True, retry_after=30.0)) or 0.0) <= 31.1


def test_what_may_have_been_executed_harmlessly_is_tried_twenty_times() -> None:
    fault = set_attributes(ServerError("500"), retryable=True)
    assert (get_wait(fault, attempts=19) is None, get_wait(fault, attempts=20)) == (False, None)


def test_an_unanswered_post_is_asked_about_again_while_its_window_is_open() -> None:
    assert get_wait(make_doubt(30)) == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize("error", [make_doubt(1), make_doubt(30, may_repeat=False), make_doubt(-1)])
def test_a_doubt_that_may_not_be_repeated_ends_the_job(error: BardgeError) -> None:
    assert get_wait(error) is None


@pytest.mark.parametrize("error", [InvalidRequestError("400"), ValueError("a fault"), asyncio.CancelledError()])
def test_what_is_not_retryable_ends_the_job(error: BaseException) -> None:
    assert get_wait(error) is None


@pytest.mark.parametrize(
    "error",
    [
        AuthenticationError("401"),
        set_attributes(PermissionDeniedError("403"), code="account_disabled"),
        set_attributes(OutcomeUnknownError("?"), last_error=AuthenticationError("401")),
    ],
)
def test_what_fails_every_job_ends_the_worker_and_goes_back_at_once(error: BardgeError) -> None:
    assert is_fatal_for_worker(error)
    assert get_wait(error) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    "error",
    [JournalError("away"), set_attributes(PermissionDeniedError("403"), code="permission_denied"), ConnectError("no")],
)
def test_other_errors_do_not_end_the_worker(error: BardgeError) -> None:
    assert not is_fatal_for_worker(error)
