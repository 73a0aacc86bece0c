"""Test doubles for users, without sockets: the fake transport and the clocks."""

from __future__ import annotations

import asyncio

import pytest

from bardge_async import BardgeClient, Clock, NoAnswerError, Transport, WireRequest, WireResponse
from bardge_async.errors import APIError, ConfigurationError, NotFoundError
from bardge_async.sandbox import Fault, Sandbox, SandboxClock
from bardge_async.testing import FakeTransport, ManualClock, SkippingClock, json_response

CREDITS = json_response({"balance": 25, "currency": "NGN"})
NOT_FOUND = json_response({"error": {"type": "invalid_request_error", "message": "No."}}, 404)
CLOCKS: list[Clock] = [ManualClock(), SkippingClock(ManualClock()), SkippingClock(SandboxClock())]


def make_fake(*script: WireResponse | BaseException, clock: Clock | None = None) -> tuple[FakeTransport, BardgeClient]:
    """Make a fake transport, and a client on it."""
    transport: Transport = FakeTransport(*script)
    assert isinstance(transport, FakeTransport)
    return transport, BardgeClient("key", transport=transport, clock=clock or ManualClock())


async def test_fake_answers_and_records() -> None:
    """A scripted response is decoded, and the request is recorded."""
    transport, bardge = make_fake(CREDITS)
    async with bardge:
        assert (await bardge.clients.get_credits("client_abc123")).balance == 25
    (sent,) = transport.requests
    assert (sent.method, sent.url.endswith("/clients/client_abc123/credits"), transport.closed) == ("GET", True, True)


async def test_fake_raises() -> None:
    """A scripted exception is raised by the transport; the retry takes the next step."""
    transport, bardge = make_fake(NoAnswerError("cut"), CREDITS)
    async with bardge:
        await bardge.clients.get_credits("client_abc123")
    assert len(transport.requests) == 2


async def test_fake_takes_functions() -> None:
    """A step may read the request."""

    def echo_id(request: WireRequest) -> WireResponse:
        return json_response({"id": request.url.rpartition("/")[2]}, headers={"Bardge-Request-Id": "req_own"})

    async with BardgeClient("key", transport=FakeTransport(echo_id)) as bardge:
        response = await bardge.send("clients.get", "client_7")
    assert (response.value.id, response.request_id) == ("client_7", "req_own")


async def test_fake_gives_errors_of_the_api() -> None:
    """A response with the error object is the API's error."""
    _, bardge = make_fake(NOT_FOUND)
    async with bardge:
        with pytest.raises(NotFoundError) as caught:
            await bardge.clients.get("nobody")
    assert (isinstance(caught.value, APIError), caught.value.request_id) == (True, "req_fake")


async def test_fake_beyond_its_script_says_so() -> None:
    """A request beyond the script fails the call immediately, by name."""
    transport, bardge = make_fake()
    async with bardge:
        with pytest.raises(ConfigurationError, match=r"no step is left for GET .*/clients/client_abc123$"):
            await bardge.clients.get("client_abc123")
    assert len(transport.requests) == 1


async def test_manual_clock_takes_the_waits() -> None:
    """Half a minute of Retry-After is recorded and takes no time."""
    clock = ManualClock()
    busy = json_response({}, 503, {"Retry-After": "30"})
    _, bardge = make_fake(busy, CREDITS, clock=clock)
    async with bardge:
        await bardge.clients.get_credits("client_abc123")
    assert (sum(clock.sleeps) >= 30, clock.elapsed() >= 30) == (True, True)


@pytest.mark.parametrize("clock", CLOCKS, ids=["manual", "skipping manual", "skipping sandbox"])
async def test_clock_moves_both_readings(clock: Clock) -> None:
    """A wait takes no real time, and passes on both clocks."""
    wall, elapsed = clock.wall(), clock.elapsed()
    await clock.sleep(50)
    assert [clock.wall() - wall, clock.elapsed() - elapsed] == [pytest.approx(50, abs=1)] * 2


async def test_manual_timers_come_in_order() -> None:
    """Expired timers are called in order; cancelled and later ones are not."""
    clock, seen = ManualClock(), list[str]()
    clock.timer(2, lambda: seen.append("second"))
    clock.timer(1, lambda: seen.append("first"))
    clock.timer(1, lambda: seen.append("never")).cancel()
    clock.timer(3, lambda: seen.append("later"))
    clock.advance(2)
    assert seen == ["first", "second"]


@pytest.mark.parametrize("seconds", [3600, -3600], ids=["forwards", "back"])
def test_manual_wall_clock_jumps_alone(seconds: float) -> None:
    """A jump of the wall clock adds its seconds to wall time, and no elapsed time: timers stay pending."""
    clock, fired = ManualClock(1_000_000.0), list[str]()
    clock.timer(60, lambda: fired.append("timer"))
    clock.jump_wall(seconds)
    assert (clock.wall(), clock.elapsed(), fired) == (1_000_000.0 + seconds, 0.0, [])
    clock.advance(60)
    assert (clock.wall(), clock.elapsed(), fired) == (1_000_060.0 + seconds, 60.0, ["timer"])


def test_manual_clock_counts_pending_timers() -> None:
    """A timer is pending until it fires or is cancelled."""
    clock = ManualClock()
    cancelled, _, _ = (clock.timer(seconds, list) for seconds in (1, 2, 3))
    assert clock.pending_timers == 3
    cancelled.cancel()
    assert clock.pending_timers == 2
    clock.advance(2)
    assert clock.pending_timers == 1


async def test_sandbox_timers_fire_when_moved() -> None:
    """A timer of the sandbox's clock fires when the clock passes it, once, and not if it was cancelled."""
    clock, seen = SandboxClock(), list[str]()
    clock.timer(60, lambda: seen.append("due"))
    clock.timer(60, lambda: seen.append("cancelled")).cancel()
    clock.advance(30)
    await asyncio.sleep(0)
    clock.advance(30)
    clock.advance(30)
    await asyncio.sleep(0.01)
    assert (seen, clock.timers) == (["due"], set())


async def test_sandbox_timer_of_a_dead_loop_is_dropped() -> None:
    """A closed event loop does not keep the clock from advancing."""
    clock = SandboxClock()

    async def leave_timer() -> None:
        clock.timer(60, list)

    await asyncio.to_thread(asyncio.run, leave_timer())
    clock.advance(60)
    assert clock.timers == set()


async def test_waits_of_many_pass_together() -> None:
    """Ten concurrent waits of ten seconds each advance the clock by ten, not by a hundred."""
    clock = ManualClock()
    skipping = SkippingClock(clock)
    await asyncio.gather(*(skipping.sleep(10) for _ in range(10)))
    assert (clock.elapsed(), skipping.sleeps) == (10, [10] * 10)


async def test_client_shares_the_sandbox_clock() -> None:
    """Limits of the client count on the sandbox's clock: an hour there is an hour here."""
    async with Sandbox() as sandbox:
        sandbox.faults.script([Fault(kind="latency", seconds=3600, times=None)])
        clock = SkippingClock(sandbox.clock)
        async with BardgeClient(sandbox.api_key, sandbox.base_url, clock=clock) as bardge:
            call = asyncio.ensure_future(bardge.clients.get("client_abc123"))
            while not call.done():
                sandbox.clock.advance(5)
                await asyncio.sleep(0.001)
            with pytest.raises(NoAnswerError) as caught:
                await call
            sandbox.clock.advance(7200)
    assert caught.value.timed_out
