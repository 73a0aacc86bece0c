"""HTTP requests, responses and results as values, and the checks of header values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import attrs

from bardge_async._core.factories import compile_factory
from bardge_async.endpoints import Endpoint
from bardge_async.errors import InvalidArgumentError

__all__ = ["AttemptLimits", "Response", "WireRequest", "WireResponse"]

R = TypeVar("R")

KEY_HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "X-Idempotent-Replayed"
REQUEST_ID_HEADER: Final = "Bardge-Request-Id"
TOKEN_HEADER: Final = "Bardge-Lookup-Token"  # noqa: S105 - a header's name
MAX_TOKEN_LENGTH: Final = 4096

# How Python decodes the bytes of a header that are no UTF-8.
_RAW_BYTES: Final = {0xDC00 + byte: byte for byte in range(0x80, 0x100)}
_VISIBLE: Final = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


@attrs.frozen(weakref_slot=False)
class WireRequest:
    """One HTTP request for a transport: ``url`` is absolute and encoded; secret ``headers`` have a masked ``repr``."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


@attrs.frozen(weakref_slot=False)
class AttemptLimits:
    """Limit one attempt in time.

    Before the first byte of a request a transport has to ask ``may_write()``, after connecting: while it connects, the
    key's replay window may close, and the clocks may be set. If the answer is False it must write nothing and raise
    ``NotSentError`` or ``ConnectError``; otherwise the server may execute the request a second time. A transport that
    cannot hook in there must at least not begin to write at ``latest_write`` or later by the wall clock.

    It writes to a kept connection only if that was idle for less than ``max_idle`` seconds, else to a new one: a kept
    connection may be dead without a sign, and then the request's outcome is unknown.

    Attributes:
        connect: Seconds from the attempt's start until writing begins.
        answer: Seconds from the attempt's start until the response is complete.
        max_idle: Seconds that a kept connection may have been idle; 0 asks for a new one.
        latest_write: The latest permitted moment of the first byte, a Unix time in seconds; infinite if there is none.
        check_window: What ``may_write`` asks, by all clocks; None if the request may be written at any time.
    """

    connect: float
    answer: float
    max_idle: float = math.inf
    latest_write: float = math.inf
    check_window: Callable[[], bool] | None = attrs.field(default=None, eq=False, repr=False)

    def may_write(self) -> bool:
        """Return whether the first byte may be written now."""
        return self.check_window is None or self.check_window()


@attrs.frozen(weakref_slot=False)
class WireResponse:
    """One complete HTTP response: ``headers`` are case-insensitive, ``body`` is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen
class Response(Generic[R]):
    """Hold a result with its HTTP status, headers and retry details.

    Attributes:
        value: The result, an instance of the endpoint's response class.
        status: The HTTP status of the last response.
        headers: Its headers; names are case-insensitive, values printable ASCII, anything else escaped.
        request_id: Its ``Bardge-Request-Id``, for the vendor's support.
        attempts: The number of requests sent for the call.
        idempotency_key: The key the POST was sent with, or None.
        replayed: ``"server"`` if the server returned its cached response, ``"journal"`` if the result came from the
            local journal without a request, else None.
    """

    value: R
    status: int
    # A mapping has no hash.
    headers: Mapping[str, str] = attrs.field(hash=False)
    request_id: str | None
    attempts: int
    idempotency_key: str | None
    replayed: str | None


@attrs.frozen(weakref_slot=False)
class PreparedRequest:
    """One operation, encoded once so that every attempt sends the same bytes."""

    endpoint: Endpoint[Any, Any]
    url: str
    body: bytes | None
    headers: Mapping[str, str]
    key: str | None = None
    given: bool = False
    """Whether the caller chose the key."""
    is_fresh_key: bool = False
    """Whether the key was generated for this call, so no journal can contain it."""


make_wire_request: Final = compile_factory(WireRequest)
make_wire_response: Final = compile_factory(WireResponse)
make_attempt_limits: Final = compile_factory(AttemptLimits)
make_prepared_request: Final = compile_factory(PreparedRequest)


def is_visible_ascii(text: object, max_length: int) -> bool:
    """Return whether a header value arrives unchanged: visible ASCII without leading or trailing spaces."""
    return isinstance(text, str) and len(text) <= max_length and _VISIBLE.fullmatch(text) is not None


def escape_text(text: str) -> str:
    """Return text from the wire as printable ASCII, everything else escaped, so that any log and any store takes it."""
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_RAW_BYTES).encode("unicode_escape").decode("ascii")


def escape_unprintable(text: str) -> str:
    """Return text for people, in any language: only what a terminal, a log or UTF-8 cannot take is escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def check_token(token: object) -> str:
    """Return a lookup token that is safe in a header. It is a secret, so the error message omits it."""
    if isinstance(token, str) and is_visible_ascii(token, MAX_TOKEN_LENGTH):
        return token
    raise InvalidArgumentError("lookup_token: expected visible ASCII characters without leading or trailing spaces")
