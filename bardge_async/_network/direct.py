"""One request straight over aiohttp's connector and parser, without its session, which takes most of a call's time.

TLS, DNS, the pool and the parser are aiohttp's. What it does not promise of these is named in :class:`Parts` and in
two tables below it; a client looks once whether all of it is there and takes the same arguments, and goes through the
session where it does not. So it does with a user's own session, with a proxy, and where a test library or an instrumentation
has its own function in place of ``ClientSession._request`` or adds trace configs.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import re
from types import FunctionType
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp import ClientRequest, ClientSession, ClientTimeout, StreamReader, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import RawResponseMessage
from yarl import URL

from bardge_async._core.http import WireRequest, WireResponse
from bardge_async._core.secret import Secret, SecretBytes
from bardge_async._network.attempt import LARGEST_ANSWER, Attempt, StaleError, TooLargeError

_REQUEST: Final = ClientSession._request  # noqa: SLF001 - what test libraries and instrumentations replace
_REPLACED: Final = type(_REQUEST) is not FunctionType or hasattr(_REQUEST, "__wrapped__")
"""Whether somebody came before this module was imported."""
_NO_TIMEOUT: Final = ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_BUFFER: Final = 2**16
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+")
_TARGET: Final = re.compile(r"/[!-\"$-~]*")
_SWITCHING: Final = 101


class Parts(NamedTuple):
    """The classes of aiohttp whose unpromised attributes are used here."""

    protocol: type[Any] = ResponseHandler
    connector: type[Any] = TCPConnector
    connection: type[Any] = Connection
    request: type[Any] = ClientRequest
    payload: type[Any] = StreamReader
    message: type[Any] = RawResponseMessage


_CALLED: Final = (
    ("protocol", "set_response_params", ("read_until_eof", "auto_decompress", "read_bufsize")),
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
_AWAITED: Final = frozenset({"read", "connect", "readany"})
_READ: Final = (
    ("payload", "_buffer"),
    ("payload", "total_bytes"),
    ("protocol", "should_close"),
    ("connection", "protocol"),
    ("connection", "transport"),
    ("message", "code"),
    ("message", "headers"),
)


@functools.cache
def fits(parts: Parts) -> bool:
    """Tell whether aiohttp still is as this module needs it."""
    called = all(_takes(getattr(getattr(parts, kind), name, None), name, wanted) for kind, name, wanted in _CALLED)
    return called and all(hasattr(getattr(parts, kind), name) for kind, name in _READ)


def _takes(function: object, name: str, wanted: tuple[str, ...]) -> bool:
    if not callable(function) or inspect.iscoroutinefunction(function) is not (name in _AWAITED):
        return False
    parameters = inspect.signature(function).parameters
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = {one.name for one in parameters.values() if one.default is one.empty and one.kind in plain} - {"self"}
    return set(wanted) <= set(parameters) and needed <= set(wanted)


def genuine() -> bool:
    """Tell whether nobody stands in place of the session's own function."""
    return ClientSession._request is _REQUEST and not _REPLACED  # noqa: SLF001 - see there


class Origin(NamedTuple):
    """One server: how its URLs begin, what the connector is asked with, and the ``Host`` header."""

    url: str
    asking: ClientRequest
    host: str


class Lean:
    """The short way of one event loop, over its session's connector."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._origins: dict[str, Origin] = {}

    def origin(self, url: str) -> Origin | None:
        """Find a URL's server; None for a URL that is not plain and goes through the session, which knows every kind."""
        cut = url.find("/", len("https://"))
        if not _TARGET.fullmatch(url, max(cut, 0)):
            return None
        text = url[:cut]
        origin = self._origins.get(text)
        if origin is None:
            if not _ORIGIN.fullmatch(text):
                return None
            origin = self._origins[text] = self._asked(text)
        return origin

    def _asked(self, origin: str) -> Origin:
        """Make what the connector is asked for a connection with; its headers hold the ``Host``."""
        url = URL(origin, encoded=True)
        asking = ClientRequest("GET", url, loop=asyncio.get_running_loop(), session=self._session)
        return Origin(origin, asking, asking.headers["Host"])

    async def exchange(self, origin: Origin, request: WireRequest, attempt: Attempt) -> WireResponse:
        """Send a request and read the whole answer; a connection that is not clean afterwards is not used again."""
        connector = self._session.connector
        if connector is None:
            raise aiohttp.ClientConnectionError
        connection = await connector.connect(origin.asking, traces=[], timeout=_NO_TIMEOUT)
        try:
            protocol, wire = connection.protocol, connection.transport
            if protocol is None or wire is None or wire.is_closing() or protocol.should_close:
                raise StaleError  # noqa: TRY301 - the connection is closed in one place
            protocol.set_response_params(read_until_eof=True, auto_decompress=True, read_bufsize=_BUFFER)
            data = _bytes(request, origin)
            attempt.begin(connection)
            wire.write(data)
            del data
            message, payload = await protocol.read()
            while 100 <= message.code < 200 and message.code != _SWITCHING:  # noqa: PLR2004 - the HTTP classes
                message, payload = await protocol.read()
            body = await _body(message, payload)
        except BaseException:
            attempt.abort()
            connection.close()
            raise
        if wire.get_write_buffer_size():
            # Answered before it was read: what is left would stand before the next request.
            attempt.abort()
            connection.close()
        else:
            connection.release()
        return WireResponse(message.code, message.headers, body)


def _bytes(request: WireRequest, origin: Origin) -> SecretBytes:
    """Make a request's bytes; they hold the API key, so that no variable keeps them plain, or keeps them for long."""
    body = request.body or b""
    parts = [request.method, " ", request.url[len(origin.url) :], " HTTP/1.1\r\nHost: ", origin.host, "\r\n"]
    for name, value in request.headers.items():
        parts += (name, ": ", value, "\r\n")
    lines = len(request.headers) + 3
    if body or request.method != "GET":
        parts += ("Content-Length: ", str(len(body)), "\r\n")
        lines += 1
    parts.append("\r\n")
    head = Secret("".join(parts))
    if not head.isascii() or "\0" in head or not head.count("\r") == head.count("\n") == lines:
        raise ValueError("a header or the URL holds what a request cannot")
    return SecretBytes(head.encode() + body)


async def _body(message: RawResponseMessage, payload: StreamReader) -> bytes:
    if 0 < payload.total_bytes <= _BUFFER and payload.is_eof() and payload.exception() is None:
        # All of it is there, and so little that nothing was held back for it.
        return b"".join(payload._buffer)  # noqa: SLF001 - see Parts
    declared = message.headers.get("Content-Length", "")
    if declared.isdecimal() and int(declared) > LARGEST_ANSWER:
        raise TooLargeError
    chunks: list[bytes] = []
    size = 0
    # By chunks: read() would unpack a compressed bomb whole before anyone could count it.
    while not payload.at_eof():
        chunk = await payload.readany()
        size += len(chunk)
        if size > LARGEST_ANSWER:
            raise TooLargeError
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
