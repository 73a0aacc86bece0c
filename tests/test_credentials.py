"""The API key: a fixed value, or a callable that is called again after a rotation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bardge_async import errors
from tests.support.calls import get_credits
from tests.support.rig import PURCHASE, open_rig
from tests.support.server import ScriptedServer, cut, error, reply

REJECTED = error(401, "authentication_error", "invalid_api_key")
OK = reply(200, {"balance": 5})


class Keys:
    """Return one key after another, repeating the last, and count the calls."""

    def __init__(self, *keys: object) -> None:
        self.keys = keys
        self.asked = 0

    def __call__(self) -> Any:
        self.asked += 1
        return self.keys[min(self.asked, len(self.keys)) - 1]

    async def get_later(self) -> Any:
        await asyncio.sleep(0)
        return self()


def list_bearers(server: ScriptedServer) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in server.requests]


@pytest.mark.parametrize("awaited", [False, True])
async def test_asked_once(awaited: bool) -> None:
    """A callable, sync or async, is called once, on first use, however many calls wait for it."""
    keys = Keys("a")
    async with open_rig(OK) as it:
        bardge = it.bardge.with_options(api_key=keys.get_later if awaited else keys)
        assert keys.asked == 0
        await asyncio.gather(*(get_credits(bardge) for _ in range(5)))
    assert (keys.asked, list_bearers(it.server)) == (1, ["a"] * 5)


async def test_asked_again_after_a_rejection() -> None:
    """After a 401 ``invalid_api_key`` the callable is called again, and the attempt is repeated with the new key."""
    keys = Keys("old", "new")
    async with open_rig(REJECTED, OK) as it:
        await get_credits(it.bardge.with_options(api_key=keys))
    assert (keys.asked, list_bearers(it.server), it.clock.sleeps) == (2, ["old", "new"], [])


async def test_post_keeps_its_key_over_a_rotation() -> None:
    """A POST is sent again under the same idempotency key."""
    async with open_rig(REJECTED, OK) as it:
        await it.bardge.with_options(api_key=Keys("old", "new")).credits.purchase(PURCHASE)
    assert (len(set(it.keys)), list_bearers(it.server)) == (1, ["old", "new"])


@pytest.mark.parametrize(
    ("keys", "sent"), [(Keys("same"), ["same"]), (Keys("a", "b"), ["a", "b"])], ids=["same key", "still wrong"]
)
async def test_rejection_is_final(keys: Keys, sent: list[str]) -> None:
    """The same key again, or a second rejection, ends the call with the 401."""
    async with open_rig(REJECTED) as it:
        with pytest.raises(errors.AuthenticationError):
            await get_credits(it.bardge.with_options(api_key=keys))
    assert list_bearers(it.server) == sent


@pytest.mark.parametrize("step", [error(401, "authentication_error", "key_expired"), reply(401, body=b"<html>")])
async def test_other_rejections_ask_nobody(step: Any) -> None:
    """Only ``invalid_api_key`` fetches the key again."""
    keys = Keys("a", "b")
    async with open_rig(step) as it:
        with pytest.raises(errors.AuthenticationError):
            await get_credits(it.bardge.with_options(api_key=keys))
    assert (keys.asked, it.request_count) == (1, 1)


async def test_given_key_is_final() -> None:
    """A key given as text is not fetched again."""
    async with open_rig(REJECTED) as it:
        with pytest.raises(errors.AuthenticationError):
            await get_credits(it.bardge)
    assert it.request_count == 1


@pytest.mark.parametrize("key", [None, 5, b"key", "", " a", "a\r\nX: 1", "é"])
async def test_callable_with_a_bad_key(key: object) -> None:
    """A callable's result is checked like a given key; nothing is sent, and the value is in no error."""
    async with open_rig(OK) as it:
        with pytest.raises(errors.ConfigurationError, match="api_key") as caught:
            await get_credits(it.bardge.with_options(api_key=Keys(key)))
    assert (it.request_count, caught.value.sent, caught.value.endpoint) == (0, False, "clients.get_credits")
    assert "X: 1" not in str(caught.value)


async def test_callable_that_fails() -> None:
    """A callable's own failure is a ConfigurationError, with that failure as its cause."""

    def fail() -> str:
        raise OSError("the vault is closed")

    async with open_rig(OK) as it:
        with pytest.raises(errors.ConfigurationError, match="OSError") as caught:
            await get_credits(it.bardge.with_options(api_key=fail))
    assert (it.request_count, type(caught.value.__cause__)) == (0, OSError)


async def test_failure_after_a_rejection_leaves_the_rejection() -> None:
    """If no new key is available, the caller gets the 401."""
    async with open_rig(REJECTED) as it:
        with pytest.raises(errors.AuthenticationError):
            await get_credits(it.bardge.with_options(api_key=Keys("a", None)))


async def test_rejection_in_doubt() -> None:
    """A rejected retry of a POST that was cut, with no new key available, leaves its outcome unknown."""
    async with open_rig(cut(), REJECTED) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.with_options(api_key=Keys("a", None)).credits.purchase(PURCHASE)
    assert it.request_count == 2


async def test_callable_that_takes_too_long() -> None:
    """A call whose key does not come before its deadline was not sent, and says that it timed out."""
    async with open_rig(OK) as it:

        async def get_key() -> str:
            it.clock.advance(60)
            await asyncio.Event().wait()
            return "never"

        with pytest.raises(errors.NotSentError, match="api_key") as caught:
            await get_credits(it.bardge.with_options(api_key=get_key))
    found = caught.value
    assert (found.timed_out, found.retryable, found.sent, found.attempts, it.request_count) == (True, True, False, 0, 0)
