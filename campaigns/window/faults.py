"""The faults by name: each is one way to handle a request that has been read."""

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


def encode_head(status: int, length: int, headers: Mapping[str, str]) -> bytes:
    lines = {"Bardge-Request-Id": "req_1", "Content-Type": "application/json", "Content-Length": str(length), **headers}
    text = f"HTTP/1.1 {status} Played\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return text.encode() + b"\r\n"


def encode_response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    return encode_head(status, len(body), headers or {}) + body


def encode_said(said: Said) -> bytes:
    headers = {"X-Idempotent-Replayed": "true"} if said.replayed else {}
    return encode_response(said.status, json.dumps(said.payload).encode(), headers)


@attrs.define(eq=False)
class Exchange:
    """A request that was read, with all that a fault needs to handle it."""

    request: Received
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    store: Store
    rng: random.Random
    slowest: float
    """Maximum duration of the work, in seconds."""

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


async def well(x: Exchange) -> None:
    await x.send(encode_said(await x.work()))


async def reset_before(x: Exchange) -> None:
    x.reset()


async def reset_after(x: Exchange) -> None:
    await x.work()
    x.reset()


async def hang_before(x: Exchange) -> None:
    await x.wait_for_close()


async def hang_after(x: Exchange) -> None:
    await x.work()
    await x.wait_for_close()


async def cut_header(x: Exchange) -> None:
    content = encode_said(await x.work())
    await x.send(content[: x.rng.randrange(1, content.index(b"\r\n\r\n"))])
    x.close()


async def cut_body(x: Exchange) -> None:
    content = encode_said(await x.work())
    await x.send(content[: x.rng.randrange(content.index(b"\r\n\r\n") + 4, len(content))])
    x.close()


async def bad_json(x: Exchange) -> None:
    said = await x.work()
    body = json.dumps(said.payload).encode()
    await x.send(
        encode_response(said.status, x.rng.choice([body[:-1], body + b"}", b"{'a': 1}", b"\xff\xfe", b"null,"]))
    )


async def html_200(x: Exchange) -> None:
    await x.maybe_work()
    await x.send(encode_response(200, PAGE, {"Content-Type": "text/html"}))


async def empty_200(x: Exchange) -> None:
    await x.maybe_work()
    await x.send(encode_response(200, b""))


async def error_before(x: Exchange) -> None:
    await x.send(encode_said(await x.work(Fate.FAIL_BEFORE)))


async def error_after_remembered(x: Exchange) -> None:
    await x.send(encode_said(await x.work(x.rng.choice([Fate.FAIL_AFTER, Fate.FAIL_AFTER_KEPT]))))


async def error_after_forgotten(x: Exchange) -> None:
    await x.send(encode_said(await x.work(Fate.FAIL_AFTER_FORGOTTEN)))


async def cached_500(x: Exchange) -> None:
    said = await x.work(x.rng.choice([Fate.FAIL_CACHED, Fate.FAIL_AFTER]))
    await x.send(encode_said(attrs.evolve(said, replayed=True)))


async def page_500(x: Exchange) -> None:
    """Fail as a web framework does, with or without the work done, and forget the key."""
    await x.work(x.rng.choice([Fate.FAIL_BEFORE, Fate.FAIL_AFTER_FORGOTTEN]))
    body = x.rng.choice([PAGE, b"", b"Internal Server Error", b'{"status":500,"error":"Internal Server Error"}'])
    await x.send(encode_response(x.rng.choice([500, 500, 501, 505, 507]), body))


async def cut_500(x: Exchange) -> None:
    """Do the work, forget the key, and break off in the middle of the failure."""
    content = encode_said(await x.work(Fate.FAIL_AFTER_FORGOTTEN))
    await x.send(content[: content.index(b"\r\n\r\n") + 4 + x.rng.randrange(10)])
    x.writer.close()


def encode_oddly(said: Said, rng: random.Random) -> bytes:
    """Encode a response as JSON that strict parsers refuse."""
    beside = rng.choice(
        [rb'"x":"\ud83d"', b'"x":"Ren\xe9"', b'"x":NaN', b'"x":1e999', b'"x":"a\nb"', b'"x":' + b"9" * 5000]
    )
    body = json.dumps({"beside": 0, **said.payload}).encode().replace(b'"beside": 0', beside, 1)
    edge = rng.choice([b"", b"\xef\xbb\xbf", b"\xc2\xa0", b"\x0b"])
    return encode_response(said.status, edge + body, {"X-Idempotent-Replayed": "true"} if said.replayed else {})


async def odd_json(x: Exchange) -> None:
    await x.send(encode_oddly(await x.work(), x.rng))


async def odd_json_error(x: Exchange) -> None:
    await x.send(encode_oddly(await x.work(Fate.FAIL_AFTER_FORGOTTEN), x.rng))


async def bad_gateway(x: Exchange) -> None:
    await x.maybe_work()
    await x.send(encode_response(x.rng.choice([502, 504]), PAGE))


async def unavailable(x: Exchange) -> None:
    await x.maybe_work()
    after = x.rng.choice(["1", "3", "30", "100", "Sun, 06 Nov 1994 08:49:37 GMT", "soon"])
    body = x.rng.choice([PAGE, b"", json.dumps(failure(503, "api_error").payload).encode()])
    await x.send(encode_response(503, body, {"Retry-After": after}))


async def too_many(x: Exchange) -> None:
    said = failure(429, "api_error")
    after = x.rng.choice(["0", "1", "2", "7", "-5"])
    await x.send(encode_response(429, json.dumps(said.payload).encode(), {"Retry-After": after}))


async def timeout_408(x: Exchange) -> None:
    await x.maybe_work()
    await x.send(
        encode_response(x.rng.choice([408, 425]), x.rng.choice([b"", json.dumps(failure(408, "e").payload).encode()]))
    )
    x.close()


async def unauthorized(x: Exchange) -> None:
    status, code = x.rng.choice([(401, "token_expired"), (403, "account_disabled")])
    await x.send(encode_said(failure(status, "authentication_error", code)))


async def page_404(x: Exchange) -> None:
    await x.send(encode_response(x.rng.choice([400, 404, 409]), PAGE))


async def redirect(x: Exchange) -> None:
    await x.maybe_work()
    await x.send(encode_response(x.rng.choice([301, 302, 307, 308]), b"", {"Location": x.request.path}))


async def in_progress(x: Exchange) -> None:
    """Respond that the request is in progress, as if a proxy had sent it twice."""
    twin = asyncio.ensure_future(x.work())
    await x.send(encode_said(RUNNING))
    await twin


async def slow_drip(x: Exchange) -> None:
    content = encode_said(await x.work())
    pause = x.rng.choice([0.01, 0.3, 4.0])
    for at in range(0, len(content), 32):
        await x.send(content[at : at + 32])
        await asyncio.sleep(pause)


async def garbage(x: Exchange) -> None:
    await x.maybe_work()
    await x.send(
        x.rng.choice([x.rng.randbytes(200), b"HTTP/9.9 abc\r\n\r\n", b"SSH-2.0-x\r\n", b"\x15\x03\x01\x00\x02\x02\x16"])
    )
    x.close()


async def bad_gzip(x: Exchange) -> None:
    packed = gzip.compress(json.dumps((await x.work()).payload).encode())
    broken = x.rng.choice([packed[:-9], packed[:5] + packed[9:], b"no gzip at all"])
    await x.send(encode_response(200, broken, {"Content-Encoding": "gzip"}))


async def oversize_header(x: Exchange) -> None:
    said = await x.work()
    await x.send(encode_response(said.status, b"{}", {"X-Big": "x" * x.rng.choice([9_000, 70_000])}))
    x.close()


async def odd_shape(x: Exchange) -> None:
    said = await x.work()
    await x.send(encode_response(200, b'[1, "odd"]') if said.ok else encode_said(said))


async def double_answer(x: Exchange) -> None:
    """Send an unsolicited second response: the next request must not accept it as its own."""
    stray = Said(200, {"object": "stray", "id": "stray", "client_id": "stray", "balance": -1})
    await x.send(encode_said(await x.work()) + encode_said(stray))


async def idle_408(x: Exchange) -> None:
    """Close the connection while it is idle, as load balancers do, with or without a 408."""
    await x.send(encode_said(await x.work()))
    await asyncio.sleep(x.rng.random() * 3)
    if x.rng.random() < 0.5:
        await x.send(encode_response(408, PAGE))
    x.close()


async def stall(x: Exchange) -> None:
    """Delay the handling of the request, within the margin."""
    await asyncio.sleep(x.rng.random() * MARGIN * 0.95)
    await well(x)


async def late(x: Exchange) -> None:
    """Start to handle the request after its key expired: the one thing that no client can prevent."""
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
        cut_500,
        odd_json,
        odd_json_error,
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
FORGETTING: Final = frozenset({"error_after_forgotten", "page_500", "cut_500", "odd_json_error"})
"""They fail after the work and forget the key."""
WEATHER: Final = ("refuse", "accept_reset", "restart")
"""Faults of connections, not of requests."""
KINDS: Final = (*WEATHER, *PLAYS)
