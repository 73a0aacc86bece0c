"""Unit tests without sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import orjson
from multidict import CIMultiDict

from bardge_async._core.http import WireRequest, WireResponse
from bardge_async._network import AttemptLimits
from bardge_async.errors import ConfigurationError

Step: TypeAlias = WireResponse | BaseException | Callable[[WireRequest], WireResponse]


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> WireResponse:
    """Make an answer with a JSON body."""
    lines = CIMultiDict({"Content-Type": "application/json", "Bardge-Request-Id": "req_fake", **(headers or {})})
    return WireResponse(status, lines, orjson.dumps(body))


class FakeTransport:
    """Answer requests from a script, one step each: ``BardgeClient("key", transport=FakeTransport(...))``.

    A step is an answer, an exception to raise, or a function of the request. ``requests`` holds what was sent, repeats
    too. A request beyond the script fails the call with ``ConfigurationError``.
    """

    def __init__(self, *script: Step) -> None:
        self.requests: list[WireRequest] = []
        self.closed = False
        self._script = list(script)

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        """Record a request and play the next step."""
        self.requests.append(request)
        if not self._script:
            raise ConfigurationError(f"FakeTransport: no step is left for {request.method} {request.url}")
        step = self._script.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step if isinstance(step, WireResponse) else step(request)

    async def aclose(self) -> None:
        """Note that the client was closed."""
        self.closed = True
