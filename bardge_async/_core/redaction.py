"""Remove the API key from responses that echo it, as debug servers and careless proxies do."""

from __future__ import annotations

from typing import Final

import attrs
from multidict import CIMultiDict

from bardge_async._core.http import REQUEST_ID_HEADER, WireResponse

_REDACTED: Final = "***"
_MIN_KEY_LENGTH: Final = 12
"""Shorter keys, as used in tests, occur in responses by chance."""


def redact_api_key(response: WireResponse, authorization: str) -> WireResponse:
    """Return a response with the API key of an ``Authorization`` header redacted, or unchanged if it has none."""
    key = str(authorization).removeprefix("Bearer ")
    if len(key) < _MIN_KEY_LENGTH:
        return response
    if key.encode() not in response.body and key not in "\n".join(response.headers.values()):
        return response
    return attrs.evolve(
        response,
        headers=CIMultiDict((name, value.replace(key, _REDACTED)) for name, value in response.headers.items()),
        body=response.body.replace(key.encode(), _REDACTED.encode()),
    )


def redact_request_id(response: WireResponse, authorization: str) -> str | None:
    """Return a response's request id without the API key."""
    request_id = response.headers.get(REQUEST_ID_HEADER)
    if request_id is None or len(request_id) < _MIN_KEY_LENGTH:
        return request_id
    key = str(authorization).removeprefix("Bearer ")
    return request_id.replace(key, _REDACTED) if len(key) >= _MIN_KEY_LENGTH else request_id
