"""The network: the Transport protocol and its implementation over aiohttp."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import attrs

from bardge_async._core.http import WireRequest, WireResponse

__all__ = ["AttemptLimits", "Transport"]


@attrs.frozen
class AttemptLimits:
    """Limit one attempt in time.

    Before the first byte of a request a transport has to ask ``may_write()``, after connecting: while it connects, the
    key's replay window may close, and the clocks may be set. If the answer is False it must write nothing and raise
    ``NotSentError`` or ``ConnectError``; otherwise the server may execute the request a second time. A transport that
    cannot hook in there must at least not begin to write at ``latest_write`` or later by the wall clock.

    It writes to a kept connection only if that was idle for less than ``max_idle`` seconds, else to a new one: a kept
    connection may be dead without a sign, and then the request's outcome is unknown.

    Attributes:
        connect: Seconds from the attempt's start until writing begins.
        answer: Seconds from the attempt's start until the response is complete.
        max_idle: Seconds that a kept connection may have been idle; 0 asks for a new one.
        latest_write: The latest permitted moment of the first byte, a Unix time in seconds; infinite if there is none.
        check_window: What ``may_write`` asks, by all clocks; None if the request may be written at any time.
    """

    connect: float
    answer: float
    max_idle: float = math.inf
    latest_write: float = math.inf
    check_window: Callable[[], bool] | None = attrs.field(default=None, eq=False, repr=False)

    def may_write(self) -> bool:
        """Return whether the first byte may be written now."""
        return self.check_window is None or self.check_window()


class Transport(Protocol):
    """Send a request exactly once; pass your own as ``BardgeClient(transport=...)``.

    ``send`` raises ``ConnectError`` only if it is certain that nothing reached the server, and ``NoAnswerError``
    otherwise. It never follows redirects and never retries. Any other exception counts as sent; a cancellation does not
    if it was raised ``from`` a ``ConnectError``. Immediately before the first byte it asks ``limits.may_write()``.
    """

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        """Send a request and return the complete response."""
        ...

    async def aclose(self) -> None:
        """Close all connections, in all loops."""
