"""A user's own session is used unchanged, never closed, and rejected if it would change what we send."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from bardge_async import BardgeClient, ConfigurationError, RetryPolicy
from bardge_async._network.sessions import RESERVED_HEADERS
from tests.support.net import BALANCE
from tests.support.server import ScriptedServer, reply


async def test_it_stays_open() -> None:
    """Closing the client leaves the user's session open, and the session's headers are sent."""
    async with ScriptedServer(reply(200, BALANCE)) as server, aiohttp.ClientSession(headers={"X-Own": "1"}) as session:
        async with BardgeClient("key", server.base_url, session=session) as bardge:
            await bardge.clients.get_credits("c")
        assert not session.closed
    assert (server.requests[0].headers["x-own"], server.requests[0].headers["authorization"]) == ("1", "Bearer key")


@pytest.mark.parametrize(
    "options",
    [
        {"raise_for_status": True},
        {"base_url": "https://other.example"},
        {"trust_env": True},
        *({"headers": {name.title(): "x"}} for name in sorted(RESERVED_HEADERS)),
    ],
    ids=str,
)
async def test_settings_that_are_refused(options: dict[str, Any]) -> None:
    """A session that would raise, redirect, or send other headers than ours is rejected."""
    async with aiohttp.ClientSession(**options) as session:
        with pytest.raises(ConfigurationError, match="session"):
            BardgeClient("key", session=session)


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
async def test_auth_is_refused() -> None:
    """A session with auth of its own is rejected."""
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("a", "b")) as session:
        with pytest.raises(ConfigurationError, match="auth"):
            BardgeClient("key", session=session)


async def test_a_connector_that_verifies_nothing_is_refused() -> None:
    """A session whose connector has ssl=False is rejected."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        with pytest.raises(ConfigurationError, match="ssl"):
            BardgeClient("key", session=session)


async def test_closed_sessions_are_refused() -> None:
    """A closed session is rejected when the client is made, and when it is closed later, at the call."""
    session = aiohttp.ClientSession()
    bardge = BardgeClient("key", session=session, retry=RetryPolicy(max_attempts=1))
    await session.close()
    with pytest.raises(ConfigurationError, match="closed"):
        await bardge.clients.get_credits("c")
    with pytest.raises(ConfigurationError, match="closed"):
        BardgeClient("key", session=session)
    await bardge.aclose()


async def test_another_loop_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that belongs to another loop is rejected at the call."""
    async with aiohttp.ClientSession() as session, BardgeClient("key", session=session) as bardge:
        monkeypatch.setattr(session, "_loop", object())
        with pytest.raises(ConfigurationError, match="loop"):
            await bardge.clients.get_credits("c")
        monkeypatch.undo()
