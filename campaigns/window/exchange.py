"""A request that was read, and the ways to respond to it."""

from __future__ import annotations

import asyncio
import email.utils
import functools
import json
import random
import select
import struct
from collections.abc import Awaitable, Callable, Mapping
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Final

import attrs

from campaigns.window.ledger import Fate, Received, Said, Store
from campaigns.window.virtual import WALL

PAGE: Final = b"<html><body>Bad Gateway</body></html>"
RESET: Final = struct.pack("ii", 1, 0)


@functools.lru_cache(maxsize=64)
def format_date(second: int) -> str:
    return email.utils.formatdate(second, usegmt=True)


def encode_payload(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload).encode()


@attrs.define(eq=False)
class Exchange:
    """A request that was read, with all that a fault needs to handle it; ``dates``: the server tells its time."""

    request: Received
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    store: Store
    rng: random.Random
    slowest: float
    """Maximum duration of the work, in seconds."""
    dates: bool = True

    def encode(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
        lines = {
            "Bardge-Request-Id": "req_1",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **({"Date": self.encode_date()} if self.dates else {}),
            **(headers or {}),
        }
        text = f"HTTP/1.1 {status} Played\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return text.encode() + b"\r\n" + body

    def encode_date(self, error: float = 0.0) -> str:
        return format_date(int(WALL + self.store.now() + error))

    def encode_said(self, said: Said, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
        """Encode what the handler said, as JSON unless it is encoded already."""
        replayed = {"X-Idempotent-Replayed": "true"} if said.replayed else {}
        return self.encode(
            said.status, encode_payload(said.payload) if body is None else body, {**replayed, **(headers or {})}
        )

    async def work(self, fate: Fate = Fate.WELL) -> Said:
        """Run the handler, sometimes slowly."""
        seconds = self.rng.random() * self.slowest if self.slowest and self.rng.random() < 0.2 else 0.0
        if fate is Fate.FAIL_AFTER_FORGOTTEN or not seconds:
            return await self.store.handle(self.request, fate)
        return await self.store.handle(self.request, fate, lambda: asyncio.sleep(seconds))

    async def maybe_work(self) -> None:
        """Run the handler or not: the client cannot know."""
        if self.rng.random() < 0.5:
            await self.work()

    async def send(self, content: bytes) -> None:
        """Send bytes unchanged."""
        self.writer.write(content)
        await self.writer.drain()

    def has_next(self) -> bool:
        """Return whether the connection carries anything of another request already, or ended."""
        sock = self.writer.get_extra_info("socket")
        reader: Any = self.reader
        if self.writer.is_closing() or reader.at_eof() or reader._buffer:
            return True
        return bool(select.select([sock], [], [], 0)[0])

    def reset(self) -> None:
        """Reset the connection."""
        reset(self.writer)

    def close(self) -> None:
        """Close the connection in order, after everything is delivered."""
        self.writer.close()

    async def wait_for_close(self) -> None:
        """Send nothing until the client gives up."""
        while await self.reader.read(1024):
            pass


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
    writer.transport.abort()


Play = Callable[[Exchange], Awaitable[None]]
