"""Ask the server for its time before a send that depends on it: ``ReplayWindow(probe=True)``."""

from __future__ import annotations

from typing import Final

from bardge_async._calls.context import CallContext
from bardge_async._core.http import KEY_HEADER, TOKEN_HEADER, PreparedRequest, WireRequest
from bardge_async._core.server_clock import parse_http_date
from bardge_async._core.window import MIN_SECONDS_LEFT, History
from bardge_async._network import AttemptLimits
from bardge_async.errors import NotSentError

_PATH: Final = "/passes?limit=1"
_NOT_OF_A_GET: Final = frozenset(name.lower() for name in (KEY_HEADER, TOKEN_HEADER, "Content-Type"))


async def probe_window(
    context: CallContext, request: PreparedRequest, history: History, header: str, deadline: float
) -> NotSentError | None:
    """Ask for the server's time if the next send depends on it; return an error if nothing may be sent.

    A repeat depends on it, and a first send before which it is not known.
    """
    window, reader, endpoint = context.settings.window, context.clock_reader, request.endpoint
    if request.key is None or endpoint.repeat_is_harmless or not endpoint.key_is_honoured:
        return None
    if not history.in_doubt:
        if reader.now().server is None:
            await _ask_server_time(context, request, header, deadline)
        return None
    first = history.first_sent
    date = None if first is None or first.server is None else await _ask_server_time(context, request, header, deadline)
    if first is None or first.server is None or date is None:
        return NotSentError(
            "not sent: the server's time is not known, by which `ReplayWindow(probe=True)` judges the key"
        )
    # Judged by this one answer, even if it departs from the ones before: after a pause of this machine all will.
    if window.length - window.margin - (date - first.server) < MIN_SECONDS_LEFT:
        return NotSentError("not sent: by the server's clock the replay window of the key has closed")
    return None


async def _ask_server_time(
    context: CallContext, request: PreparedRequest, header: str, deadline: float
) -> float | None:
    """Send a GET; return the server's time from its answer, whatever the status, and None without one."""
    settings, reader = context.settings, context.clock_reader
    time_left = deadline - reader.clock.elapsed()
    if time_left <= 0:
        return None
    headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_OF_A_GET}
    wire_request = WireRequest("GET", settings.base_url + _PATH, {**headers, "Authorization": header})
    limits = AttemptLimits(min(settings.timeouts.connect, time_left), min(settings.timeouts.attempt, time_left))
    try:
        response = await context.transport.send(wire_request, limits)
    except Exception:  # noqa: BLE001 - also of a user's transport: there is no answer
        return None
    text = response.headers.get("Date", "")
    reader.observe_date(text)
    return parse_http_date(text)
