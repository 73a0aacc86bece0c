"""After a failure no request goes over a connection that was idle before, and none is doubted for an idle one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import anyio
import pytest

from bardge_async import (
    BardgeClient,
    Event,
    InitiateLookup,
    OutcomeUnknownError,
    PurchaseCredits,
    RetryPolicy,
    RetryScheduled,
)
from bardge_async.testing import FakeTransport, ManualClock, json_response
from tests.support.clock import PausedClock
from tests.support.net import BALANCE
from tests.support.rig import AT_ONCE, PURCHASE, Rig, open_rig
from tests.support.server import Received, cut, error, reply

LOOKUP: Final = {"object": "lookup", "id": "lkp_1", "status": "PENDING"}


class Balancer:
    """Answer over connections made since the last failover; those made before are dead: reset, silent or ended."""

    def __init__(self, clock: ManualClock, kept: int, how: str) -> None:
        self._clock = clock
        self._how = how
        self._missing = kept
        self._all_arrived = anyio.Event()
        self._made: dict[asyncio.StreamWriter, int] = {}
        self.failovers = 0
        self.answered = 0

    async def answer_request(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if self._made.setdefault(writer, self.failovers) != self.failovers:
            await self._fail(request, writer)
            return
        if not self.failovers:
            # Concurrent requests, so that each opens a connection.
            self._missing -= 1
            if self._missing <= 0:
                self._all_arrived.set()
            await self._all_arrived.wait()
        self.answered += 1
        await reply(200, BALANCE)(request, writer)

    async def _fail(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if self._how == "silent":
            self._clock.advance(20.5)
            await asyncio.Event().wait()
        elif self._how == "reset":
            await cut()(request, writer)
        else:
            writer.close()


@asynccontextmanager
async def open_balanced(kept: int, how: str, **options: Any) -> AsyncGenerator[tuple[Rig, Balancer]]:
    """Open a client with kept connections, all of which are dead."""
    clock = ManualClock()
    balancer = Balancer(clock, kept, how)
    async with open_rig(balancer.answer_request, clock=clock, timeout=100, **options) as it:
        await asyncio.gather(*[it.bardge.clients.get_credits("c") for _ in range(kept)])
        balancer.failovers, balancer.answered = 1, 0
        yield it, balancer


async def call(bardge: BardgeClient, method: str) -> None:
    if method == "GET":
        await bardge.clients.get_credits("c")
    else:
        await bardge.credits.purchase(PURCHASE)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("how", ["reset", "silent", "ended"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_second_attempt_is_answered(how: str, method: str) -> None:
    """However many kept connections are dead, the first repeat goes over a new one."""
    async with open_balanced(8, how) as (it, balancer):
        await call(it.bardge, method)
        assert (balancer.answered, it.request_count, it.server.connections) == (1, 8 + 2, 8 + 1)


@pytest.mark.parametrize("how", ["reset", "silent"])
async def test_a_users_session(how: str) -> None:
    """The same holds for the connections of a user's own session."""
    async with aiohttp.ClientSession() as session, open_balanced(8, how, session=session) as (it, balancer):
        await call(it.bardge, "POST")
        assert (balancer.answered, it.request_count) == (1, 8 + 2)


@pytest.mark.usefixtures("both_ways")
async def test_idle_connections_are_dropped() -> None:
    """Other calls do not use a connection that was idle before the failure, either."""
    async with open_balanced(8, "reset") as (it, balancer):
        await call(it.bardge, "GET")
        await asyncio.gather(*[call(it.bardge, "POST") for _ in range(7)])
        assert (balancer.answered, it.request_count) == (8, 8 + 1 + 8)


@pytest.mark.usefixtures("both_ways")
async def test_a_repeat_is_new_though_another_is_kept() -> None:
    """A repeat uses a new connection, even if one that answered after the failure is idle."""
    events: list[Event] = []
    options: dict[str, Any] = {"retry": RetryPolicy(base=30, cap=30), "hooks": [events.append], "timeout": 100}
    async with open_rig(cut(), reply(200, BALANCE), clock=PausedClock(), **options) as it:
        repeated = asyncio.create_task(it.bardge.clients.get_credits("c"))
        while not any(isinstance(event, RetryScheduled) for event in events):  # noqa: ASYNC110 - waits for turns
            await asyncio.sleep(0)
        await it.bardge.clients.get_credits("c")
        it.clock.advance(30)
        await repeated
        assert it.server.connections == 3


async def test_an_answered_failure_keeps_the_connection() -> None:
    """A repeat after a 503 goes over the same connection: it is alive."""
    async with open_rig(error(503), reply(200, BALANCE)) as it:
        await it.bardge.clients.get_credits("c")
        assert (it.request_count, it.server.connections) == (2, 1)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize(("idle", "connections"), [(0.0, 1), (0.9, 1), (1.0, 2), (6.0, 2)])
async def test_a_post_that_cannot_be_repeated(idle: float, connections: int) -> None:
    """A POST without a proven key goes over a connection that was idle for less than a second, or a new one."""
    async with open_rig(reply(200, BALANCE), reply(200, LOOKUP)) as it:
        await it.bardge.clients.get_credits("c")
        it.clock.advance(idle)
        assert (await it.bardge.lookups.initiate(InitiateLookup(issuer_id="i", client_id="c"))).id == "lkp_1"
        assert it.server.connections == connections


async def test_a_users_session_and_a_post_that_cannot_be_repeated() -> None:
    """The same holds for a user's own session, where the client itself used the connection before."""
    async with (
        aiohttp.ClientSession() as session,
        open_rig(reply(200, BALANCE), reply(200, LOOKUP), session=session) as it,
    ):
        await it.bardge.clients.get_credits("c")
        it.clock.advance(6)
        await it.bardge.lookups.initiate(InitiateLookup(issuer_id="i", client_id="c"))
        assert it.server.connections == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_others_use_an_idle_connection(method: str) -> None:
    """A GET, and a POST whose key is honoured, can be repeated: a kept connection does."""
    async with open_rig(reply(200, BALANCE)) as it:
        await it.bardge.clients.get_credits("c")
        it.clock.advance(6)
        await call(it.bardge, method)
        assert it.server.connections == 1


async def test_without_retries_no_post_can_be_repeated() -> None:
    """With one attempt in all, an unanswered POST ends in doubt whatever its key: it goes over a new connection."""
    async with open_rig(reply(200, BALANCE), retry=RetryPolicy(max_attempts=1)) as it:
        await it.bardge.clients.get_credits("c")
        it.clock.advance(6)
        await call(it.bardge, "POST")
        assert it.server.connections == 2


async def test_a_later_call_in_doubt_uses_a_new_connection() -> None:
    """A call that takes up a doubt goes over a new connection from its first attempt on."""
    once = RetryPolicy(max_attempts=1)
    async with open_rig(cut(), reply(200, BALANCE), retry=once) as it:
        with pytest.raises(OutcomeUnknownError):
            await it.bardge.send("credits.purchase", request=PURCHASE, key="k")
        patient = it.bardge.with_options(retry=AT_ONCE)
        await patient.clients.get_credits("c")
        await patient.send("credits.purchase", request=PURCHASE, key="k")
        assert it.server.connections == 3


class RecordingTransport(FakeTransport):
    """Record each attempt's limits."""

    def __init__(self, *script: Any) -> None:
        super().__init__(*script)
        self.max_idle: list[float] = []

    async def send(self, request: Any, limits: Any) -> Any:
        self.max_idle.append(limits.max_idle)
        return await super().send(request, limits)


async def test_a_custom_transport_is_told() -> None:
    """A transport of the user gets the longest idle time in its limits."""
    transport = RecordingTransport(OSError(), json_response(BALANCE))
    async with BardgeClient("key", transport=transport, retry=AT_ONCE, clock=ManualClock()) as bardge:
        await bardge.credits.purchase(PurchaseCredits(client_id="c", package_id="p"))
    assert transport.max_idle == [float("inf"), 0.0]
