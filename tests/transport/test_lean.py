"""The direct path over aiohttp's connector: the same bytes as by its session, and only where it is safe."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import anyio
import pytest

from bardge_async import (
    AttemptLimits,
    BardgeClient,
    ConnectError,
    NoAnswerError,
    SystemClock,
    WireRequest,
    WireResponse,
)
from bardge_async._core.secret import Secret, SecretBytes
from bardge_async._network.aiohttp_transport import AiohttpTransport
from bardge_async._network.direct import AiohttpInternals, DirectExchange, is_supported, is_unpatched
from bardge_async._network.reuse import ConnectionGuard
from bardge_async.testing import ManualClock
from tests.support.net import BALANCE
from tests.support.server import Received, ScriptedServer, Step, reply, send_raw

LIMITS: Final = AttemptLimits(5, 5)


def make_guard() -> ConnectionGuard:
    return ConnectionGuard(SystemClock(), is_shared=False)


HEADERS: Final = {"Accept": "application/json", "Authorization": Secret("Bearer key"), "User-Agent": "ours"}


@asynccontextmanager
async def open_transport(parts: AiohttpInternals | None = None) -> AsyncGenerator[AiohttpTransport]:
    transport = AiohttpTransport(SystemClock(), internals=parts)
    try:
        yield transport
    finally:
        await transport.aclose()


async def send_and_receive(request: Callable[[str], WireRequest], parts: AiohttpInternals | None = None) -> Received:
    """Send a request, and return what arrives."""
    async with ScriptedServer(reply(200, BALANCE)) as server, open_transport(parts) as transport:
        await transport.send(request(server.base_url.replace("127.0.0.1", "localhost")), LIMITS)
        port = str(server.port)
    arrived = server.requests[0]
    return Received(
        arrived.method, arrived.target, {k: v.replace(port, "port") for k, v in arrived.headers.items()}, arrived.body
    )


def drop_attribute(kind: str, name: str) -> AiohttpInternals:
    """Return the aiohttp internals, one of which lacks an attribute."""
    lost: Any = Without(getattr(AiohttpInternals(), kind), name)
    return AiohttpInternals()._replace(**{kind: lost})


class Without:
    """A class that lacks an attribute of the original."""

    def __init__(self, original: type[Any], name: str) -> None:
        self._original = original
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name == self._name:
            raise AttributeError(name)
        return getattr(self._original, name)

    def __hash__(self) -> int:
        return hash((self._original, self._name))


class Changed(AiohttpInternals()[0]):  # type: ignore[misc]  # aiohttp's, by the table
    """A protocol with other arguments."""

    def set_response_params(self, *, more: int, **options: Any) -> None:
        """Take other arguments."""


class Awaited(AiohttpInternals()[0]):  # type: ignore[misc]  # the same
    """A protocol whose reading is no longer awaited."""

    def read(self) -> None:
        """Read immediately."""


BROKEN: Final[dict[str, AiohttpInternals]] = {
    f"{kind}.{name}": drop_attribute(kind, name)
    for kind, name in (
        ("protocol", "set_response_params"),
        ("protocol", "read"),
        ("protocol", "should_close"),
        ("connector", "connect"),
        ("connection", "release"),
        ("connection", "close"),
        ("connection", "protocol"),
        ("connection", "transport"),
        ("payload", "readany"),
        ("payload", "at_eof"),
        ("message", "code"),
        ("message", "headers"),
    )
} | {
    "changed": AiohttpInternals(protocol=Changed),
    "awaited": AiohttpInternals(protocol=Awaited),
    "request": AiohttpInternals(request=object),
}


def test_it_fits() -> None:
    """The installed aiohttp has all that the direct path needs."""
    assert is_supported(AiohttpInternals())
    assert is_unpatched()


@pytest.mark.parametrize("name", BROKEN)
async def test_another_aiohttp(name: str) -> None:
    """If something is missing or changed, requests go through the session."""
    assert not is_supported(BROKEN[name])
    async with ScriptedServer(reply(200, BALANCE)) as server, open_transport(BROKEN[name]) as transport:
        assert transport._sessions.get_current()[1] is None
        assert (await transport.send(WireRequest("GET", server.base_url + "/", HEADERS), LIMITS)).status == 200


REQUESTS: Final[dict[str, Callable[[str], WireRequest]]] = {
    "get": lambda url: WireRequest("GET", f"{url}/a%20b?limit=2&x=%2F", HEADERS),
    "post": lambda url: WireRequest("POST", f"{url}/a", {**HEADERS, "Content-Type": "application/json"}, b'{"a":1}'),
    "post without a body": lambda url: WireRequest("POST", f"{url}/a", {**HEADERS, "Content-Type": "a/b"}),
    "empty body": lambda url: WireRequest("POST", f"{url}/a", {**HEADERS, "Content-Type": "a/b"}, b""),
    "delete": lambda url: WireRequest("DELETE", f"{url}/a", HEADERS),
    "put": lambda url: WireRequest("PUT", f"{url}/a", {**HEADERS, "Content-Type": "a/b"}, b"x" * 100_000),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_same_request(name: str) -> None:
    """What arrives is what the session sends, except for headers that it adds by itself."""
    lean, session = await send_and_receive(REQUESTS[name]), await send_and_receive(REQUESTS[name], BROKEN["request"])
    added = {"accept-encoding"} - {header.lower() for header in HEADERS}
    headers = {header: value for header, value in session.headers.items() if header not in added}
    assert (lean.method, lean.target, lean.body) == (session.method, session.target, session.body)
    assert lean.headers == headers


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://api.example", "api.example"),
        ("https://api.example:443", "api.example"),
        ("https://api.example:8443", "api.example:8443"),
        ("http://localhost:80", "localhost"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
    ],
)
async def test_host(origin: str, host: str) -> None:
    """The Host header has a port other than the scheme's own, and brackets around IPv6."""
    async with aiohttp.ClientSession() as session:
        assert DirectExchange(session, make_guard())._make_origin(origin).host == host


@pytest.mark.parametrize(
    "url",
    ["http://h/a b", "http://h/a#b", "http://h/ä", "http://h/a\r\nX: y", "http://u@h/a", "http://h", "ftp://h/a", "x"],
)
async def test_odd_urls(url: str) -> None:
    """A URL that is not plain is left to the session."""
    async with aiohttp.ClientSession() as session:
        assert DirectExchange(session, make_guard()).find_origin(url) is None


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nX: y", "a\rb", "a\0b", "ä"])
async def test_header_values_cannot_break_out(value: str) -> None:
    """A character that would end a header early is never sent."""
    async with ScriptedServer(reply(200, BALANCE)) as server, open_transport() as transport:
        with pytest.raises(ConnectError):
            await transport.send(WireRequest("GET", server.base_url + "/", {"X": value}), LIMITS)
    assert not server.requests


def test_secret_bytes() -> None:
    """Bytes that hold the key show it in no representation."""
    data = SecretBytes(b"Bearer key")
    assert bytes(data) == b"Bearer key"
    assert {repr(data), str(data), f"{data}", f"{data!r}"} == {"b'***'"}


async def send_two_requests(*script: Step) -> tuple[list[WireResponse], ScriptedServer]:
    """Send two requests one after another."""
    async with ScriptedServer(*script) as server, open_transport() as transport:
        request = WireRequest("GET", server.base_url + "/", HEADERS)
        return [await transport.send(request, LIMITS) for _ in range(2)], server


OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
ANSWERS: Final[dict[str, tuple[bytes, int, bytes]]] = {
    "plain": (OK, 200, b"{}"),
    "no content": (b"HTTP/1.1 204 No\r\n\r\n", 204, b""),
    "not modified": (b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\n", 304, b""),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200, b"{}"),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n", 200, b"{}"),
    "informational": (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" + OK, 200, b"{}"),
    "large": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b" " * 10**6, 200, b" " * 10**6),
    "gzip": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 22\r\n\r\n" + gzip.compress(b"{}"),
        200,
        b"{}",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_answers_on_one_connection(name: str) -> None:
    """Every kind of complete response is read to its end, and the connection serves the next request."""
    content, status, body = ANSWERS[name]
    answers, server = await send_two_requests(send_raw(content, close=False))
    assert [(one.status, one.body) for one in answers] == [(status, body)] * 2
    assert server.connections == 1


async def test_headers_without_regard_to_case() -> None:
    """Headers are looked up whatever their case."""
    answers, _ = await send_two_requests(reply(200, BALANCE, {"Bardge-Request-Id": "r"}))
    assert {one.headers["bardge-request-ID"] for one in answers} == {"r"}


NOT_KEPT: Final[dict[str, bytes]] = {
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    "old": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "more behind it": OK + OK,
}


@pytest.mark.parametrize("name", NOT_KEPT)
async def test_connections_that_are_not_kept(name: str) -> None:
    """A connection that is to be closed, or holds more than the response, serves no second request."""
    answers, server = await send_two_requests(send_raw(NOT_KEPT[name], close=False))
    assert [one.body for one in answers] == [b"{}", b"{}"]
    assert server.connections == 2


async def test_an_answer_until_the_end_of_the_connection() -> None:
    """Without a length the response ends with its connection."""
    answers, server = await send_two_requests(send_raw(b"HTTP/1.1 200 OK\r\n\r\n{}"))
    assert [one.body for one in answers] == [b"{}", b"{}"]
    assert server.connections == 2


async def test_an_answer_before_the_whole_request_was_read() -> None:
    """The rest of an unread request never precedes another one: the connection is not used again."""
    peers: list[asyncio.StreamWriter] = []

    async def answer_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)

    async with (
        await asyncio.start_server(answer_early, "127.0.0.1", 0, limit=1024) as server,
        open_transport() as transport,
    ):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        large = WireRequest("POST", url, HEADERS, b"x" * 32_000_000)
        assert (await transport.send(large, LIMITS)).status == 200
        assert (await transport.send(WireRequest("GET", url, HEADERS), LIMITS)).status == 200
        assert len(peers) == 2
        for peer in peers:
            peer.transport.abort()


@pytest.mark.parametrize("content", [b"garbage\r\n\r\n", OK[:-1], b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b""])
async def test_broken_answers(content: bytes) -> None:
    """Garbage and cut responses count as sent, and the next request has a connection of its own."""
    async with ScriptedServer(send_raw(content), reply(200, BALANCE)) as server, open_transport() as transport:
        request = WireRequest("GET", server.base_url + "/", HEADERS)
        with pytest.raises(NoAnswerError) as caught:
            await transport.send(request, LIMITS)
        assert caught.value.__context__ is None
        assert (await transport.send(request, LIMITS)).status == 200
    assert (len(server.requests), server.connections) == (2, 2)


async def test_closing_while_a_call_runs() -> None:
    """A connection that our own closing removes is no response."""
    reached = anyio.Event()

    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await asyncio.Event().wait()

    async with ScriptedServer(handle_request) as server, open_transport() as transport:
        task = asyncio.create_task(transport.send(WireRequest("GET", server.base_url + "/", HEADERS), LIMITS))
        await reached.wait()
        await transport.aclose()
        with pytest.raises(NoAnswerError):
            await task


async def test_a_test_library_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """If another function replaces the session's own, it is called."""
    asked: list[str] = []

    async def record_url(self: object, method: str, url: object, **options: object) -> Awaitable[object]:
        asked.append(str(url))
        raise aiohttp.ClientConnectionError

    monkeypatch.setattr(aiohttp.ClientSession, "_request", record_url)
    async with open_transport() as transport:
        with pytest.raises(ConnectError):
            await transport.send(WireRequest("GET", "http://127.0.0.1:1/a", HEADERS), LIMITS)
    assert asked == ["http://127.0.0.1:1/a"]


async def test_an_instrumentation_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    """If every session is given trace configs, they see every request."""
    seen: list[str] = []
    genuine_init: Any = aiohttp.ClientSession.__init__

    async def record_start(session: object, context: object, params: aiohttp.TraceRequestStartParams) -> None:
        seen.append(params.method)

    def add_trace(self: object, **options: Any) -> None:
        config = aiohttp.TraceConfig()
        config.on_request_start.append(record_start)
        genuine_init(self, **options, trace_configs=[config])

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", add_trace)
    async with ScriptedServer(reply(200, BALANCE)) as server, open_transport() as transport:
        await transport.send(WireRequest("GET", server.base_url + "/", HEADERS), LIMITS)
    assert seen == ["GET"]


async def test_the_client_goes_the_short_way() -> None:
    """A client without session and proxy sends nothing through the session."""
    async with (
        ScriptedServer(reply(200, BALANCE)) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        await bardge.clients.get_credits("c")
        transport = bardge._caller._engine.transport
        assert isinstance(transport, AiohttpTransport)
        assert transport._sessions.get_current()[1] is not None


async def test_heads_of_two_clients() -> None:
    """GETs of clients with different keys over one connection pool each carry their own key, in turns and again."""
    answers = [reply(200, {"id": "c"}) for _ in range(4)]
    async with ScriptedServer(*answers) as server, BardgeClient("key-one", server.base_url) as one:
        other = one.with_options(api_key="key-two", account="two")
        for bardge in (one, other, one, one):
            await bardge.clients.get("c")
    keys = [request.headers["authorization"] for request in server.requests]
    assert keys == ["Bearer key-one", "Bearer key-two", "Bearer key-one", "Bearer key-one"]
