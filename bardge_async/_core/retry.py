"""Decide what follows an attempt: how long to wait, or which error to end with. Pure: no I/O."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs

from bardge_async._core.http import AttemptLimits, make_attempt_limits
from bardge_async._core.response import Outcome, Verdict
from bardge_async._core.settings import ReplayWindow, RetryPolicy, Timeouts
from bardge_async._core.window import MIN_SECONDS_LEFT, ClockReading, History, seconds_left
from bardge_async.endpoints import Endpoint
from bardge_async.errors import (
    APIError,
    BardgeError,
    JournalError,
    KeyInUseError,
    NoAnswerError,
    NotSentError,
    OutcomeUnknownError,
    PoolTimeoutError,
    ResourceConflictError,
    ThrottledError,
)

_UNANSWERED: Final = frozenset({Verdict.NO_ANSWER, Verdict.STILL_RUNNING})
_FAULT_VERDICTS: Final = frozenset({Verdict.FAULT, Verdict.CACHED_FAULT})

_MAX_IDLE_UNREPEATABLE: Final = 1.0
"""Seconds. Load balancers forget a connection after minutes without a sign, and never after so short a time."""

# Local conditions, not the server's: a retry by this policy would not help.
_LOCAL_ERRORS: Final = (PoolTimeoutError, ThrottledError, KeyInUseError, JournalError)


@attrs.frozen
class RetryContext:
    """Everything a retry decision depends on; ``jitter`` is a random number from 0 to 1."""

    endpoint: Endpoint[Any, Any]
    history: History
    outcome: Outcome
    policy: RetryPolicy
    window: ReplayWindow
    now: ClockReading
    call_seconds_left: float
    jitter: float
    key: str | None = None


def update_history(endpoint: Endpoint[Any, Any], history: History, outcome: Outcome) -> None:
    """Add an attempt's outcome to the history of its key."""
    verdict = outcome.verdict
    if verdict is Verdict.DONE:
        history.sent = True
        history.in_doubt = history.timed_out = False
        return
    changing = endpoint.method != "GET"
    if verdict is not Verdict.NOT_SENT:
        history.sent = True
    history.timed_out = outcome.timed_out
    if isinstance(outcome.error, APIError):
        history.last_api_error = outcome.error
    if verdict.settles:
        history.in_doubt = False
    elif changing and (verdict in _UNANSWERED or (verdict in _FAULT_VERDICTS and not endpoint.repeat_is_harmless)):
        history.in_doubt = history.ever_in_doubt = True
    elif not history.in_doubt:
        # Certain not to have been executed, so no replay window is open. Doubt from an earlier attempt would stay.
        history.first_sent = None


def decide_retry(context: RetryContext) -> float | BardgeError:
    """Return the seconds to wait before the next attempt, or the error to end with."""
    if not _is_repeatable(context) or context.history.attempts >= context.policy.max_attempts:
        return final_error(context)
    requested = context.outcome.retry_after
    if requested is not None and requested > context.policy.retry_after_cap:
        return final_error(context)
    wait = compute_backoff(context.policy, context.history.attempts, context.jitter) + (requested or 0.0)
    if wait >= context.call_seconds_left:
        context.history.timed_out = True
        return final_error(context)
    return final_error(context) if _misses_window(context, wait) else wait


def compute_max_idle(endpoint: Endpoint[Any, Any], history: History, policy: RetryPolicy) -> float:
    """Return for how many seconds the connection of the next attempt may have been idle; 0 asks for a new one."""
    if history.connection_broke or (history.in_doubt and not history.attempts):
        return 0.0
    if endpoint.repeat_is_harmless or (endpoint.key_is_honoured and policy.max_attempts > 1):
        return math.inf
    # Unanswered, it could not be repeated: a connection that died unnoticed would make a doubt out of nothing.
    return _MAX_IDLE_UNREPEATABLE


class AttemptSettings(Protocol):
    """The settings that limit an attempt in time."""

    @property
    def timeouts(self) -> Timeouts:
        """The time limits of calls."""
        ...

    @property
    def policy(self) -> RetryPolicy:
        """How calls are retried."""
        ...

    @property
    def window(self) -> ReplayWindow:
        """How long the server remembers a key."""
        ...


def compute_limits(  # noqa: PLR0917 - every attempt gets here: an object for them would cost more than the rest
    settings: AttemptSettings,
    endpoint: Endpoint[Any, Any],
    history: History,
    seconds: float,
    now: ClockReading,
    read_clock: Callable[[], ClockReading],
) -> AttemptLimits | None:
    """Return the time limits of the next attempt; None if the call's ``seconds`` or the window leave no time for it."""
    timeouts, window = settings.timeouts, settings.window
    if seconds <= 0:
        return None
    connect, answer = min(timeouts.connect, seconds), min(timeouts.attempt, seconds)
    max_idle = compute_max_idle(endpoint, history, settings.policy)
    if not history.in_doubt or endpoint.repeat_is_harmless:
        return make_attempt_limits(connect, answer, max_idle)
    # Connecting and writing must end inside the window; reading the response may go on after it.
    window_left = seconds_left(window, history, now)
    if window_left is None or window_left < MIN_SECONDS_LEFT:
        return None
    check = _make_window_check(window, history, read_clock)
    return AttemptLimits(min(connect, window_left), answer, max_idle, now.wall + window_left, check)


def _make_window_check(
    window: ReplayWindow, history: History, read_clock: Callable[[], ClockReading]
) -> Callable[[], bool]:
    def is_window_open() -> bool:
        """Judge the age again: while connecting, the machine may have slept or its wall clock may have been set."""
        left = seconds_left(window, history, read_clock())
        return left is not None and left > 0

    return is_window_open


def compute_backoff(policy: RetryPolicy, attempts: int, jitter: float) -> float:
    """Return a wait with full jitter: a random fraction of a bound that doubles with every attempt."""
    return jitter * min(policy.cap, policy.base * 2.0 ** max(0, attempts - 1))


def _is_repeatable(context: RetryContext) -> bool:
    verdict, endpoint = context.outcome.verdict, context.endpoint
    if isinstance(context.outcome.error, _LOCAL_ERRORS):
        return False
    # Final, or a repeat would get the same response.
    if verdict in {Verdict.UNREADABLE, Verdict.REFUSED, Verdict.REFUSED_UNSETTLED, Verdict.CACHED_FAULT}:
        return False
    if endpoint.repeat_is_harmless:
        return True
    # Without a key that the server honours, a repeat could charge again.
    if context.history.in_doubt and not endpoint.key_is_honoured:
        return False
    return verdict is not Verdict.FAULT or _may_repeat_faults(context)


def _may_repeat_faults(context: RetryContext) -> bool:
    return context.endpoint.repeat_is_harmless or context.policy.repeat_server_errors


def max_wait(context: RetryContext) -> float:
    """Return how many seconds a POST without a response may wait for its retry, within deadline and replay window."""
    remaining = seconds_left(context.window, context.history, context.now)
    if remaining is None or context.endpoint.repeat_is_harmless:
        return context.call_seconds_left
    return min(context.call_seconds_left, remaining - MIN_SECONDS_LEFT)


def _misses_window(context: RetryContext, wait: float) -> bool:
    if not context.history.in_doubt or context.endpoint.repeat_is_harmless:
        return False
    # A repeat after the window would be executed as a new operation.
    remaining = seconds_left(context.window, context.history, context.now)
    return remaining is not None and wait + MIN_SECONDS_LEFT > remaining


def final_error(context: RetryContext) -> BardgeError:
    """Return the error for the whole history, not only for the last attempt."""
    error = _select_error(context)
    history = context.history
    error.endpoint, error.idempotency_key = context.endpoint.name, context.key
    error.attempts, error.sent, error.timed_out = history.attempts, history.sent, history.timed_out
    if context.outcome.retry_after is not None:
        error.retry_after = context.outcome.retry_after
    error.retryable = _is_retryable(context, error)
    return error


def _select_error(context: RetryContext) -> BardgeError:
    last, history = context.outcome.error, context.history
    assert last is not None
    if history.in_doubt:
        return outcome_unknown_error(context, last)
    if isinstance(last, NotSentError) and history.sent:
        return history.last_api_error or _no_answer_error(context, last)
    if isinstance(last, ResourceConflictError):
        last.sent_before = history.ever_in_doubt
    return last


def _no_answer_error(context: RetryContext, last: BardgeError) -> BardgeError:
    error = NoAnswerError(f"{context.endpoint.name}: no usable response to any attempt; the last error: {last}")
    error.__cause__ = last
    return error


def _is_retryable(context: RetryContext, error: BardgeError) -> bool:
    if isinstance(error, OutcomeUnknownError):
        return error.retryable
    if context.outcome.verdict in {Verdict.NOT_SENT, Verdict.BUSY, Verdict.NO_ANSWER}:
        return True
    return context.outcome.verdict in _FAULT_VERDICTS and context.endpoint.repeat_is_harmless


def outcome_unknown_error(context: RetryContext, last: BardgeError) -> OutcomeUnknownError:
    """Return the error for a POST that may or may not have been executed."""
    server_failed = context.outcome.verdict is Verdict.FAULT and not _may_repeat_faults(context)
    error = in_doubt_error(
        context.endpoint,
        context.history,
        context.key,
        context.now,
        window=context.window,
        last=last,
        server_failed=server_failed,
    )
    if context.outcome.verdict is Verdict.CACHED_FAULT and not context.endpoint.repeat_is_harmless:
        error.may_repeat = False
        error.add_note("the server has cached this failure: a repeat under the same key returns it again")
    return error


def in_doubt_error(
    endpoint: Endpoint[Any, Any],
    history: History,
    key: str | None,
    now: ClockReading,
    *,
    window: ReplayWindow,
    last: BardgeError | None = None,
    overtaken: bool = False,
    server_failed: bool = False,
) -> OutcomeUnknownError:
    """Return an error that says until when the POST may be repeated, and how to find out its outcome.

    ``server_failed``: the server's own failure may have made it forget the key.
    """
    first = history.first_sent or now
    remaining = seconds_left(window, history, now)
    reason = str(last) if last is not None else "an earlier call under this key got no usable response"
    advice = _OVERTAKEN_ADVICE if overtaken else _write_advice(endpoint, key, server_failed=server_failed)
    error = OutcomeUnknownError(f"{endpoint.name}: sent, but the outcome is unknown ({reason}). {advice}")
    error.endpoint, error.idempotency_key, error.sent = endpoint.name, key, True
    error.first_sent_at = first.to_datetime()
    error.may_repeat = error.retryable = endpoint.repeat_is_harmless and not overtaken
    if endpoint.key_is_honoured:
        error.window_closes_at = first.to_datetime() + dt.timedelta(seconds=window.length)
        inside = remaining is not None and remaining > MIN_SECONDS_LEFT
        error.may_repeat = error.may_repeat or (inside and not server_failed)
    if last is not None:
        error.last_error, error.request_id = last, last.request_id
    return error


_OVERTAKEN_ADVICE: Final = "A later call to the same path is recorded; repeating this one would undo it."
_WHERE_TO_LOOK: Final = {
    "credits": "bardge.clients.get_credits(client_id): is there a matching transaction",
    "bookings": "bardge.bookings.list_for_client(client_id): is there a matching booking",
    "passes": "bardge.passes.get_issued(client_id): does it show the change",
}


def _write_advice(endpoint: Endpoint[Any, Any], key: str | None, *, server_failed: bool) -> str:
    if endpoint.repeat_is_harmless:
        return "Repeating the call is harmless: it sets an absolute state."
    where = _WHERE_TO_LOOK.get(endpoint.name.partition(".")[0], "the vendor's support, with the request id and the key")
    if server_failed:
        return f"To find out: do not repeat it, the server may have forgotten the key; ask {where} since first_sent_at."
    repeating = (
        f"under key {key!r} it may be repeated only before window_closes_at; "
        if endpoint.key_is_honoured
        else "do not repeat it, no key protects this endpoint; "
    )
    return f"To find out: {repeating}else ask {where} since first_sent_at."
