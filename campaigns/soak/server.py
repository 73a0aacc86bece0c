"""A server that answers, fails, cuts or hangs as the request's client id says."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from typing import Final, cast

ENDINGS: Final = ("answer", "missing", "busy", "cut", "half", "hang")
"""What a client id may ask for: an answer, 404, 503, no answer, part of an answer, or silence."""
_ENDING: Final = re.compile(b"soak_([a-z]+)")
_numbers: Final = itertools.count()


def _encode(status: int, payload: object) -> bytes:
    body = json.dumps(payload).encode()
    head = f"HTTP/1.1 {status} Soak\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _answer(request: bytes) -> bytes:
    if b"/bookings" not in request:
        return _encode(200, {"balance": 5, "currency": "NGN"})
    items = [{"id": f"b{next(_numbers)}", "created": 1746700000123, "date": "2026-05-20"} for _ in range(3)]
    return _encode(200, {"object": "list", "has_more": True, "data": items})


class SoakProtocol(asyncio.Protocol):
    """One connection: each piece of data that names an ending is a request."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        found = _ENDING.search(data)
        ending = "answer" if found is None else found[1].decode()
        if ending == "answer":
            self._transport.write(_answer(data))
        elif ending in {"missing", "busy"}:
            error = {"type": "api_error", "code": None, "message": "no"}
            self._transport.write(_encode(404 if ending == "missing" else 503, {"error": error}))
        elif ending == "half":
            self._transport.write(_answer(data)[:-9])
            self._transport.close()
        elif ending == "cut":
            self._transport.abort()
