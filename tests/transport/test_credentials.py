"""A callable key: called once, and again after it was rejected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bardge_async import AuthenticationError, BardgeClient, ConfigurationError
from bardge_async.testing import ManualClock
from tests.support.net import BALANCE
from tests.support.server import Received, ScriptedServer, error, reply


class Vault:
    """Return keys one after the other, repeating the last one; ``asked`` counts."""

    def __init__(self, *keys: str, by_await: bool) -> None:
        self._keys = list(keys)
        self._by_await = by_await
        self.asked = 0

    def get_key(self) -> Any:
        self.asked += 1
        key = self._keys[min(self.asked, len(self._keys)) - 1]
        return self._get_later(key) if self._by_await else key

    async def _get_later(self, key: str) -> str:
        await asyncio.sleep(0)
        return key


def accept_only(*good: str) -> Callable[[Received, asyncio.StreamWriter], Any]:
    """Accept some keys and reject all others."""

    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        known = request.headers["authorization"] in {f"Bearer {key}" for key in good}
        answer = reply(200, BALANCE) if known else error(401, "authentication_error", "invalid_api_key")
        await answer(request, writer)

    return handle_request


async def make_fifty_calls(bardge: BardgeClient) -> list[object]:
    calls = [bardge.clients.get_credits("c") for _ in range(50)]
    return list(await asyncio.gather(*calls, return_exceptions=True))


both = pytest.mark.parametrize("by_await", [False, True])


@both
async def test_asked_once_by_many(by_await: bool) -> None:
    """Fifty concurrent first calls fetch the key once."""
    vault = Vault("a", by_await=by_await)
    async with (
        ScriptedServer(accept_only("a")) as server,
        BardgeClient(vault.get_key, server.base_url, clock=ManualClock()) as bardge,
    ):
        await make_fifty_calls(bardge)
    assert (vault.asked, len(server.requests)) == (1, 50)


@both
async def test_rotation(by_await: bool) -> None:
    """After a rejection a new key is fetched once, and every call is retried once with it."""
    vault = Vault("old", "new", by_await=by_await)
    async with (
        ScriptedServer(accept_only("new")) as server,
        BardgeClient(vault.get_key, server.base_url, clock=ManualClock()) as bardge,
    ):
        results = await make_fifty_calls(bardge)
    assert not [result for result in results if isinstance(result, Exception)]
    assert (vault.asked, len(server.requests)) == (2, 100)


@both
async def test_an_unchanged_key_is_not_repeated(by_await: bool) -> None:
    """If fetching again returns the same key, the 401 stands and nothing is sent again."""
    vault = Vault("bad", by_await=by_await)
    async with (
        ScriptedServer(accept_only()) as server,
        BardgeClient(vault.get_key, server.base_url, clock=ManualClock()) as bardge,
    ):
        with pytest.raises(AuthenticationError):
            await bardge.clients.get_credits("c")
    assert (vault.asked, len(server.requests)) == (2, 1)


async def test_rejected_twice() -> None:
    """A second new key that is rejected too ends the call."""
    vault = Vault("a", "b", "c", by_await=False)
    async with (
        ScriptedServer(accept_only()) as server,
        BardgeClient(vault.get_key, server.base_url, clock=ManualClock()) as bardge,
    ):
        with pytest.raises(AuthenticationError):
            await bardge.clients.get_credits("c")
    assert len(server.requests) == 2


async def test_many_rejections_ask_once() -> None:
    """Fifty rejections that arrive together fetch the key once, though it is the same."""
    gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asked: list[int] = []

    async def get_key() -> str:
        asked.append(1)
        return "bad" if len(asked) == 1 else await gate

    async with (
        ScriptedServer(accept_only()) as server,
        BardgeClient(get_key, server.base_url, clock=ManualClock()) as bardge,
    ):
        calls = asyncio.gather(*[bardge.clients.get_credits("c") for _ in range(50)], return_exceptions=True)
        lock = bardge._caller.settings.credentials._locks.get()
        while len(asked) < 2 or lock.statistics().tasks_waiting < 49:  # noqa: ASYNC110 - there is no signal for waiters
            await asyncio.sleep(0)
        gate.set_result("bad")
        assert {type(one) for one in await calls} == {AuthenticationError}
    assert (len(asked), len(server.requests)) == (2, 50)


async def test_a_callable_that_raises() -> None:
    """A callable that raises ends the call as ConfigurationError; nothing is sent."""

    def get_key() -> str:
        raise LookupError

    async with ScriptedServer() as server, BardgeClient(get_key, server.base_url) as bardge:
        with pytest.raises(ConfigurationError, match="LookupError"):
            await bardge.clients.get_credits("c")
    assert server.connections == 0
