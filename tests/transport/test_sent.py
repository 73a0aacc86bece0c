"""What is proved not sent, and what counts as sent."""

from __future__ import annotations

import asyncio
import select
from typing import Final

import pytest

from bardge_async import (
    BardgeClient,
    BardgeError,
    ConnectError,
    NotSentError,
    OutcomeUnknownError,
    PurchaseCredits,
    RetryPolicy,
)
from bardge_async.testing import ManualClock
from tests.support.loop import run_loop_until
from tests.support.net import (
    BALANCE,
    Authority,
    ConnectProxy,
    call_back_then,
    find_refused_port,
    get_https_url,
    listen,
    send_in_pieces,
)
from tests.support.server import ScriptedServer, Step, cut, reply, send_raw

pytestmark = pytest.mark.usefixtures("both_ways")

PURCHASE: Final = PurchaseCredits(client_id="c", package_id="p")
ONCE: Final = RetryPolicy(max_attempts=1)


async def fail_to_connect(bardge: BardgeClient) -> ConnectError:
    """Make a charging call that cannot connect, and return its error."""
    with pytest.raises(ConnectError) as caught:
        await bardge.credits.purchase(PURCHASE)
    assert (caught.value.sent, caught.value.retryable) == (False, True)
    return caught.value


async def test_refused_port() -> None:
    """A refused connection counts as not sent."""
    async with BardgeClient("key", f"http://127.0.0.1:{find_refused_port()}", retry=ONCE) as bardge:
        await fail_to_connect(bardge)


async def test_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without an address counts as not sent."""

    async def fail_to_resolve(*_: object, **__: object) -> object:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail_to_resolve)
    async with BardgeClient("key", "https://bardge.invalid", retry=ONCE) as bardge:
        await fail_to_connect(bardge)


async def test_tls_handshake_failure() -> None:
    """A peer that does not speak TLS counts as not sent."""

    async def answer_plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with listen(answer_plain) as port, BardgeClient("key", f"https://127.0.0.1:{port}", retry=ONCE) as bardge:
        await fail_to_connect(bardge)


async def test_connect_timeout() -> None:
    """A handshake that does not end within the connect limit counts as not sent, on the injected clock."""
    clock = ManualClock()

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        clock.advance(5.5)
        await reader.read()

    async with (
        listen(stay_silent) as port,
        BardgeClient("key", f"https://127.0.0.1:{port}", retry=ONCE, clock=clock) as bardge,
    ):
        assert (await fail_to_connect(bardge)).timed_out


@pytest.mark.parametrize("refusal", [b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", b"garbage\r\n\r\n", b""])
async def test_refused_by_the_proxy(refusal: bytes) -> None:
    """A CONNECT that is refused, answered with garbage or cut counts as not sent, and the proxy sees no key."""
    async with (
        ConnectProxy(refusal=refusal) as proxy,
        BardgeClient("key-of-ours", "https://localhost:1", proxy=proxy.url, retry=ONCE, clock=ManualClock()) as bardge,
    ):
        await fail_to_connect(bardge)
    assert [request.method for request in proxy.requests] == ["CONNECT"]
    assert "authorization" not in proxy.requests[0].headers


async def test_proxy_that_is_not_there() -> None:
    """A proxy that refuses the connection counts as not sent."""
    gone = f"http://127.0.0.1:{find_refused_port()}"
    async with BardgeClient("key", "https://localhost:1", proxy=gone, retry=ONCE) as bardge:
        await fail_to_connect(bardge)


async def test_tunnel() -> None:
    """Through a CONNECT proxy the certificate is verified end to end and the response is returned."""
    authority = Authority()
    async with (
        ScriptedServer(reply(200, BALANCE), tls=authority.server) as server,
        ConnectProxy() as proxy,
        BardgeClient(
            "key", get_https_url(server), proxy=proxy.url, ssl=authority.make_client_context(), clock=ManualClock()
        ) as bardge,
    ):
        assert (await bardge.clients.get_credits("c")).balance == 5


async def test_untrusted_behind_the_proxy() -> None:
    """A server with an untrusted certificate behind a proxy counts as not sent."""
    async with (
        ScriptedServer(reply(200, BALANCE), tls=Authority().server) as server,
        ConnectProxy() as proxy,
        BardgeClient("key", get_https_url(server), proxy=proxy.url, retry=ONCE, clock=ManualClock()) as bardge,
    ):
        await fail_to_connect(bardge)
    assert not server.requests


async def test_a_transient_refusal_is_repeated() -> None:
    """What was not sent is sent again under the same key."""
    visits: list[str] = []
    port = find_refused_port()

    async def answer_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visits.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\n{"balance":5}')
        writer.close()
        await writer.wait_closed()

    class Opening(ManualClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if not servers:
                servers.append(await asyncio.start_server(answer_request, "127.0.0.1", port))

    servers: list[asyncio.Server] = []
    async with BardgeClient("key", f"http://127.0.0.1:{port}", clock=Opening()) as bardge:
        async with bardge.idempotent() as once:
            await once.credits.purchase(PURCHASE)
        assert once.attempts == 2
    servers[0].close()
    assert f"idempotency-key: {once.key}" in visits[0].lower()


SENT: Final[dict[str, Step]] = {
    "reset": cut(),
    "closed": send_raw(b""),
    "half a status line": send_raw(b"HTTP/1.1 20"),
    "cut head": send_raw(b"HTTP/1.1 200 OK\r\nContent-Len"),
    "cut body": send_raw(b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"bal'),
    "garbage": send_raw(b"\x16\x03\x01garbage\r\n\r\n"),
    "error page": send_raw(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"),
}


async def fail_with_unknown_outcome(server_step: Step, clock: ManualClock) -> OutcomeUnknownError:
    """Make a charging call that is sent once and gets no usable response."""
    async with (
        ScriptedServer(server_step) as server,
        BardgeClient("key", server.base_url, retry=ONCE, clock=clock) as bardge,
    ):
        with pytest.raises(BardgeError) as caught:
            await bardge.credits.purchase(PURCHASE)
    assert len(server.requests) == 1
    assert not isinstance(caught.value, NotSentError)
    assert isinstance(caught.value, OutcomeUnknownError)
    return caught.value


@pytest.mark.parametrize("name", SENT)
async def test_counts_as_sent(name: str) -> None:
    """Once the request was written, no failure makes it not sent."""
    assert (await fail_with_unknown_outcome(SENT[name], ManualClock())).sent


async def test_reset_before_the_request_was_read() -> None:
    """A server that resets without reading leaves open whether it got the request."""

    async def reset_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        descriptor = writer.get_extra_info("socket").fileno()
        await run_loop_until(lambda: select.select([descriptor], [], [], 0)[0])
        writer.transport.abort()

    async with (
        listen(reset_connection) as port,
        BardgeClient("key", f"http://127.0.0.1:{port}", retry=ONCE, clock=ManualClock()) as bardge,
    ):
        with pytest.raises(OutcomeUnknownError) as caught:
            await bardge.credits.purchase(PURCHASE)
    assert caught.value.sent


async def test_slow_drip_ends_with_the_attempt() -> None:
    """Bytes that keep arriving do not extend an attempt beyond its limit."""
    clock = ManualClock()
    drip = send_in_pieces(*[b"HTTP/1.1 200 OK\r\n"] + [b"X-A: b\r\n"] * 9, between=lambda: clock.advance(3))
    error = await fail_with_unknown_outcome(drip, clock)
    assert (error.sent, error.timed_out) == (True, True)


async def test_connecting_counts_into_the_attempt() -> None:
    """The attempt's limit runs from its start: time spent connecting is not granted twice."""
    clock, authority = ManualClock(), Authority()
    started = clock.elapsed()
    slow = call_back_then(lambda: clock.advance(16.5))
    async with (
        ScriptedServer(slow, tls=authority.server) as server,
        ConnectProxy(on_connect=lambda: clock.advance(4)) as proxy,
        BardgeClient(
            "key", get_https_url(server), proxy=proxy.url, ssl=authority.make_client_context(), retry=ONCE, clock=clock
        ) as bardge,
    ):
        with pytest.raises(OutcomeUnknownError) as caught:
            await bardge.credits.purchase(PURCHASE)
    assert (caught.value.timed_out, clock.elapsed() - started) == (True, 20.5)
