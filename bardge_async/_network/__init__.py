"""The network: the Transport protocol and its implementation over aiohttp."""

from __future__ import annotations

from typing import Protocol

from bardge_async._core.http import AttemptLimits, WireRequest, WireResponse

__all__ = ["AttemptLimits", "Transport"]


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
