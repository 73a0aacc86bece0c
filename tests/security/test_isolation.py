"""Requests go where they should and contain what we intend: no redirects, cookies, environment, or stale responses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import anyio
import pytest
from aiohttp import ClientRequest, hdrs

from bardge_async import BardgeClient, NoAnswerError, PurchaseCredits, RetryPolicy
from bardge_async.testing import ManualClock
from tests.support.net import BALANCE, ConnectProxy
from tests.support.server import Received, ScriptedServer, reply, send_raw

pytestmark = pytest.mark.usefixtures("both_ways")

ONCE = RetryPolicy(max_attempts=1)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is no usable response, and its target gets neither request nor key."""
    async with ScriptedServer(reply(200, BALANCE)) as other:
        away = reply(status, headers={"Location": other.base_url + "/x"})
        async with (
            ScriptedServer(away) as server,
            BardgeClient("key", server.base_url, retry=ONCE, clock=ManualClock()) as bardge,
        ):
            with pytest.raises(NoAnswerError):
                await bardge.clients.get_credits("c")
    assert (len(server.requests), other.connections) == (1, 0)


async def test_cookies_are_neither_kept_nor_sent() -> None:
    """A cookie that the server sets is sent with no later request."""
    async with (
        ScriptedServer(reply(200, BALANCE, {"Set-Cookie": "track=1; Path=/"})) as server,
        BardgeClient("key", server.base_url.replace("127.0.0.1", "localhost"), clock=ManualClock()) as bardge,
    ):
        await bardge.clients.get_credits("c")
        await bardge.clients.get_credits("c")
    assert [request.headers.get("cookie") for request in server.requests] == [None, None]


async def test_environment_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Proxies and a netrc of the environment change nothing."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login evil password evil\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with ConnectProxy() as proxy, ScriptedServer(reply(200, BALANCE)) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with BardgeClient("key", server.base_url, clock=ManualClock()) as bardge:
            await bardge.clients.get_credits("c")
    assert (server.requests[0].headers["authorization"], proxy.requests) == ("Bearer key", [])


async def test_accept_encoding_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed codecs do not change what we ask for."""
    monkeypatch.setitem(ClientRequest.DEFAULT_HEADERS, hdrs.ACCEPT_ENCODING, "gzip, deflate, br, zstd")
    async with (
        ScriptedServer(reply(200, BALANCE)) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        await bardge.clients.get_credits("c")
    assert server.requests[0].headers["accept-encoding"] == "gzip, deflate"


async def test_headers_are_ours_alone() -> None:
    """A GET and a POST have exactly the headers that the client intends to send."""
    common = {"host", "accept", "accept-encoding", "user-agent", "authorization"}
    async with (
        ScriptedServer(reply(200, BALANCE)) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        await bardge.clients.get_credits("c")
        await bardge.credits.purchase(PurchaseCredits(client_id="c", package_id="p"))
    read, bought = (set(request.headers) for request in server.requests)
    assert (read, bought - common) == (common, {"content-type", "content-length", "idempotency-key"})


async def test_unasked_bytes_are_no_answer() -> None:
    """A response that arrives on an idle connection is not taken for the next request's."""
    poison, sent = anyio.Event(), anyio.Event()
    fake = b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"balance":99}'

    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        await reply(200, BALANCE)(request, writer)
        if len(server.requests) == 1:
            await poison.wait()
            await send_raw(fake, close=False)(request, writer)
            sent.set()

    async with (
        ScriptedServer(handle_request) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        await bardge.clients.get_credits("c")
        poison.set()
        await sent.wait()
        for _ in range(5):
            await asyncio.sleep(0)
        assert (await bardge.clients.get_credits("c")).balance == 5


async def test_bytes_behind_an_answer_are_no_answer() -> None:
    """A second response sent along with the first is not taken for the next request's."""
    double = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"balance":5}' * 2
    async with (
        ScriptedServer(send_raw(double, close=False), reply(200, {"balance": 7})) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        await bardge.clients.get_credits("c")
        assert (await bardge.clients.get_credits("c")).balance == 7
