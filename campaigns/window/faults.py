"""The faults by name: each plays one exchange with a request that has been read."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import struct
from collections.abc import Awaitable, Callable, Mapping
from socket import SO_LINGER, SOL_SOCKET
from typing import Final

import attrs

from campaigns.window.ledger import MARGIN, REMEMBERED, RUNNING, Fate, Received, Said, Store, failure

PAGE: Final = b"<html><body>Bad Gateway</body></html>"
RESET: Final = struct.pack("ii", 1, 0)


def head(status: int, length: int, headers: Mapping[str, str]) -> bytes:
    lines = {"Bardge-Request-Id": "req_1", "Content-Type": "application/json", "Content-Length": str(length), **headers}
    text = f"HTTP/1.1 {status} Played\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return text.encode() + b"\r\n"


def whole(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    return head(status, len(body), headers or {}) + body


def spoken(said: Said) -> bytes:
    headers = {"X-Idempotent-Replayed": "true"} if said.replayed else {}
    return whole(said.status, json.dumps(said.payload).encode(), headers)


@attrs.define(eq=False)
class Exchange:
    """One request that was read, with all that a fault needs to play with it."""

    request: Received
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    store: Store
    rng: random.Random
    slowest: float
    """Longest work, in seconds."""

    async def work(self, fate: Fate = Fate.WELL) -> Said:
        """Let the handler run, some of the time slowly."""
        seconds = self.rng.random() * self.slowest if self.slowest and self.rng.random() < 0.2 else 0.0
        if fate is Fate.FAIL_AFTER_FORGOTTEN or not seconds:
            return await self.store.handle(self.request, fate)
        return await self.store.handle(self.request, fate, lambda: asyncio.sleep(seconds))

    async def maybe(self) -> None:
        """Let the handler run or not: nobody outside can tell."""
        if self.rng.random() < 0.5:
            await self.work()

    async def say(self, content: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(content)
        await self.writer.drain()

    def reset(self) -> None:
        """Reset the connection."""
        reset(self.writer)

    def close(self) -> None:
        """End the connection in order, once all is delivered."""
        self.writer.close()

    async def silence(self) -> None:
        """Answer nothing until the client gives up."""
        while await self.reader.read(1024):
            pass


def reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(SOL_SOCKET, SO_LINGER, RESET)
    writer.transport.abort()


Play = Callable[[Exchange], Awaitable[None]]


async def well(x: Exchange) -> None:
    await x.say(spoken(await x.work()))


async def reset_before(x: Exchange) -> None:
    x.reset()


async def reset_after(x: Exchange) -> None:
    await x.work()
    x.reset()


async def hang_before(x: Exchange) -> None:
    await x.silence()


async def hang_after(x: Exchange) -> None:
    await x.work()
    await x.silence()


async def cut_header(x: Exchange) -> None:
    content = spoken(await x.work())
    await x.say(content[: x.rng.randrange(1, content.index(b"\r\n\r\n"))])
    x.close()


async def cut_body(x: Exchange) -> None:
    content = spoken(await x.work())
    await x.say(content[: x.rng.randrange(content.index(b"\r\n\r\n") + 4, len(content))])
    x.close()


async def bad_json(x: Exchange) -> None:
    said = await x.work()
    body = json.dumps(said.payload).encode()
    await x.say(whole(said.status, x.rng.choice([body[:-1], body + b"}", b"{'a': 1}", b"\xff\xfe", b"null,"])))


async def html_200(x: Exchange) -> None:
    await x.maybe()
    await x.say(whole(200, PAGE, {"Content-Type": "text/html"}))


async def empty_200(x: Exchange) -> None:
    await x.maybe()
    await x.say(whole(200, b""))


async def error_before(x: Exchange) -> None:
    await x.say(spoken(await x.work(Fate.FAIL_BEFORE)))


async def error_after_remembered(x: Exchange) -> None:
    await x.say(spoken(await x.work(x.rng.choice([Fate.FAIL_AFTER, Fate.FAIL_AFTER_KEPT]))))


async def error_after_forgotten(x: Exchange) -> None:
    await x.say(spoken(await x.work(Fate.FAIL_AFTER_FORGOTTEN)))


async def cached_500(x: Exchange) -> None:
    said = await x.work(x.rng.choice([Fate.FAIL_CACHED, Fate.FAIL_AFTER]))
    await x.say(spoken(attrs.evolve(said, replayed=True)))


async def page_500(x: Exchange) -> None:
    await x.maybe()
    await x.say(whole(500, PAGE))


async def bad_gateway(x: Exchange) -> None:
    await x.maybe()
    await x.say(whole(x.rng.choice([502, 504]), PAGE))


async def unavailable(x: Exchange) -> None:
    await x.maybe()
    after = x.rng.choice(["1", "3", "30", "100", "Sun, 06 Nov 1994 08:49:37 GMT", "soon"])
    body = x.rng.choice([PAGE, b"", json.dumps(failure(503, "api_error").payload).encode()])
    await x.say(whole(503, body, {"Retry-After": after}))


async def too_many(x: Exchange) -> None:
    said = failure(429, "api_error")
    after = x.rng.choice(["0", "1", "2", "7", "-5"])
    await x.say(whole(429, json.dumps(said.payload).encode(), {"Retry-After": after}))


async def timeout_408(x: Exchange) -> None:
    await x.maybe()
    await x.say(whole(x.rng.choice([408, 425]), x.rng.choice([b"", json.dumps(failure(408, "e").payload).encode()])))
    x.close()


async def unauthorized(x: Exchange) -> None:
    status, code = x.rng.choice([(401, "token_expired"), (403, "account_disabled")])
    await x.say(spoken(failure(status, "authentication_error", code)))


async def page_404(x: Exchange) -> None:
    await x.say(whole(x.rng.choice([400, 404, 409]), PAGE))


async def redirect(x: Exchange) -> None:
    await x.maybe()
    await x.say(whole(x.rng.choice([301, 302, 307, 308]), b"", {"Location": x.request.path}))


async def in_progress(x: Exchange) -> None:
    """A twin of the request, made by a proxy, runs already: this one is told so."""
    twin = asyncio.ensure_future(x.work())
    await x.say(spoken(RUNNING))
    await twin


async def slow_drip(x: Exchange) -> None:
    content = spoken(await x.work())
    pause = x.rng.choice([0.01, 0.3, 4.0])
    for at in range(0, len(content), 32):
        await x.say(content[at : at + 32])
        await asyncio.sleep(pause)


async def garbage(x: Exchange) -> None:
    await x.maybe()
    await x.say(
        x.rng.choice([x.rng.randbytes(200), b"HTTP/9.9 abc\r\n\r\n", b"SSH-2.0-x\r\n", b"\x15\x03\x01\x00\x02\x02\x16"])
    )
    x.close()


async def bad_gzip(x: Exchange) -> None:
    packed = gzip.compress(json.dumps((await x.work()).payload).encode())
    broken = x.rng.choice([packed[:-9], packed[:5] + packed[9:], b"no gzip at all"])
    await x.say(whole(200, broken, {"Content-Encoding": "gzip"}))


async def oversize_header(x: Exchange) -> None:
    said = await x.work()
    await x.say(whole(said.status, b"{}", {"X-Big": "x" * x.rng.choice([9_000, 70_000])}))
    x.close()


async def odd_shape(x: Exchange) -> None:
    said = await x.work()
    await x.say(whole(200, b'[1, "odd"]') if said.ok else spoken(said))


async def double_answer(x: Exchange) -> None:
    """An answer that nobody asked for follows: the next request must not take it for its own."""
    stray = Said(200, {"object": "stray", "id": "stray", "client_id": "stray", "balance": -1})
    await x.say(spoken(await x.work()) + spoken(stray))


async def idle_408(x: Exchange) -> None:
    """The connection is ended while it idles, as load balancers do, with or without a word."""
    await x.say(spoken(await x.work()))
    await asyncio.sleep(x.rng.random() * 3)
    if x.rng.random() < 0.5:
        await x.say(whole(408, PAGE))
    x.close()


async def stall(x: Exchange) -> None:
    """The request waits before it is handled, within the margin."""
    await asyncio.sleep(x.rng.random() * MARGIN * 0.95)
    await well(x)


async def late(x: Exchange) -> None:
    """The request is begun to be handled after its key expired: the one thing that no client can prevent."""
    await asyncio.sleep(REMEMBERED + x.rng.uniform(5, 60))
    await well(x)


PLAYS: Final[dict[str, Play]] = {
    play.__name__: play
    for play in (
        reset_before,
        reset_after,
        hang_before,
        hang_after,
        cut_header,
        cut_body,
        bad_json,
        html_200,
        empty_200,
        error_before,
        error_after_remembered,
        error_after_forgotten,
        cached_500,
        page_500,
        bad_gateway,
        unavailable,
        too_many,
        timeout_408,
        unauthorized,
        page_404,
        redirect,
        in_progress,
        slow_drip,
        garbage,
        bad_gzip,
        oversize_header,
        odd_shape,
        double_answer,
        idle_408,
        stall,
        late,
    )
}
WEATHER: Final = ("refuse", "accept_reset", "restart")
"""Faults that befall connections, not requests."""
KINDS: Final = (*WEATHER, *PLAYS)
