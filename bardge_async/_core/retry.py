"""What to do after an attempt, purely: wait how long, or end with which error."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import attrs

from bardge_async._core.response import Outcome, Verdict
from bardge_async._core.settings import ReplayWindow, RetryPolicy
from bardge_async._core.window import LEAST_LEFT, History, Moment, left
from bardge_async.endpoints import Again, Endpoint, KeySupport
from bardge_async.errors import (
    APIError,
    BardgeError,
    HeldBackError,
    JournalError,
    KeyInUseError,
    NoAnswerError,
    NotSentError,
    OutcomeUnknownError,
    PoolTimeoutError,
    ResourceConflictError,
)

_UNANSWERED: Final = frozenset({Verdict.NO_ANSWER, Verdict.STILL_RUNNING})
_FAULTS: Final = frozenset({Verdict.FAULT, Verdict.CACHED_FAULT})
_SETTLING: Final = frozenset({Verdict.DONE, Verdict.UNREADABLE, Verdict.SETTLED})


_OUR_WAITS: Final = (PoolTimeoutError, HeldBackError, KeyInUseError, JournalError)


@attrs.frozen
class Case:
    """All that a decision rests on; ``call_left`` is in seconds, ``roll`` a random number from 0 to 1."""

    row: Endpoint[Any, Any]
    history: History
    outcome: Outcome
    policy: RetryPolicy
    window: ReplayWindow
    now: Moment
    call_left: float
    roll: float
    key: str | None = None


def record(row: Endpoint[Any, Any], history: History, outcome: Outcome) -> None:
    """Enter an attempt's outcome into the history of its key."""
    verdict = outcome.verdict
    if verdict is Verdict.DONE:
        history.sent = True
        history.in_doubt = history.timed_out = False
        return
    changing = row.method != "GET"
    if verdict is not Verdict.NOT_SENT:
        history.sent = True
    history.timed_out = outcome.error is not None and outcome.error.timed_out
    if isinstance(outcome.error, APIError):
        history.last_answer = outcome.error
    if verdict in _SETTLING:
        history.in_doubt = False
    elif changing and (verdict in _UNANSWERED or (verdict in _FAULTS and row.again is not Again.SAME)):
        history.in_doubt = history.ever_in_doubt = True
    elif not history.in_doubt:
        # Proved not executed: no window runs.
        history.first_sent = None


def decide(case: Case) -> float | BardgeError:
    """Return how many seconds to wait before the next attempt, or the error to end with."""
    if not _repeatable(case) or case.history.attempts >= case.policy.max_attempts:
        return final(case)
    asked = case.outcome.retry_after
    if asked is not None and asked > case.policy.retry_after_cap:
        return final(case)
    wait = backoff(case.policy, case.history.attempts, case.roll) + (asked or 0.0)
    if wait >= case.call_left:
        case.history.timed_out = True
        return final(case)
    return final(case) if _misses_window(case, wait) else wait


def backoff(policy: RetryPolicy, attempts: int, roll: float) -> float:
    """Full jitter: a random part of a bound that doubles with every attempt."""
    return roll * min(policy.cap, policy.base * 2.0 ** max(0, attempts - 1))


def protected(row: Endpoint[Any, Any]) -> bool:
    """Tell whether a key protects the row: one that the server is known to honour."""
    return row.key is KeySupport.YES


def _repeatable(case: Case) -> bool:
    verdict, row = case.outcome.verdict, case.row
    if isinstance(case.outcome.error, _OUR_WAITS):
        return False
    if verdict in {Verdict.UNREADABLE, Verdict.SETTLED, Verdict.REFUSED, Verdict.CACHED_FAULT}:
        return False
    if row.again in {None, Again.SAME}:
        return True
    if case.history.in_doubt and not protected(row):
        return False
    return verdict is not Verdict.FAULT or _repeats_faults(case)


def _repeats_faults(case: Case) -> bool:
    return case.row.again in {None, Again.SAME} or case.policy.repeat_server_errors


def patience(case: Case) -> float:
    """Seconds for which an unanswered POST may wait before it is sent again, as deadline and window allow."""
    remaining = left(case.window, case.history, case.now)
    if remaining is None or case.row.again in {None, Again.SAME}:
        return case.call_left
    return min(case.call_left, remaining - LEAST_LEFT)


def _misses_window(case: Case, wait: float) -> bool:
    if not case.history.in_doubt or case.row.again in {None, Again.SAME}:
        return False
    remaining = left(case.window, case.history, case.now)
    return remaining is not None and wait + LEAST_LEFT > remaining


def final(case: Case) -> BardgeError:
    """Return the error that the whole history amounts to."""
    error = _over_all(case)
    history = case.history
    error.endpoint, error.idempotency_key = case.row.name, case.key
    error.attempts, error.sent, error.timed_out = history.attempts, history.sent, history.timed_out
    if case.outcome.retry_after is not None:
        error.retry_after = case.outcome.retry_after
    error.retryable = _retryable(case, error)
    return error


def _over_all(case: Case) -> BardgeError:
    last, history = case.outcome.error, case.history
    assert last is not None  # noqa: S101 - only failures are decided on
    if history.in_doubt:
        return unknown(case, last)
    if isinstance(last, NotSentError) and history.sent:
        return history.last_answer or _nothing_usable(case, last)
    if isinstance(last, ResourceConflictError):
        last.sent_before = history.ever_in_doubt
    return last


def _nothing_usable(case: Case, last: BardgeError) -> BardgeError:
    error = NoAnswerError(f"{case.row.name}: no usable answer to any attempt; the last one: {last}")
    error.__cause__ = last
    return error


def _retryable(case: Case, error: BardgeError) -> bool:
    if isinstance(error, OutcomeUnknownError):
        return error.retryable
    if case.outcome.verdict in {Verdict.NOT_SENT, Verdict.BUSY, Verdict.NO_ANSWER}:
        return True
    return case.outcome.verdict in _FAULTS and case.row.again in {None, Again.SAME}


def unknown(case: Case, last: BardgeError) -> OutcomeUnknownError:
    """Say that a POST may or may not have been done."""
    faulted = case.outcome.verdict is Verdict.FAULT and not _repeats_faults(case)
    error = in_doubt_error(case.row, case.history, case.key, case.now, window=case.window, last=last, faulted=faulted)
    if case.outcome.verdict is Verdict.CACHED_FAULT and case.row.again is not Again.SAME:
        error.may_repeat = False
        error.add_note("the server has cached this failure: a repeat under the key returns it again")
    return error


def in_doubt_error(
    row: Endpoint[Any, Any],
    history: History,
    key: str | None,
    now: Moment,
    *,
    window: ReplayWindow,
    last: BardgeError | None = None,
    overtaken: bool = False,
    faulted: bool = False,
) -> OutcomeUnknownError:
    """Say that an outcome is unknown, until when the POST may be repeated, and how to find out.

    ``faulted`` tells that the server's own failure may have made it forget the key.
    """
    first = history.first_sent or now
    remaining = left(window, history, now)
    why = str(last) if last is not None else "an earlier call under this key got no usable answer"
    advice = _OVERTAKEN if overtaken else _advice(row, key, faulted=faulted)
    error = OutcomeUnknownError(f"{row.name}: sent, but the outcome is not known ({why}). {advice}")
    error.endpoint, error.idempotency_key, error.sent = row.name, key, True
    error.first_sent_at = first.at()
    error.may_repeat = error.retryable = row.again is Again.SAME and not overtaken
    if protected(row):
        error.window_closes_at = first.at() + dt.timedelta(seconds=window.length)
        inside = remaining is not None and remaining > LEAST_LEFT
        error.may_repeat = error.may_repeat or (inside and not faulted)
    if last is not None:
        error.last_error, error.request_id = last, last.request_id
    return error


_OVERTAKEN: Final = "A later call to the same path is on record: repeating this one would undo it."
_WHERE: Final = {
    "credits": "bardge.clients.get_credits(client_id): is there a matching transaction",
    "bookings": "bardge.bookings.list_for_client(client_id): is there a matching booking",
    "passes": "bardge.passes.get_issued(client_id): does it show the change",
}


def _advice(row: Endpoint[Any, Any], key: str | None, *, faulted: bool) -> str:
    if row.again is Again.SAME:
        return "Repeating the call is harmless: it sets an absolute state."
    where = _WHERE.get(row.name.partition(".")[0], "the vendor's support, with the request id and the key")
    if faulted:
        return f"To find out: do not repeat it, the server may have forgotten the key; ask {where} since first_sent_at."
    again = (
        f"under key {key!r} it may be repeated only before window_closes_at; "
        if protected(row)
        else "do not repeat it, no key protects this endpoint; "
    )
    return f"To find out: {again}else ask {where} since first_sent_at."
