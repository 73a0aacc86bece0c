"""A client with a scripted server, on a clock that the test advances."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs

from bardge_async import BardgeClient, PurchaseCredits, RetryPolicy
from bardge_async.testing import ManualClock
from tests.support.server import Received, ScriptedServer, Step

PURCHASE: Final = PurchaseCredits(client_id="client_abc123", package_id="cpkg_50")
OTHER: Final = PurchaseCredits(client_id="client_abc123", package_id="cpkg_10")
AT_ONCE: Final = RetryPolicy(base=0)
"""Retries without waits, where the wait is not the point."""


@attrs.frozen
class Rig:
    """A client, its server and its clock."""

    server: ScriptedServer
    bardge: BardgeClient
    clock: ManualClock

    @property
    def request_count(self) -> int:
        """Return how many requests arrived."""
        return len(self.server.requests)

    @property
    def keys(self) -> list[str | None]:
        """Return the idempotency keys that arrived, in order."""
        return [request.headers.get("idempotency-key") for request in self.server.requests]


@asynccontextmanager
async def open_rig(*script: Step, clock: ManualClock | None = None, **options: Any) -> AsyncGenerator[Rig]:
    """Run a scripted server with a client of it; ``options`` are the client's."""
    clock = clock or ManualClock()
    options = {"retry": AT_ONCE, "clock": clock, **options}
    async with ScriptedServer(*script) as server, BardgeClient("key", server.base_url, **options) as bardge:
        yield Rig(server, bardge, clock)


def advance_then(clock: ManualClock, seconds: float, then: Step | None = None) -> Step:
    """Let time pass once the request has arrived, then continue with ``then``, or never answer."""

    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        clock.advance(seconds)
        if then is None:
            await asyncio.Event().wait()
        else:
            await then(request, writer)

    return handle_request
