"""Certificates are verified, and the key is sent over plain HTTP to this machine only."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from bardge_async import BardgeClient, ConfigurationError, ConnectError, RetryPolicy
from bardge_async.testing import ManualClock
from tests.support.net import BALANCE, Authority, get_https_url
from tests.support.server import ScriptedServer, reply

pytestmark = pytest.mark.usefixtures("both_ways")


async def test_own_authority_is_trusted_when_given() -> None:
    """A certificate of a private CA is accepted with the context that trusts it."""
    authority = Authority()
    async with (
        ScriptedServer(reply(200, BALANCE), tls=authority.server) as server,
        BardgeClient("key", get_https_url(server), ssl=authority.make_client_context(), clock=ManualClock()) as bardge,
    ):
        assert (await bardge.clients.get_credits("c")).balance == 5


@pytest.mark.parametrize("names", [("localhost",), ("other.example",)])
async def test_bad_certificates_are_refused(names: tuple[str, ...]) -> None:
    """An unknown CA, and a certificate for another host, fail before anything is sent."""
    authority = Authority(*names)
    options: dict[str, Any] = {} if names == ("localhost",) else {"ssl": authority.make_client_context()}
    async with (
        ScriptedServer(reply(200, BALANCE), tls=authority.server) as server,
        BardgeClient(
            "key", get_https_url(server), retry=RetryPolicy(max_attempts=1), clock=ManualClock(), **options
        ) as bardge,
    ):
        with pytest.raises(ConnectError) as caught:
            await bardge.clients.get_credits("c")
    assert (caught.value.sent, caught.value.retryable, server.requests) == (False, True, [])


def _make_blind_context(*, mode: ssl.VerifyMode) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = mode
    return context


@pytest.mark.parametrize(
    "value", [False, True, "x", _make_blind_context(mode=ssl.CERT_NONE), _make_blind_context(mode=ssl.CERT_REQUIRED)]
)
def test_verification_cannot_be_switched_off(value: Any) -> None:
    """Anything but a context that verifies certificate and host name is rejected."""
    with pytest.raises(ConfigurationError, match="ssl"):
        BardgeClient("key", ssl=value)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "https://api.example.com:8443/v3/",
        "https://[2001:db8::1]/v3",
        "http://localhost:8000",
        "HTTP://LOCALHOST",
        "http://127.0.0.1:1",
        "http://127.255.255.254",
        "http://[::1]:8000/v3",
    ],
)
def test_base_url_allowed(url: str) -> None:
    """HTTPS to anywhere and plain HTTP to loopback are accepted."""
    BardgeClient("key", url)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "http://localhost.evil.com",
        "http://evil.com/localhost",
        "http://127.0.0.1.nip.io",
        "http://128.0.0.1",
        "http://0.0.0.0",
        "http://10.0.0.1",
        "http://2130706433",
        "http://[::1]evil.com",
        "http://[::2]",
        "http://localhost\\.evil.com",
        "http://localhost:80\\@evil.com",
        "http://localhost@evil.com",
        "https://user@example.com",
        "https://user:secret@example.com",
        "https://example.com?x=1",
        "https://example.com?",
        "https://example.com#x",
        "https://example.com:port",
        "https://example.com:99999",
        "https://exa mple.com",
        "https://example.com/\r\nX: y",
        "https://example.com\t",
        "https://-\u00e4-.com",
        "https://exam%70le.com",
        "https://",
        "https:example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "ws://localhost",
        "//example.com",
        "example.com",
        "",
    ],
)
def test_base_url_refused(url: str) -> None:
    """Plain HTTP to the network, user info, query, fragment, other schemes and ambiguous hosts are rejected."""
    with pytest.raises(ConfigurationError, match="base_url"):
        BardgeClient("key", url)


@pytest.mark.parametrize(
    "proxy", ["proxy", "ftp://proxy:1", "http://", "http://a\r\nX: y", "http://[::1", "http://h:p", "http://a b"]
)
def test_proxy_refused(proxy: str) -> None:
    """A proxy that is no clean URL is rejected when the client is made."""
    with pytest.raises(ConfigurationError, match="proxy"):
        BardgeClient("key", proxy=proxy)


def test_plain_http_through_a_remote_proxy_is_refused() -> None:
    """Plain HTTP to loopback is not sent over the network by a proxy."""
    with pytest.raises(ConfigurationError, match="plain-HTTP"):
        BardgeClient("key", "http://127.0.0.1:8000", proxy="http://proxy.example:3128")
    BardgeClient("key", "http://127.0.0.1:8000", proxy="http://127.0.0.1:3128")
