"""What goes wrong within a worker besides being killed: its wall clock, and the answers that reach it.

The wall clock is set back, a little forward, and misread, at any reading: by up to a year with short windows, by seconds
with long ones, which have to stay open. All runs are in one boot: ``campaigns.window`` has reboots and pauses. Answers arrive
in odd JSON, cut to a complete but shorter body, or replaced by a proxy's page after the work.
"""

from __future__ import annotations

import os
import random
from typing import Final

import attrs
import orjson

from bardge_async._core.http import WireRequest, WireResponse
from bardge_async._network import AttemptLimits
from bardge_async._network.aiohttp_transport import AiohttpTransport
from bardge_async._runtime.clock import SystemClock
from campaigns.window.answers import GATEWAY, spell_oddly
from campaigns.window.exchange import PAGE

_SKEWS: Final = (0.0, 0.0, 0.3, -5.0, -120.0, -3600.0, -400 * 86_400.0)
_SMALL_SKEWS: Final = (0.0, 0.0, 0.3, -1.0, -5.0)
_OFTEN: Final = 0.05


class SteppedClock(SystemClock):
    """The machine's clock, with a wall clock that steps and is misread."""

    def __init__(self, *, widely: bool) -> None:
        """Create a clock; ``widely``: it may be wrong by more than a window, which then closes and leaves a doubt."""
        super().__init__()
        self._rng = random.Random(os.getpid())
        self._skews = _SKEWS if widely else _SMALL_SKEWS
        self._skew = self._rng.choice(self._skews)

    def wall(self) -> float:
        drawn = self._rng.random()
        if drawn < _OFTEN:
            self._skew = self._rng.choice(self._skews)
        misread = self._rng.choice(self._skews) if drawn > 1 - _OFTEN else 0.0
        return super().wall() + self._skew + misread


class OddTransport:
    """Spoil some of the answers to POSTs that come from the server's handler."""

    def __init__(self, clock: SystemClock) -> None:
        self._inner = AiohttpTransport(clock)
        self._rng = random.Random(os.getpid())

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        response = await self._inner.send(request, limits)
        if request.method != "POST" or response.status >= 500 or self._rng.random() > 2 * _OFTEN:
            return response
        # A refusal that is cut is unsettled, and its operation fails: the last run has to end without that.
        match self._rng.choice(["odd", "page", "cut"] if response.status < 400 else ["odd", "page"]):
            case "odd":
                return attrs.evolve(response, body=spell_oddly(orjson.loads(response.body), self._rng))
            case "cut":
                return attrs.evolve(response, body=response.body[: self._rng.randrange(len(response.body))])
            case _:
                return WireResponse(self._rng.choice(GATEWAY), {"Content-Type": "text/html"}, PAGE)

    async def aclose(self) -> None:
        await self._inner.aclose()
