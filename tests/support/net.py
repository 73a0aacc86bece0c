"""Unusual peers on loopback: a refusing port, a silent listener, a CONNECT proxy, TLS by a private CA."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Self

import trustme

from tests.support.server import Received, ScriptedServer, Step

BALANCE: Final = {"balance": 5}


def find_refused_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def count_open_sockets() -> int:
    """Count this process's sockets."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(link.readlink()).startswith("socket:")
    return found


class Authority:
    """A private CA: contexts for a server at ``localhost`` and for a client that trusts it."""

    def __init__(self, *names: str) -> None:
        self._ca = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(self.server)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL's

    def write_certificate(self, path: Path) -> None:
        """Write the CA's certificate to a file, as for ``SSL_CERT_FILE``."""
        self._ca.cert_pem.write_to_path(path)

    def make_client_context(self) -> ssl.SSLContext:
        """Return a client's context."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)  # pyright: ignore[reportUnknownMemberType] - the same
        return context


def call_back_then(callback: Callable[[], object], then: Step | None = None) -> Step:
    """Call back when the request has arrived, then continue with ``then``, or never answer."""

    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        callback()
        if then is None:
            await asyncio.Event().wait()
        else:
            await then(request, writer)

    return handle_request


def send_in_pieces(*parts: bytes, between: Callable[[], object]) -> Step:
    """Send a response in pieces with something happening after each, then never end."""

    async def handle_request(_: Received, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            between()
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    return handle_request


Visit = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listen(visit: Visit, tls: ssl.SSLContext | None = None) -> AsyncGenerator[int]:
    """Run a bare TCP server on loopback and yield its port."""
    tasks: set[asyncio.Task[Any]] = set()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await visit(reader, writer)
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve_connection, "127.0.0.1", 0, ssl=tls)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


class ConnectProxy:
    """An HTTP proxy that tunnels CONNECT to a port of this machine, or answers it with ``refusal``."""

    def __init__(self, *, refusal: bytes | None = None, on_connect: Callable[[], object] | None = None) -> None:
        self.requests: list[Received] = []
        self.url = ""
        self._refusal = refusal
        self._on_connect = on_connect
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.url = f"http://127.0.0.1:{await self._stack.enter_async_context(listen(self._serve_connection))}"
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = _parse_head(await reader.readuntil(b"\r\n\r\n"))
        self.requests.append(request)
        if self._on_connect is not None:
            self._on_connect()
        if self._refusal is not None:
            writer.write(self._refusal)
            await writer.drain()
            return
        there, back = await asyncio.open_connection("127.0.0.1", int(request.target.rpartition(":")[2]))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        try:
            await asyncio.gather(_copy_bytes(reader, back), _copy_bytes(there, writer))
        finally:
            back.transport.abort()


def _parse_head(content: bytes) -> Received:
    first, *lines = content.decode("latin-1").rstrip().split("\r\n")
    method, target, _ = first.split(" ", 2)
    return Received(method, target, {line.partition(":")[0].lower(): line.partition(":")[2] for line in lines}, b"")


async def _copy_bytes(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


def get_https_url(server: ScriptedServer) -> str:
    """Return a TLS server's address by name."""
    return f"https://localhost:{server.port}"
