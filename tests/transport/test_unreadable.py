"""A response that cannot be read: the error names what is wrong and the limit, and quotes nothing that arrived."""

from __future__ import annotations

import zlib
from typing import Any, Final

import aiohttp
import pytest

from bardge_async import NoAnswerError, OutcomeUnknownError, RateLimitError, RetryPolicy
from tests.support.rig import PURCHASE, open_rig
from tests.support.server import Step, send_raw

ONCE: Final = RetryPolicy(max_attempts=1)
KIB64: Final = 2**16


def answer(*lines: bytes, status: bytes = b"200 OK", body: bytes = b'{"balance":25}') -> Step:
    """Answer with further header lines."""
    head = b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *lines])
    return send_raw(head + b"\r\n\r\n" + body)


UNREADABLE: Final[dict[str, tuple[Step, str]]] = {
    "long value": (answer(b"X-Policy: " + b"a" * (KIB64 + 1)), "header line is longer than 65536 bytes"),
    "long name": (answer(b"X" * (KIB64 + 1) + b": 1"), "header line is longer than 65536 bytes"),
    "long status": (answer(status=b"200 " + b"O" * (KIB64 + 1)), "header line is longer than 65536 bytes"),
    "many headers": (answer(*[b"X-%d: 1" % index for index in range(128)]), "more than 128 headers"),
    "brotli": (answer(b"Content-Encoding: br", body=b"\x0b\x02\x80{}\x03"), "br"),
    "zstd": (answer(b"Content-Encoding: zstd", body=b"\x28\xb5\x2f\xfd"), "zstd"),
    "compress": (
        answer(b"Content-Encoding: compress", body=b"\x1f\x9d"),
        "Content-Encoding is compress; .*gzip and def",
    ),
    "twice": (answer(b"Content-Encoding: gzip, gzip", body=b"\x1f\x8b"), "Content-Encoding is gzip, gzip"),
    "no gzip": (answer(b"Content-Encoding: gzip"), "not valid gzip"),
    "no deflate": (answer(b"Content-Encoding: deflate", body=b"\xff" * 9), "not valid deflate"),
    "two lengths": (answer(b"Content-Length: 2"), "more than one Content-Length"),
    "the same length twice": (answer(b"Content-Length: 14"), "more than one Content-Length"),
    "chunks and length": (
        send_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}"),
        "both Content-Length and Transfer-Encoding",
    ),
    "length and chunks": (answer(b"Transfer-Encoding: chunked"), "both Content-Length and Transfer-Encoding"),
}


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("name", UNREADABLE)
async def test_it_is_named(name: str) -> None:
    """The error says which of them it is, and with which limit."""
    step, text = UNREADABLE[name]
    async with open_rig(step, retry=ONCE) as it:
        with pytest.raises(NoAnswerError, match=text):
            await it.bardge.clients.get_credits("c")
        with pytest.raises(OutcomeUnknownError, match=text):
            await it.bardge.credits.purchase(PURCHASE)


@pytest.mark.parametrize("name", UNREADABLE)
async def test_a_users_session(name: str) -> None:
    """With a user's own session, whatever its limits, it is the same."""
    step, text = UNREADABLE[name]
    async with (
        aiohttp.ClientSession(max_field_size=100, max_line_size=100, max_headers=3) as session,
        open_rig(step, retry=ONCE, session=session) as it,
    ):
        with pytest.raises(NoAnswerError, match=text):
            await it.bardge.clients.get_credits("c")


READABLE: Final[dict[str, Step]] = {
    "long header": answer(b"X-Policy: " + b"a" * (KIB64 - 12)),
    "longer than aiohttp's own limit": answer(b"X-Policy: " + b"a" * 9000),
    "many headers": answer(*[b"X-%d: 1" % index for index in range(127)]),
    "an encoding that is not used": answer(b"Content-Encoding: compress"),
    "identity": answer(b"Content-Encoding: identity"),
    "deflate": answer(b"Content-Encoding: deflate", body=zlib.compress(b'{"balance":25}')),
}


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("name", READABLE)
async def test_it_is_read(name: str) -> None:
    """Header lines up to 64 KiB are read, and a body that is not encoded is, whatever its header says."""
    async with open_rig(READABLE[name], retry=ONCE) as it:
        assert (await it.bardge.credits.purchase(PURCHASE)).balance == 25


async def test_a_users_session_reads_long_headers() -> None:
    """With a user's own session, too."""
    options: dict[str, Any] = {"retry": ONCE}
    async with aiohttp.ClientSession() as session, open_rig(READABLE["long header"], session=session, **options) as it:
        assert (await it.bardge.credits.purchase(PURCHASE)).balance == 25


async def test_a_failure_keeps_its_status() -> None:
    """A 429 means that nothing was done, even if its body is in an encoding that nothing can read."""
    step = answer(b"Content-Encoding: compress", status=b"429 Slow", body=b"\x1f\x9d")
    async with open_rig(step, retry=ONCE) as it:
        with pytest.raises(RateLimitError):
            await it.bardge.credits.purchase(PURCHASE)


async def test_the_key_is_not_quoted() -> None:
    """An encoding that echoes the API key is named without it."""
    key = "sk_live_0123456789abcdef"
    step = answer(b"Content-Encoding: " + key.encode(), body=b"\x1f")
    async with open_rig(step, retry=ONCE) as it:
        with pytest.raises(NoAnswerError, match="Content-Encoding is ") as caught:
            await it.bardge.with_options(api_key=key).clients.get_credits("c")
    assert key not in str(caught.value)
