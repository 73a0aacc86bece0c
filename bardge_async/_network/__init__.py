"""The network: the Transport protocol and its implementation over aiohttp."""

from __future__ import annotations

import math
from typing import Protocol

import attrs

from bardge_async._core.http import WireRequest, WireResponse

__all__ = ["AttemptLimits", "Transport"]


@attrs.frozen
class AttemptLimits:
    """Time limits of one attempt in seconds from its start: ``connect`` until writing begins, ``answer`` in total.

    Write to a kept connection only if it was idle for less than ``max_idle`` seconds, else to a new one; 0 asks for a
    new one. A kept connection may be dead without a sign, and then the request's outcome is unknown.
    """

    connect: float
    answer: float
    max_idle: float = math.inf


class Transport(Protocol):
    """Send a request exactly once; pass your own as ``BardgeClient(transport=...)``.

    ``send`` raises ``ConnectError`` only if it is certain that nothing reached the server, and ``NoAnswerError``
    otherwise. It never follows redirects and never retries. Any other exception counts as sent; a cancellation does not
    if it was raised ``from`` a ``ConnectError``.
    """

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        """Send a request and return the complete response."""
        ...

    async def aclose(self) -> None:
        """Close all connections, in all loops."""
