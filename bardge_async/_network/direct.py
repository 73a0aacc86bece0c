"""Send a request over aiohttp's connector and parser directly: the session takes most of a call's time.

TLS, DNS, the connection pool and the parser are aiohttp's. The parts of it that are not public API are listed in
:class:`AiohttpInternals` and the tables below it. A client checks once that all exist and take the same arguments, and
otherwise uses the session. So it does with a user's own session, with a proxy, and if a test library or an
instrumentation has replaced ``ClientSession._request`` or added trace configs.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from collections.abc import Mapping
from types import FunctionType
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp import ClientRequest, ClientSession, ClientTimeout, StreamReader, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from yarl import URL

from bardge_async._core.http import WireRequest, WireResponse, make_wire_response
from bardge_async._core.secret import Secret, SecretBytes
from bardge_async._network.attempt import MAX_RESPONSE_SIZE, Attempt, ResponseTooLargeError
from bardge_async._network.reuse import ConnectionGuard, Host, KeptConnectionError, Usage, detach_parser
from bardge_async._network.unreadable import MAX_HEADER_LINE, MAX_HEADERS

_ORIGINAL_REQUEST: Final = ClientSession._request  # noqa: SLF001 - what test libraries and instrumentations replace
_PATCHED_BEFORE_IMPORT: Final = type(_ORIGINAL_REQUEST) is not FunctionType or hasattr(_ORIGINAL_REQUEST, "__wrapped__")
"""Whether the function had been replaced before this module was imported."""
_NO_TIMEOUT: Final = ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_BUFFER_SIZE: Final = 2**16
_RESPONSE_PARAMETERS: Final[dict[str, Any]] = {
    "read_until_eof": True,
    "auto_decompress": True,
    "read_bufsize": _BUFFER_SIZE,
    "max_line_size": MAX_HEADER_LINE,
    "max_field_size": MAX_HEADER_LINE,
    "max_headers": MAX_HEADERS,
}
_PLAIN_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+")
_PLAIN_TARGET: Final = re.compile(r"/[!-\"$-~]*")
_SWITCHING_PROTOCOLS: Final = 101


class AiohttpInternals(NamedTuple):
    """The classes of aiohttp of which this module uses attributes that are not public API."""

    protocol: type[Any] = ResponseHandler
    connector: type[Any] = TCPConnector
    connection: type[Any] = Connection
    request: type[Any] = ClientRequest
    payload: type[Any] = StreamReader
    message: type[Any] = RawResponseMessage


_METHODS_USED: Final = (
    ("protocol", "set_response_params", tuple(_RESPONSE_PARAMETERS)),
    ("protocol", "read", ()),
    ("connector", "connect", ("req", "traces", "timeout")),
    ("connection", "release", ()),
    ("connection", "close", ()),
    ("request", "__init__", ("method", "url", "loop", "session")),
    ("payload", "readany", ()),
    ("payload", "at_eof", ()),
    ("payload", "exception", ()),
    ("payload", "is_eof", ()),
)
_COROUTINE_METHODS: Final = frozenset({"read", "connect", "readany"})
_ATTRIBUTES_USED: Final = (
    ("payload", "_buffer"),
    ("payload", "total_bytes"),
    ("protocol", "should_close"),
    ("protocol", "_parser"),
    ("connection", "protocol"),
    ("connection", "transport"),
    ("message", "code"),
    ("message", "headers"),
    ("request", "connection_key"),
)


@functools.cache
def is_supported(internals: AiohttpInternals) -> bool:
    """Return whether the installed aiohttp has everything that this module uses."""
    methods_match = all(
        _accepts_arguments(getattr(getattr(internals, kind), name, None), name, wanted)
        for kind, name, wanted in _METHODS_USED
    )
    return methods_match and all(hasattr(getattr(internals, kind), name) for kind, name in _ATTRIBUTES_USED)


def _accepts_arguments(function: object, name: str, wanted: tuple[str, ...]) -> bool:
    if not callable(function) or inspect.iscoroutinefunction(function) is not (name in _COROUTINE_METHODS):
        return False
    parameters = inspect.signature(function).parameters
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = {one.name for one in parameters.values() if one.default is one.empty and one.kind in plain} - {"self"}
    return set(wanted) <= set(parameters) and needed <= set(wanted)


def is_unpatched() -> bool:
    """Return whether ``ClientSession._request`` is aiohttp's own function."""
    return ClientSession._request is _ORIGINAL_REQUEST and not _PATCHED_BEFORE_IMPORT  # noqa: SLF001 - see there


class _ConnectRequest(ClientRequest):
    """The request that the connector takes to find or open a connection: the same one for all requests to a server."""

    @functools.cached_property
    def connection_key(self) -> ConnectionKey:  # pyright: ignore[reportIncompatibleMethodOverride] - read as a property
        """What the pool knows its connections by; aiohttp computes it each time."""
        return super().connection_key


class Origin(NamedTuple):
    """A server: the prefix of its URLs, the request to connect with, the ``Host`` header, and its connections' record."""

    url: str
    connect_request: ClientRequest
    host: str
    record: Host


class DirectExchange:
    """Send requests of one event loop directly over its session's connector."""

    def __init__(self, session: ClientSession, guard: ConnectionGuard) -> None:
        self._session = session
        self._guard = guard
        self._origins: dict[str, Origin] = {}
        # The headers of the last GET, and what is encoded before the API key: the same for all GETs of one client.
        self._last_headers: Mapping[str, str] = {}
        self._last_head = b""
        self._last_host = ""

    def find_origin(self, url: str) -> Origin | None:
        """Return a URL's origin; None for an unusual URL, which is left to the session."""
        cut = url.find("/", len("https://"))
        if not _PLAIN_TARGET.fullmatch(url, max(cut, 0)):
            return None
        text = url[:cut]
        origin = self._origins.get(text)
        if origin is None:
            if not _PLAIN_ORIGIN.fullmatch(text):
                return None
            origin = self._origins[text] = self._make_origin(text)
        return origin

    def _make_origin(self, origin: str) -> Origin:
        """Create an origin with the request that the connector takes; its headers include ``Host``."""
        url = URL(origin, encoded=True)
        connect_request = _ConnectRequest("GET", url, loop=asyncio.get_running_loop(), session=self._session)
        return Origin(origin, connect_request, connect_request.headers["Host"], self._guard.get_host(origin))

    async def send_request(  # noqa: C901 - in parts, every call would pay for their coroutines
        self, origin: Origin, request: WireRequest, attempt: Attempt, max_idle: float
    ) -> WireResponse:
        """Send a request and read the complete response; reuse the connection only if it is clean afterwards."""
        connector = self._session.connector
        if connector is None:
            raise aiohttp.ClientConnectionError
        while True:
            connection = await connector.connect(origin.connect_request, traces=[], timeout=_NO_TIMEOUT)
            try:
                if request.method != "GET":
                    await attempt.check_cancellation()
            except BaseException:
                connection.release()  # unused: good for the next request
                raise
            try:
                usage, protocol, transport = self._write_request(connection, origin, request, attempt, max_idle)
                message, payload = await protocol.read()
                while 100 <= message.code < 200 and message.code != _SWITCHING_PROTOCOLS:  # noqa: PLR2004 - the HTTP classes
                    message, payload = await protocol.read()
                attempt.status = message.code
                body = _take_body(payload)
                if body is None:
                    body = await _read_body(message, payload)
            except KeptConnectionError:
                # Nothing was written to it: close it and take the next one, in the end a new one.
                connection.close()
                continue
            except BaseException as error:
                if attempt.maybe_sent and (attempt.expired or isinstance(error, Exception)):
                    # Whatever broke this connection may have broken those that are idle now.
                    origin.record.failures += 1
                _abort_connection(connection, attempt)
                raise
            if detach_parser(protocol) and not transport.get_write_buffer_size():
                self._guard.mark_idle(usage, origin.record)
                connection.release()
            else:
                # Another response follows, or the server answered before reading everything and the unsent rest would
                # precede the next request.
                _abort_connection(connection, attempt)
            return make_wire_response(message.code, message.headers, body)

    def _write_request(
        self, connection: Connection, origin: Origin, request: WireRequest, attempt: Attempt, max_idle: float
    ) -> tuple[Usage, ResponseHandler, asyncio.Transport]:
        data = self._encode_get(request, origin) if request.method == "GET" else _encode_request(request, origin)
        # From here on no await before the write: what arrives in between would be taken for the response.
        usage = self._guard.check_connection(connection, origin.record, max_idle)
        protocol, transport = connection.protocol, connection.transport
        assert protocol is not None
        assert transport is not None
        protocol.set_response_params(**_RESPONSE_PARAMETERS)
        attempt.start_writing(connection)
        transport.write(data)
        return usage, protocol, transport

    def _encode_get(self, request: WireRequest, origin: Origin) -> SecretBytes:
        """Encode a GET; its target was checked by ``find_origin``."""
        if request.body:
            return _encode_request(request, origin)
        headers = request.headers
        if headers != self._last_headers or origin.host != self._last_host:
            whole = _encode_request(request, origin)
            start, end = whole.index(b"\r\n"), SecretBytes(b"%b\r\n\r\n" % headers.get("Authorization", "").encode())
            if whole.endswith(b"\r\nAuthorization: " + end):
                self._last_head = whole[start : -len(end)]
                self._last_headers, self._last_host = dict(headers), origin.host
            return whole
        target = request.url[len(origin.url) :].encode()
        return SecretBytes(
            b"GET %b HTTP/1.1%b%b\r\n\r\n" % (target, self._last_head, headers["Authorization"].encode())
        )


def _abort_connection(connection: Connection, attempt: Attempt) -> None:
    try:
        attempt.abort()
    finally:
        connection.close()


def _encode_request(request: WireRequest, origin: Origin) -> SecretBytes:
    """Encode a request. The bytes contain the API key, so they are kept in a redacted type and only briefly."""
    body = request.body or b""
    lines = len(request.headers) + 3
    length = ""
    if body or request.method != "GET":
        length = f"Content-Length: {len(body)}\r\n"
        lines += 1
    target = request.url[len(origin.url) :]
    start = f"{request.method} {target} HTTP/1.1\r\nHost: {origin.host}\r\n{length}"
    head = Secret(start + "\r\n".join(map(": ".join, request.headers.items())) + "\r\n\r\n")
    # A line break in a value would smuggle in a header: count them.
    if not head.isascii() or "\0" in head or not head.count("\r") == head.count("\n") == lines:
        raise ValueError("a header or the URL has characters that a request does not allow")
    return SecretBytes(head.encode() + body)


def _take_body(payload: StreamReader) -> bytes | None:
    """Return a body that has arrived completely, and is too small for the parser to have paused reading; else None."""
    if not 0 < payload.total_bytes <= _BUFFER_SIZE or not payload.is_eof() or payload.exception() is not None:
        return None
    chunks = payload._buffer  # noqa: SLF001 - see AiohttpInternals
    body = b"".join(chunks)
    # The connection refers to it as long as it is kept.
    chunks.clear()
    return body


async def _read_body(message: RawResponseMessage, payload: StreamReader) -> bytes:
    declared = message.headers.get("Content-Length", "")
    if declared.isdecimal() and int(declared) > MAX_RESPONSE_SIZE:
        raise ResponseTooLargeError
    parts: list[bytes] = []
    size = 0
    # In chunks: read() would decompress a zip bomb completely before its size could be checked.
    while not payload.at_eof():
        chunk = await payload.readany()
        size += len(chunk)
        if size > MAX_RESPONSE_SIZE:
            raise ResponseTooLargeError
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)
