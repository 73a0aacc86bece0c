"""What the sandbox was asked, for tests to look at."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

import attrs
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from bardge_async.sandbox._faults import FaultKind

MAX_REQUESTS: Final = 10_000
"""So many requests are remembered, the latest ones."""


@attrs.frozen(eq=False)
class RecordedRequest:
    """One request; ``path`` and ``query`` are as sent, ``headers`` without ``Authorization``.

    ``status`` is None where the connection was cut, ``endpoint`` where no row answers the path. ``fault`` tells what was
    made to go wrong.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    status: int | None
    idempotency_key: str | None
    endpoint: str | None
    replayed: bool
    fault: FaultKind | None = None


def record_request(
    request: web.Request,
    body: bytes,
    endpoint: str | None,
    *,
    status: int | None,
    replayed: bool,
    fault: FaultKind | None = None,
) -> RecordedRequest:
    """Describe a request without its credentials."""
    path, _, query = request.raw_path.partition("?")
    headers: CIMultiDict[str] = request.headers.copy()
    headers.popall("Authorization", None)
    return RecordedRequest(
        request.method,
        path,
        query,
        CIMultiDictProxy(headers),
        body,
        status,
        headers.get("Idempotency-Key"),
        endpoint,
        replayed,
        fault,
    )


def new_request_log() -> deque[RecordedRequest]:
    """Make an empty, bounded record."""
    return deque(maxlen=MAX_REQUESTS)
