"""A key's age is judged again after connecting: what happens to the clocks in the meantime counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from bardge_async import BardgeClient, ConnectError, NoAnswerError, OutcomeUnknownError, RetryPolicy
from bardge_async import models as m
from bardge_async._core.http import WireRequest, WireResponse
from bardge_async._network import AttemptLimits
from bardge_async.testing import FakeTransport, ManualClock, json_response
from tests.support.clock import SuspendableClock
from tests.support.net import Authority, get_https_url
from tests.support.rig import AT_ONCE, PURCHASE
from tests.support.server import ScriptedServer, cut, reply

BOUGHT = reply(201, {"balance": 5})


async def buy(bardge: BardgeClient, key: str = "order-1") -> m.CreditPurchase:
    async with bardge.idempotent(key) as once:
        return await once.credits.purchase(PURCHASE)


async def buy_with_handshake(on_second: Callable[[SuspendableClock], object], **options: Any) -> tuple[str, int]:
    """Buy over TLS, with a cut after the first request; return how it ended, and how many requests arrived."""
    authority, clock, handshakes = Authority(), SuspendableClock(), 0

    def shake_hands(*_: object) -> None:
        nonlocal handshakes
        handshakes += 1
        if handshakes == 2:
            on_second(clock)

    authority.server.sni_callback = shake_hands
    settings: dict[str, Any] = {"ssl": authority.make_client_context(), "clock": clock, "retry": AT_ONCE, **options}
    async with (
        ScriptedServer(cut(), BOUGHT, tls=authority.server) as server,
        BardgeClient("key", get_https_url(server), **settings) as bardge,
    ):
        try:
            await buy(bardge)
        except OutcomeUnknownError as error:
            return type(error.last_error).__name__, len(server.requests)
        return "done", len(server.requests)


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize(
    ("set_forward", "asleep", "ending"),
    [
        (600, 0, ("NotSentError", 1)),
        (80.1, 0, ("NotSentError", 1)),
        (79, 0, ("done", 2)),
        (-600, 0, ("done", 2)),
        (0, 600, ("ConnectError", 1)),
    ],
    ids=["set forward", "just too late", "just in time", "set back", "asleep"],
)
async def test_repeat(set_forward: float, asleep: float, ending: tuple[str, int]) -> None:
    """A repeat whose window closes during its handshake is not written, and the outcome stays unknown."""

    def change(clock: SuspendableClock) -> None:
        clock.jump_wall(set_forward)
        clock.suspend(asleep)

    assert await buy_with_handshake(change) == ending


class Recorder(FakeTransport):
    """A transport that keeps the limits of its attempts."""

    def __init__(self, *script: Any) -> None:
        super().__init__(*script)
        self.limits: list[AttemptLimits] = []

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        self.limits.append(limits)
        return await super().send(request, limits)


async def test_limits_of_a_custom_transport() -> None:
    """A transport is given the latest permitted moment of a repeat's first byte; a first send has none."""
    clock = ManualClock()
    begun = clock.wall()
    transport = Recorder(NoAnswerError("cut"), json_response({"balance": 5}, 201))
    async with BardgeClient("key", transport=transport, clock=clock, retry=RetryPolicy(base=0)) as bardge:
        await buy(bardge)
    first, second = transport.limits
    assert (first.latest_write, first.may_write()) == (math.inf, True)
    assert (second.latest_write, second.may_write()) == (begun + 80, True)
    clock.jump_wall(79.5)
    assert second.may_write()
    clock.jump_wall(0.5)
    assert not second.may_write()
    clock.jump_wall(-80)
    assert not second.may_write()
    assert first.may_write()


async def test_transport_that_declines() -> None:
    """A transport that may no longer write raises ConnectError, and the call ends with an unknown outcome."""
    clock = ManualClock()

    class Slow(FakeTransport):
        async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
            if self.requests:
                clock.jump_wall(600)
            if not limits.may_write():
                raise ConnectError("too late")
            return await super().send(request, limits)

    transport = Slow(NoAnswerError("cut"), json_response({"balance": 5}, 201))
    async with BardgeClient("key", transport=transport, clock=clock, retry=RetryPolicy(base=0)) as bardge:
        with pytest.raises(OutcomeUnknownError):
            await buy(bardge)
    assert len(transport.requests) == 1


async def test_fake_transport_keeps_the_rule() -> None:
    """The fake transport records no request that may not be written."""
    transport = FakeTransport(json_response({}))
    with pytest.raises(ConnectError):
        await transport.send(WireRequest("POST", "https://x/", {}), AttemptLimits(1, 1, check_window=lambda: False))
    assert transport.requests == []
