"""The requests that the sandbox received, for tests to inspect."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

import attrs
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from bardge_async.sandbox._faults import FaultKind

MAX_REQUESTS: Final = 10_000
"""How many of the latest requests are kept."""


@attrs.frozen(eq=False)
class RecordedRequest:
    """One request; ``path`` and ``query`` are as sent, ``headers`` without ``Authorization``.

    ``status`` is None if the connection was cut, ``endpoint`` if no endpoint has the path; ``fault`` is the kind of the
    injected fault, if any.
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
    """Return a record of a request, without its credentials."""
    path, _, query = request.raw_path.partition("?")
    headers: CIMultiDict[str] = request.headers.copy()
    # The log is served over HTTP and printed by tests: no credentials in it.
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
    """Return an empty, bounded log."""
    return deque(maxlen=MAX_REQUESTS)
