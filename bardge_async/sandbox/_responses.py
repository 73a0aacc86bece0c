"""The way out: how an answer reaches the line, whole or with a fault in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import orjson
from aiohttp import web

from bardge_async.sandbox._clock import SandboxClock
from bardge_async.sandbox._errors import Refusal, failing
from bardge_async.sandbox._faults import Fault, FaultKind
from bardge_async.sandbox._idempotency import Answer

_PIECES: Final = 10
_PAGE: Final = b"<html><head><title>%d</title></head><body><center><h1>%d</h1></center></body></html>\n"
_JSON: Final = "application/json"
_EMPTY: Final = frozenset({204, 304})
"""Statuses that have no body."""


@attrs.frozen
class Outgoing:
    """An answer with what the line makes of it; ``answer`` None means that the connection is cut."""

    answer: Answer | None
    fault: Fault | None = None


def refused(refusal: Refusal, request_id: str) -> Answer:
    """Make the documented error object."""
    detail: dict[str, str] = {"type": refusal.type}
    if refusal.code:
        detail["code"] = refusal.code
    detail |= {"message": refusal.message, "request_id": request_id}
    return Answer(refusal.status, orjson.dumps({"error": detail}), request_id)


def spoiled(answer: Answer, fault: Fault | None) -> Outgoing:
    """Put a fault into an answer: whatever does not need the line for it."""
    match fault:
        case Fault(kind=FaultKind.CUT_BEFORE | FaultKind.CUT_AFTER):
            return Outgoing(None, fault)
        case Fault(kind=FaultKind.STATUS, status=int(status)):
            return Outgoing(_other(status, answer, fault), fault)
        case Fault(kind=FaultKind.LIMIT):
            return Outgoing(_other(429, answer, fault), fault)
        case Fault(kind=FaultKind.MALFORMED):
            return Outgoing(attrs.evolve(answer, body=answer.body[: len(answer.body) // 2]), fault)
        case _:
            return Outgoing(answer, fault)


def _other(status: int, answer: Answer, fault: Fault) -> Answer:
    if status in _EMPTY:
        return Answer(status, b"", answer.request_id)
    if fault.error:
        return refused(failing(status), answer.request_id)
    return Answer(status, _PAGE % (status, status), "")


async def send(request: web.Request, outgoing: Outgoing, clock: SandboxClock) -> web.StreamResponse:
    """Send an answer, or what the fault leaves of it."""
    answer, fault = outgoing.answer, outgoing.fault
    if answer is None:
        return _cut(request)
    kind = fault.kind if fault else None
    if fault is None or kind not in {FaultKind.TRUNCATE, FaultKind.DRIP}:
        return web.Response(status=answer.status, body=answer.body, headers=_headers(answer, fault))
    response = web.StreamResponse(status=answer.status, headers=_headers(answer, fault))
    response.content_length = len(answer.body)
    await response.prepare(request)
    if kind is FaultKind.DRIP:
        return await _drip(response, answer.body, lambda: clock.sleep((fault.seconds or 0) / _PIECES))
    await response.write(answer.body[: len(answer.body) // 2 if fault.keep is None else fault.keep])
    if request.transport is not None:
        request.transport.close()
    return response


async def _drip(response: web.StreamResponse, body: bytes, wait: Callable[[], Awaitable[None]]) -> web.StreamResponse:
    step = -(-len(body) // _PIECES)
    for start in range(0, len(body), step):
        await wait()
        await response.write(body[start : start + step])
    return response


def _headers(answer: Answer, fault: Fault | None) -> dict[str, str]:
    headers = {"Content-Type": _JSON if answer.request_id else "text/html"}
    if answer.request_id:
        headers["Bardge-Request-Id"] = answer.request_id
    if answer.replayed:
        headers["X-Idempotent-Replayed"] = "true"
    asked = fault.retry_after if fault else None
    if asked is None and fault and fault.kind is FaultKind.LIMIT:
        asked = 1
    if asked is not None:
        headers["Retry-After"] = asked if isinstance(asked, str) else f"{asked:g}"
    return headers


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
