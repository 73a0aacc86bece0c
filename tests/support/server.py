"""A raw loopback server that plays a script, one step per request: for what a well-behaved server never does."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

import anyio
import attrs


@attrs.frozen
class Received:
    """One request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


Step = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


def reply(
    status: int = 200, payload: object = None, headers: Mapping[str, str] | None = None, *, body: bytes | None = None
) -> Step:
    """Answer with JSON, or with the bytes of ``body``."""
    content = json.dumps({} if payload is None else payload).encode() if body is None else body
    lines = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    head = f"HTTP/1.1 {status} Scripted\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
    return send_raw(head.encode() + b"\r\n" + content, close=False)


def error(status: int, kind: str = "api_error", code: str | None = None, message: str = "no", **headers: str) -> Step:
    """Answer with the API's error object; header names are given with underscores."""
    detail = {"type": kind, "code": code, "message": message, "request_id": "req_1"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return reply(status, {"error": {k: v for k, v in detail.items() if v is not None}}, named)


def send_raw(content: bytes, *, close: bool = True) -> Step:
    """Send bytes as they are, then close the connection or keep it."""

    async def handle_request(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        if close:
            writer.close()

    return handle_request


def cut() -> Step:
    """Reset the connection without an answer, after the whole request arrived."""

    async def handle_request(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    return handle_request


def hang(reached: anyio.Event | None = None) -> Step:
    """Never answer; ``reached`` is set when the request has arrived."""

    async def handle_request(_: Received, writer: asyncio.StreamWriter) -> None:
        if reached is not None:
            reached.set()
        await asyncio.Event().wait()

    return handle_request


def find_free_port() -> int:
    """Find a port of this machine that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ScriptedServer:
    """Serve ``script`` step by step; the last step repeats. ``requests`` holds what arrived.

    It may be entered several times; ``port`` 0 picks a free one.
    """

    def __init__(self, *script: Step, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.script = list(script)
        self.requests: list[Received] = []
        self.connections = 0
        self._tls = tls
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self.port = port

    @property
    def base_url(self) -> str:
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://localhost:{self.port}" if self._tls else f"{scheme}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve_connection, "127.0.0.1", self.port, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def refuse(self) -> None:
        """Refuse new connections; open ones continue."""
        assert self._server is not None
        self._server.close()

    async def reopen(self) -> None:
        """Listen again at the same port after ``refuse``."""
        self._server = await asyncio.start_server(self._serve_connection, "127.0.0.1", self.port, ssl=self._tls)

    async def _serve_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while not writer.is_closing() and (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                step = self.script[min(len(self.requests), len(self.script)) - 1]
                await step(request, writer)
        except (ConnectionError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body)
