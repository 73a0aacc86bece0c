"""The time limits of one attempt: the call's deadline, and the replay window of a key in doubt."""

from __future__ import annotations

from bardge_async._calls.context import CallContext
from bardge_async._core.http import PreparedRequest
from bardge_async._core.retry import compute_max_idle
from bardge_async._core.window import MIN_SECONDS_LEFT, ClockReading, History, seconds_left
from bardge_async._network import AttemptLimits


def compute_limits(
    context: CallContext, request: PreparedRequest, history: History, deadline: float, now: ClockReading
) -> AttemptLimits | None:
    """Return the time limits of the next attempt; None if deadline or window leave no time for it."""
    timeouts, window, time_left = context.settings.timeouts, context.settings.window, deadline - now.elapsed
    if time_left <= 0:
        return None
    connect, answer = min(timeouts.connect, time_left), min(timeouts.attempt, time_left)
    max_idle = compute_max_idle(request.endpoint, history, context.settings.policy)
    if not history.in_doubt or request.endpoint.repeat_is_harmless:
        return AttemptLimits(connect, answer, max_idle)
    # Connecting and writing must end inside the window; reading the response may go on after it.
    window_left = seconds_left(window, history, now)
    if window_left is None or window_left < MIN_SECONDS_LEFT:
        return None

    def is_window_open() -> bool:
        """Judge the age again: while connecting, the machine may have slept or its wall clock may have been set."""
        left = seconds_left(window, history, context.clock_reader.now())
        return left is not None and left > 0

    return AttemptLimits(min(connect, window_left), answer, max_idle, now.wall + window_left, is_window_open)
