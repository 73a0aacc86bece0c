"""The seam to the network: a small protocol, and aiohttp behind it."""

from __future__ import annotations

from typing import Protocol

import attrs

from bardge_async._core.http import WireRequest, WireResponse

__all__ = ["AttemptLimits", "Transport"]


@attrs.frozen
class AttemptLimits:
    """Limit one attempt, in seconds from its begin: ``connect`` until the request is written, ``answer`` in all."""

    connect: float
    answer: float


class Transport(Protocol):
    """Send one request once; give your own as ``BardgeClient(transport=...)``.

    ``send`` raises ``ConnectError`` only if it is proved that nothing reached the server, and ``NoAnswerError``
    otherwise; it never follows redirects and never repeats. Any other exception counts as sent.
    """

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        """Send a request and return the whole answer."""
        ...

    async def aclose(self) -> None:
        """Close what is open, in all loops."""
