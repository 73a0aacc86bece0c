"""One attempt is one request on the wire: aiohttp's own resend is off."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp
import pytest

from bardge_async import BardgeClient, NoAnswerError, RetryPolicy
from bardge_async.testing import ManualClock
from tests.support.net import BALANCE
from tests.support.server import Received, ScriptedServer, Step, reply, send_raw

pytestmark = pytest.mark.usefixtures("both_ways")

ONCE: Final = RetryPolicy(max_attempts=1)


def cut_second_request(how: str) -> list[Step]:
    """Answer the first request, then cut the kept-alive connection as each later one arrives."""

    async def cut_now(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort() if how == "reset" else writer.close()

    return [reply(200, BALANCE), cut_now]


@pytest.mark.parametrize("how", ["reset", "closed"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_no_hidden_second_request(how: str, method: str) -> None:
    """An idempotent request on a dying kept-alive connection goes out once per attempt."""
    async with (
        ScriptedServer(*cut_second_request(how)) as server,
        BardgeClient("key", server.base_url, retry=ONCE, clock=ManualClock()) as bardge,
    ):
        await bardge.clients.get_credits("c")
        with pytest.raises(Exception, match=r"no usable|broke|not known"):
            await bardge.request(method, "/passes")
    assert len(server.requests) == 2


async def test_no_hidden_second_request_on_a_users_session() -> None:
    """The same is true of the user's own session."""
    async with (
        ScriptedServer(*cut_second_request("closed")) as server,
        aiohttp.ClientSession() as session,
        BardgeClient("key", server.base_url, session=session, retry=ONCE, clock=ManualClock()) as bardge,
    ):
        await bardge.clients.get_credits("c")
        with pytest.raises(NoAnswerError):
            await bardge.clients.get_credits("c")
    assert len(server.requests) == 2


async def test_attempts_are_counted_as_sent() -> None:
    """With retries on, the server sees exactly as many requests as there were attempts."""
    async with (
        ScriptedServer(*cut_second_request("closed")) as server,
        BardgeClient("key", server.base_url, retry=RetryPolicy(max_attempts=3), clock=ManualClock()) as bardge,
    ):
        await bardge.clients.get_credits("c")
        with pytest.raises(NoAnswerError) as caught:
            await bardge.clients.get_credits("c")
    assert (caught.value.attempts, len(server.requests)) == (3, 4)


async def test_a_repeating_middleware_cannot_unsend() -> None:
    """If a user's middleware repeats, a refused last try does not make an earlier one not sent."""
    async with ScriptedServer(send_raw(b"")) as server:

        async def send_twice(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            try:
                return await handler(request)
            except aiohttp.ClientError:
                await server.__aexit__()
                return await handler(request)

        async with (
            aiohttp.ClientSession(middlewares=[send_twice]) as session,
            BardgeClient("key", server.base_url, session=session, retry=ONCE, clock=ManualClock()) as bardge,
        ):
            with pytest.raises(NoAnswerError) as caught:
                await bardge.clients.get_credits("c")
    assert caught.value.sent
