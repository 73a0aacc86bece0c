"""Path arguments are one segment, and no user input adds a header or changes the URL."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bardge_async import BardgeClient, ConfigurationError, InvalidArgumentError, PurchaseCredits
from bardge_async.testing import ManualClock
from tests.support.net import BALANCE
from tests.support.server import ScriptedServer, reply

PREFIX = "/clients/"


async def find_segment(client_id: Any) -> str:
    """Return the one segment under which a client's id reached the server."""
    async with (
        ScriptedServer(reply(200, BALANCE)) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        try:
            await bardge.clients.get_credits(client_id)
        finally:
            targets = [request.target for request in server.requests]
        (target,) = targets
    _, first, segment, last = target.split("/")
    assert (first, last) == ("clients", "credits")
    return segment


@pytest.mark.parametrize(
    ("value", "segment"),
    [
        ("a/b", "a%2Fb"),
        ("a?b", "a%3Fb"),
        ("a#b", "a%23b"),
        ("a%b", "a%25b"),
        ("%2e%2e", "%252e%252e"),
        ("%2F", "%252F"),
        (" a b ", "%20a%20b%20"),
        ("é", "%C3%A9"),
        ("日", "%E6%97%A5"),
        ("\U0001f600", "%F0%9F%98%80"),
        ("a\\b", "a%5Cb"),
        ("...", "..."),
        ("../x", "..%2Fx"),
        ("a;b=c", "a%3Bb%3Dc"),
        ("{x}", "%7Bx%7D"),
        ("a+b", "a%2Bb"),
        ("http://evil.com", "http%3A%2F%2Fevil.com"),
    ],
)
async def test_one_segment(value: str, segment: str) -> None:
    """Characters with a meaning in a URL arrive encoded, once."""
    assert await find_segment(value) == segment


REFUSED: list[Any] = [
    "",
    ".",
    "..",
    "a\r\nX: y",
    "a\nb",
    "\x00",
    "\x7f",
    "\x85",
    "\ud800",
    "a\udfff",
    None,
    5,
    b"a",
    ["a"],
]


@pytest.mark.parametrize("value", REFUSED)
async def test_refused_before_sending(value: Any) -> None:
    """A value that would change the URL, or is not text, is rejected and nothing connects."""
    async with ScriptedServer() as server, BardgeClient("key", server.base_url) as bardge:
        with pytest.raises(InvalidArgumentError):
            await bardge.clients.get_credits(value)
    assert server.connections == 0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(min_size=0, max_size=40) | st.text("./%\\?#;~ \r\n\x00", max_size=8))
async def test_any_text_is_one_segment_or_refused(value: str) -> None:
    """For any text the server sees exactly that text as one segment, or the call is rejected."""
    try:
        segment = await find_segment(value)
    except InvalidArgumentError:
        assert value in {"", ".", ".."} or any(
            ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in value
        )
        return
    assert unquote(segment, errors="strict") == value


INJECTIONS = ["a\r\nX-Evil: 1", "a\n", "\ra", "a\x00b", "a\x0bb", "é", " a", "a ", "", "\x7f"]


@pytest.mark.parametrize("value", INJECTIONS)
async def test_header_values(value: str) -> None:
    """Neither an idempotency key nor a lookup token can add a header or arrive changed."""
    async with ScriptedServer() as server, BardgeClient("key", server.base_url) as bardge:
        with pytest.raises(InvalidArgumentError):
            await bardge.send("credits.purchase", request=PurchaseCredits(client_id="c", package_id="p"), key=value)
        with pytest.raises(InvalidArgumentError):
            await bardge.request("GET", "/passes", lookup_token=value)
    assert server.connections == 0


@pytest.mark.parametrize("value", INJECTIONS)
def test_api_key(value: str) -> None:
    """An API key cannot add a header."""
    with pytest.raises(ConfigurationError):
        BardgeClient(value)


@pytest.mark.parametrize(
    "path", ["@evil.com/x", "//evil.com/x", "/../x", "/a/%2e%2e/b", "/a\r\nb", "/a?b=c", "x", "/a\\b"]
)
async def test_free_paths(path: str) -> None:
    """The path of ``client.request()`` stays below the base URL."""
    async with ScriptedServer() as server, BardgeClient("key", server.base_url) as bardge:
        with pytest.raises(InvalidArgumentError):
            await bardge.request("GET", path)
    assert server.connections == 0


@pytest.mark.parametrize(
    "path", ["@evil.com/passes", "//evil.com/passes", ".evil.com/passes", "/a/../passes", "/a\r\nb"]
)
def test_corrected_paths(path: str) -> None:
    """A path override stays below the base URL."""
    with pytest.raises(ConfigurationError):
        BardgeClient("key", paths={"passes.list": path})
