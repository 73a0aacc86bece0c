"""Send responses, intact or with an injected fault."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import orjson
from aiohttp import web

from bardge_async.sandbox._clock import SandboxClock
from bardge_async.sandbox._errors import ErrorAnswer, injected_error
from bardge_async.sandbox._faults import Fault, FaultKind
from bardge_async.sandbox._idempotency import SandboxResponse

_PIECES: Final = 10
_PROXY_PAGE: Final = b"<html><head><title>%d</title></head><body><center><h1>%d</h1></center></body></html>\n"
_JSON: Final = "application/json"
_BODYLESS: Final = frozenset({204, 304})
"""Statuses without a body."""


@attrs.frozen
class OutgoingResponse:
    """A response and the fault to apply while sending it; ``response`` None means that the connection is cut."""

    response: SandboxResponse | None
    fault: Fault | None = None


def new_request_id() -> str:
    """Return the id of a new request."""
    return f"req_{secrets.token_hex(16)}"


def error_response(error: ErrorAnswer, request_id: str) -> SandboxResponse:
    """Return the response with the documented error object."""
    detail = {"type": error.type, "code": error.code, "message": error.message, "request_id": request_id}
    return SandboxResponse(error.status, orjson.dumps({"error": detail}), request_id)


def apply_fault(response: SandboxResponse, fault: Fault | None) -> OutgoingResponse:
    """Apply a fault to a response, as far as it changes the response and not its transmission."""
    match fault:
        case Fault(kind=FaultKind.CUT_BEFORE | FaultKind.CUT_AFTER):
            return OutgoingResponse(None, fault)
        case Fault(kind=FaultKind.STATUS, status=int(status)):
            return OutgoingResponse(_replace_response(status, response, fault), fault)
        case Fault(kind=FaultKind.LIMIT):
            return OutgoingResponse(_replace_response(429, response, fault), fault)
        case Fault(kind=FaultKind.MALFORMED):
            return OutgoingResponse(attrs.evolve(response, body=response.body[: len(response.body) // 2]), fault)
        case _:
            return OutgoingResponse(response, fault)


def _replace_response(status: int, response: SandboxResponse, fault: Fault) -> SandboxResponse:
    if status in _BODYLESS:
        return SandboxResponse(status, b"", response.request_id)
    if fault.error:
        return error_response(injected_error(status), response.request_id)
    return SandboxResponse(status, _PROXY_PAGE % (status, status), "")


def build_response(response: SandboxResponse, fault: Fault | None = None) -> web.Response:
    """Return a response that is sent as a whole."""
    return web.Response(status=response.status, body=response.body, headers=_build_headers(response, fault))


async def send_response(request: web.Request, outgoing: OutgoingResponse, clock: SandboxClock) -> web.StreamResponse:
    """Send a response, or what the fault leaves of it."""
    response, fault = outgoing.response, outgoing.fault
    if response is None:
        return _cut_connection(request)
    kind = fault.kind if fault else None
    if fault is None or kind not in {FaultKind.TRUNCATE, FaultKind.DRIP}:
        return build_response(response, fault)
    stream = web.StreamResponse(status=response.status, headers=_build_headers(response, fault))
    # The full length is declared, so that the client can see that a truncated body is incomplete.
    stream.content_length = len(response.body)
    await stream.prepare(request)
    if kind is FaultKind.DRIP:
        return await _drip_body(stream, response.body, lambda: clock.sleep((fault.seconds or 0) / _PIECES))
    await stream.write(response.body[: len(response.body) // 2 if fault.keep is None else fault.keep])
    if request.transport is not None:
        # Unlike abort(), close() sends what was written before.
        request.transport.close()
    return stream


async def _drip_body(
    stream: web.StreamResponse, body: bytes, wait: Callable[[], Awaitable[None]]
) -> web.StreamResponse:
    step = -(-len(body) // _PIECES)
    for start in range(0, len(body), step):
        await wait()
        await stream.write(body[start : start + step])
    return stream


def _build_headers(response: SandboxResponse, fault: Fault | None) -> dict[str, str]:
    # A proxy's page has no request id.
    headers = {"Content-Type": _JSON if response.request_id else "text/html"}
    if response.request_id:
        headers["Bardge-Request-Id"] = response.request_id
    if response.replayed:
        headers["X-Idempotent-Replayed"] = "true"
    retry_after = fault.retry_after if fault else None
    if retry_after is None and fault and fault.kind is FaultKind.LIMIT:
        retry_after = 1
    if retry_after is not None:
        headers["Retry-After"] = retry_after if isinstance(retry_after, str) else f"{retry_after:g}"
    return headers


def _cut_connection(request: web.Request) -> web.Response:
    if request.transport is not None:
        # abort() drops what is buffered: not a byte of a response is sent.
        request.transport.abort()
    # aiohttp expects a response; it is not sent on a closed transport.
    return web.Response()
