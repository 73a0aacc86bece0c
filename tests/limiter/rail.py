"""A limiter of the tests' own, in this process: evenly spaced permits on an injected clock."""

from __future__ import annotations

import asyncio

import attrs

from bardge_async import AttemptLimits, WireRequest, WireResponse
from bardge_async.errors import ThrottledError
from bardge_async.testing import ManualClock
from tests.support.line import make_response


@attrs.define
class Rail:
    """Grant permits evenly; ``asked`` holds the timeouts of all callers, ``holds`` the seconds that 429s asked for.

    ``held`` is for how long another process's 429 holds everyone.
    """

    clock: ManualClock
    interval: float = 0.0
    asked: list[float] = attrs.field(factory=list[float])
    holds: list[float] = attrs.field(factory=list[float])
    due: float = 0.0
    held: float = 0.0

    async def acquire(self, timeout: float) -> None:
        self.asked.append(timeout)
        if self.held >= timeout:
            error = ThrottledError("held by another process")
            error.retry_after = self.held
            raise error
        now = self.clock.elapsed()
        wait = max(0.0, self.due - now)
        if wait >= timeout:
            raise ThrottledError("the rate is used up")
        self.due = now + wait + self.interval
        if wait:
            await self.clock.sleep(wait)

    def hold(self, seconds: float) -> None:
        self.holds.append(seconds)


@attrs.define
class Broken(Rail):
    """A limiter that raises an error of its own."""

    async def acquire(self, timeout: float) -> None:
        raise OSError("no route to the limiter")


@attrs.define
class Door:
    """A transport that answers while it is open."""

    opened: asyncio.Event = attrs.field(factory=asyncio.Event)
    sent: list[str] = attrs.field(factory=list[str])

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        self.sent.append(request.url.rpartition("/")[2])
        await self.opened.wait()
        return make_response()

    async def aclose(self) -> None:
        """Close nothing."""
