"""Outcomes of one attempt, by short names, as the transport and the response module report them."""

from __future__ import annotations

import json
from typing import Any, Final

from multidict import CIMultiDict

from bardge_async import WireResponse
from bardge_async._core import response as wire
from bardge_async._core.response import Outcome, Verdict
from bardge_async.endpoints import Endpoint
from bardge_async.errors import ConnectError, NoAnswerError, PoolTimeoutError

ORIGIN: Final = "https://api.example/v3"
PAGE: Final = b"<html>Bad Gateway</html>"
WALL: Final = 1_780_000_000.0

# Name of a response with the API's error object: status, type, code.
OBJECTS: Final = {
    "400": (400, "invalid_request_error", "validation_error"),
    "401": (401, "authentication_error", "invalid_api_key"),
    "403": (403, "permission_error", "account_disabled"),
    "404": (404, "invalid_request_error", "pass_not_found"),
    "408": (408, "api_error", None),
    "409 conflict": (409, "resource_conflict_error", "slot_unavailable"),
    "409 reused": (409, "idempotency_error", "idempotency_key_reused"),
    "409 running": (409, "idempotency_error", "request_in_progress"),
    "422": (422, "invalid_request_error", None),
    "425": (425, "api_error", None),
    "429": (429, "api_error", None),
    "500": (500, "api_error", None),
    "500 replayed": (500, "api_error", None),
    "503": (503, "api_error", None),
}
# Name of a response that is not the API's: status, body.
PAGES: Final = {
    "200 html": (200, PAGE),
    "200 empty": (200, b""),
    "200 broken": (200, b'{"balance": 2'),
    "302": (302, b""),
    "400 page": (400, PAGE),
    "404 page": (404, PAGE),
    "409 page": (409, PAGE),
    "429 page": (429, PAGE),
    "500 page": (500, PAGE),
    "502 page": (502, PAGE),
    "503 page": (503, b""),
    "504 page": (504, PAGE),
    "520 page": (520, PAGE),
}


def make_response(name: str, **headers: str) -> WireResponse:
    """Make the response of a name; header names are given with underscores."""
    lines = CIMultiDict({key.replace("_", "-"): value for key, value in headers.items()})
    lines.setdefault("Bardge-Request-Id", "req_header")
    if name in PAGES:
        status, body = PAGES[name]
        return WireResponse(status, lines, body)
    status, kind, code = OBJECTS[name]
    if name.endswith("replayed"):
        lines["X-Idempotent-Replayed"] = "true"
    detail = {"type": kind, "code": code, "message": "no", "request_id": "req_body"}
    return WireResponse(status, lines, json.dumps({"error": detail}).encode())


def classify_attempt(row: Endpoint[Any, Any], name: str, **headers: str) -> Outcome:
    """Return the outcome of an attempt with the response of that name."""
    made: dict[str, Outcome] = {
        "refused": Outcome(Verdict.NOT_SENT, error=ConnectError("no connection")),
        "no slot": Outcome(Verdict.NOT_SENT, error=PoolTimeoutError("no connection came free")),
        "cut": Outcome(Verdict.NO_ANSWER, error=NoAnswerError("the connection broke")),
    }
    if name in made:
        return made[name]
    if name == "200 odd":
        return wire.classify(row, WireResponse(200, CIMultiDict(), b'"odd"'), WALL, ORIGIN)
    return wire.classify(row, make_response(name, **headers), WALL, ORIGIN)
