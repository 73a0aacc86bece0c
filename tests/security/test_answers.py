"""Limits of responses: size, decompressed size, headers; whatever arrives, errors are ours and memory is bounded."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import textwrap
import zlib
from typing import Final

import pytest

from bardge_async import BardgeClient, NoAnswerError, RetryPolicy
from bardge_async.testing import ManualClock
from tests.support.server import Received, ScriptedServer, Step, cut, hang, reply, send_raw

pytestmark = pytest.mark.usefixtures("both_ways")

ONCE: Final = RetryPolicy(max_attempts=1)
MIB: Final = 2**20


def send_endlessly(head: bytes, piece: bytes) -> Step:
    """Send a head, then a piece repeatedly, until the client disconnects."""

    async def handle_request(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + head)
        while True:
            writer.write(piece)
            await writer.drain()

    return handle_request


def reply_packed(encoding: str, content: bytes) -> Step:
    return reply(200, body=content, headers={"Content-Encoding": encoding})


CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
CHUNK: Final = b"10000\r\n" + b" " * 65536 + b"\r\n"
BAD: Final[dict[str, Step]] = {
    "content length": send_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 16777217\r\n\r\n", close=False),
    "huge content length": send_raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", close=False),
    "negative content length": send_raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", close=False),
    "endless chunks": send_endlessly(CHUNKED + b"\r\n", CHUNK),
    "endless until close": send_endlessly(b"\r\n", b" " * 65536),
    "endless headers": send_endlessly(b"", b"X-More: y\r\n"),
    "endless header": send_endlessly(b"X-More: ", b"y" * 65536),
    "endless status line": send_raw(b"HTTP/1.1 200 " + b"y" * 100_000, close=False),
    "large header": send_raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n{}", close=False),
    "endless gzip": send_endlessly(CHUNKED + b"Content-Encoding: gzip\r\n\r\n", CHUNK),
    "gzip bomb": reply_packed("gzip", gzip.compress(bytes(64 * MIB))),
    "deflate bomb": reply_packed("deflate", zlib.compress(bytes(64 * MIB))),
    "bad gzip": reply_packed("gzip", b"no gzip at all"),
    "cut gzip": reply_packed("gzip", gzip.compress(b'{"balance": 5}')[:-12]),
    "gzip with a tail": reply_packed("gzip", gzip.compress(b'{"balance": 5}') + b"tail"),
    "unasked encoding": reply_packed("br", b"\x0b\x02\x80"),
    "two encodings": reply_packed("gzip, gzip", gzip.compress(gzip.compress(b"{}"))),
    "upgrade": send_raw(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    "empty": reply(200, body=b""),
    "no content": reply(204, body=b""),
    "too short": send_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}"),
    "bad chunk": send_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
    "two lengths": send_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "not HTTP": send_raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "HTTP/2": send_raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"),
    "nothing": send_raw(b""),
    "reset": cut(),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_answers_are_no_answer(name: str) -> None:
    """A response that is too large, endless or broken ends as NoAnswerError, as sent, without a timeout."""
    async with (
        ScriptedServer(BAD[name]) as server,
        BardgeClient("key", server.base_url, retry=ONCE, clock=ManualClock()) as bardge,
    ):
        with pytest.raises(NoAnswerError) as caught:
            await bardge.clients.get_credits("c")
    assert (caught.value.sent, caught.value.timed_out) == (True, False)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_compressed_answers_are_read(encoding: str) -> None:
    """The client can read every encoding that it asks for."""
    content = b'{"balance": 5}'
    step = reply_packed(encoding, gzip.compress(content) if encoding == "gzip" else zlib.compress(content))
    async with (
        ScriptedServer(step) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        assert (await bardge.clients.get_credits("c")).balance == 5


async def test_largest_answer() -> None:
    """A response just within the limit is read."""
    content = b'{"balance": 5}'
    async with (
        ScriptedServer(reply(200, body=content + b" " * (16 * MIB - len(content)))) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        assert (await bardge.clients.get_credits("c")).balance == 5


CHILD: Final = """
    import asyncio, gzip, resource, zlib
    from bardge_async import BardgeClient, NoAnswerError, RetryPolicy
    from tests.security.test_answers import reply_packed
    from tests.support.server import ScriptedServer

    async def main():
        bombs = [bytes(0)] * 2
        for index, encoding in enumerate(["gzip", "deflate"]):
            packer = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
            piece = bytes(2**20)
            bombs[index] = b"".join(packer.compress(piece) for _ in range(192)) + packer.flush()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for encoding, bomb in zip(["gzip", "deflate"], bombs):
            async with ScriptedServer(reply_packed(encoding, bomb)) as server:
                async with BardgeClient("key", server.base_url, retry=RetryPolicy(max_attempts=1)) as bardge:
                    try:
                        await bardge.clients.get_credits("c")
                    except NoAnswerError:
                        print("refused")
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

    asyncio.run(main())
"""


def test_bombs_take_little_memory() -> None:
    """A body that decompresses to 192 MiB costs the process less than 48 MiB."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD)], capture_output=True, text=True, check=False, timeout=60
    )
    first, second, grown = done.stdout.split()
    assert (first, second, int(grown) < 48, done.stderr) == ("refused", "refused", True, "")


async def test_hanging_answer_ends_in_time() -> None:
    """A server that never answers is abandoned when the attempt's time is over."""
    clock = ManualClock()

    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        clock.advance(20.5)
        await hang()(request, writer)

    async with (
        ScriptedServer(handle_request) as server,
        BardgeClient("key", server.base_url, retry=ONCE, clock=clock) as bardge,
    ):
        with pytest.raises(NoAnswerError) as caught:
            await bardge.clients.get_credits("c")
    assert caught.value.timed_out
