"""A fake transport, for unit tests without sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import orjson
from multidict import CIMultiDict

from bardge_async._core.http import WireRequest, WireResponse
from bardge_async._network import AttemptLimits
from bardge_async.errors import ConfigurationError, ConnectError

Step: TypeAlias = WireResponse | BaseException | Callable[[WireRequest], WireResponse]


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> WireResponse:
    """Make a response with a JSON body."""
    lines = CIMultiDict({"Content-Type": "application/json", "Bardge-Request-Id": "req_fake", **(headers or {})})
    return WireResponse(status, lines, orjson.dumps(body))


class FakeTransport:
    """Answer each request with the next step of a script: ``BardgeClient("key", transport=FakeTransport(...))``.

    A step is a response, an exception to raise, or a function that is called with the request. ``requests`` holds the
    requests sent, retries included. A request beyond the script fails the call with ``ConfigurationError``.
    """

    def __init__(self, *script: Step) -> None:
        self.requests: list[WireRequest] = []
        self.closed = False
        self._script = list(script)

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        """Record the request and execute the next step.

        Raises:
            ConnectError: The key's replay window has closed, so nothing may be written.
        """
        if not limits.may_write():
            raise ConnectError("not sent: the replay window of the key has closed")
        self.requests.append(request)
        if not self._script:
            raise ConfigurationError(f"FakeTransport: no step is left for {request.method} {request.url}")
        step = self._script.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step if isinstance(step, WireResponse) else step(request)

    async def aclose(self) -> None:
        """Set ``closed``."""
        self.closed = True
