"""HTTP as values: a request, an answer, a result with what came around it; and the checks of header values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

import attrs

from bardge_async.endpoints import Endpoint
from bardge_async.errors import InvalidArgumentError

__all__ = ["Response", "WireRequest", "WireResponse"]

R = TypeVar("R")

KEY_HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "X-Idempotent-Replayed"
REQUEST_ID_HEADER: Final = "Bardge-Request-Id"
TOKEN_HEADER: Final = "Bardge-Lookup-Token"  # noqa: S105 - a header's name
MAX_TOKEN_LENGTH: Final = 4096

_VISIBLE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


@attrs.frozen
class WireRequest:
    """One HTTP request as a transport sends it: ``url`` is absolute and encoded, secrets in ``headers`` are hidden."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


@attrs.frozen
class WireResponse:
    """One whole HTTP answer: ``headers`` are looked up without regard to case, ``body`` is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen
class Response(Generic[R]):
    """Hold a result with what came around it.

    Attributes:
        value: The result, of the row's response class.
        status: The HTTP status of the last answer.
        headers: Its headers, looked up without regard to case.
        request_id: Its ``Bardge-Request-Id``, for the vendor's support.
        attempts: How many requests the call took.
        idempotency_key: The key that the POST was sent with, or None.
        replayed: ``"server"`` when the server returned a cached answer, ``"journal"`` when it was on record here and
            nothing was sent, else None.
    """

    value: R
    status: int
    headers: Mapping[str, str] = attrs.field(hash=False)
    request_id: str | None
    attempts: int
    idempotency_key: str | None
    replayed: str | None


@attrs.frozen
class PreparedRequest:
    """One operation, made into bytes once for all its attempts."""

    endpoint: Endpoint[Any, Any]
    url: str
    body: bytes | None
    headers: Mapping[str, str]
    key: str | None = None
    given: bool = False
    """Whether the caller chose the key."""
    is_fresh_key: bool = False
    """Whether the key was made for this very call: then no journal can know it."""


def is_visible_ascii(text: object, max_length: int) -> bool:
    """Tell whether a header value arrives as it is: visible ASCII, no blanks at the ends."""
    return isinstance(text, str) and len(text) <= max_length and _VISIBLE.fullmatch(text) is not None


def check_token(token: object) -> str:
    """Return a lookup token that is safe in a header; its value is in no error."""
    if isinstance(token, str) and is_visible_ascii(token, MAX_TOKEN_LENGTH):
        return token
    raise InvalidArgumentError("lookup_token: expected visible ASCII characters without blanks at the ends")
