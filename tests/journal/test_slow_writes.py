"""Time that passes between the decision to send and the send, and writes that are late or cancelled: on every store."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import attrs
import pytest

from bardge_async import AttemptLimits, EntryState, RetryPolicy, Timeouts, WireRequest, WireResponse, errors
from bardge_async import models as m
from bardge_async.testing import FakeTransport, ManualClock, json_response
from tests.journal.factories import Opener
from tests.journal.place import Place, buy, fail_to_buy, open_place
from tests.journal.slow import Delay, fail_to_write, pass_by, slow_down, take_seconds, wait_forever
from tests.support.loop import run_loop, run_loop_until
from tests.support.rig import PURCHASE
from tests.support.server import Received, Step, cut, error, reply

BOUGHT = reply(201, {"balance": 5})
ONE = RetryPolicy(max_attempts=1, base=0)
DECEMBER = m.UpdateIssuedPassExpiry(expiry_date=dt.date(2026, 12, 31))


@attrs.define(eq=False)
class LimitsRecorder(FakeTransport):
    """Answer every request, and record the limits that it was given."""

    limits: list[AttemptLimits] = attrs.field(factory=list[AttemptLimits])

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        self.limits.append(limits)
        return json_response({"balance": 5}, 201)


async def cancel_at(it: Place, reached: anyio.Event) -> None:
    """Buy, and cancel once a write has begun."""
    task = asyncio.ensure_future(buy(it.bardge))
    await reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


# Before the send, a key in doubt.


@pytest.mark.parametrize("seconds", [19.5, 25, 100])
async def test_doubt_whose_intent_takes_too_long(opener: Opener, seconds: float) -> None:
    """A key in doubt whose intent leaves less than a second of its window is not sent, by any transport."""
    delays: list[Delay] = []
    transport = LimitsRecorder()
    async with open_place(slow_down(opener, delays), cut(), retry=ONE) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(60)
        delays.append(take_seconds(it.clock, seconds))
        found = await fail_to_buy(await it.open_another(transport=transport, timeout=200))
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (found.may_repeat, transport.limits) == (False, [])


@pytest.mark.parametrize(("seconds", "connect"), [(0, 5), (14, 5), (17, 3), (19, 1)])
async def test_doubt_connects_inside_its_window(opener: Opener, seconds: float, connect: float) -> None:
    """A key in doubt may connect for no longer than its window is open after the intent was written."""
    delays: list[Delay] = []
    transport = LimitsRecorder()
    async with open_place(slow_down(opener, delays), cut(), retry=ONE) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(60)
        delays.append(take_seconds(it.clock, seconds))
        await buy(await it.open_another(transport=transport))
    assert [limits.connect for limits in transport.limits] == [connect]


async def test_harmless_doubt_takes_its_time(opener: Opener) -> None:
    """An endpoint that sets an absolute state is sent however long its intent took, within the call's deadline."""
    delays: list[Delay] = []
    async with open_place(slow_down(opener, delays), cut(), reply(200, {"object": "issued_pass"}), retry=ONE) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.send("passes.update_expiry", "c1", request=DECEMBER, key="k1")
        it.clock.advance(60)
        delays.append(take_seconds(it.clock, 25))
        await it.bardge.send("passes.update_expiry", "c1", request=DECEMBER, key="k1")
    assert it.request_count == 2


@pytest.mark.parametrize(
    ("seconds", "timeout"), [(25, 200), (25, 20), (6, 5)], ids=["past the window", "past both", "past the deadline"]
)
async def test_doubt_with_a_late_intent_stays(opener: Opener, seconds: float, timeout: float) -> None:
    """A key in doubt whose second intent was too late is still in doubt since its first send, and never sent again."""
    delays: list[Delay] = []
    async with open_place(slow_down(opener, delays), cut(), BOUGHT, retry=ONE) as it:
        first = await fail_to_buy(it.bardge)
        it.clock.advance(60)
        delays.append(take_seconds(it.clock, seconds))
        second = await fail_to_buy(await it.open_another(timeout=timeout))
        await check_still_in_doubt(it, first)
    assert isinstance(second, errors.OutcomeUnknownError)


async def test_doubt_with_a_cancelled_intent_stays(opener: Opener) -> None:
    """A key in doubt whose second intent was cancelled is still in doubt since its first send, and never sent again."""
    delays: list[Delay] = []
    reached = anyio.Event()
    async with open_place(slow_down(opener, delays), cut(), BOUGHT, retry=ONE) as it:
        first = await fail_to_buy(it.bardge)
        delays.append(wait_forever(reached))
        await cancel_at(it, reached)
        await check_still_in_doubt(it, first)


async def test_doubt_with_a_failed_intent_stays(opener: Opener) -> None:
    """A key in doubt whose second intent could not be written is still in doubt, and never sent again."""
    delays: list[Delay] = []
    async with open_place(slow_down(opener, delays), cut(), BOUGHT, retry=ONE) as it:
        first = await fail_to_buy(it.bardge)
        delays.append(fail_to_write)
        assert isinstance(await fail_to_buy(await it.open_another()), errors.OutcomeUnknownError)
        await check_still_in_doubt(it, first)


async def check_still_in_doubt(it: Place, first: errors.BardgeError) -> None:
    """Check that a key is in doubt since its only request, and that a third call past its window sends nothing."""
    assert await it.read_state() is EntryState.SENT
    it.clock.advance(100)
    third = await fail_to_buy(await it.open_another())
    assert isinstance(first, errors.OutcomeUnknownError)
    assert isinstance(third, errors.OutcomeUnknownError)
    assert (third.first_sent_at, it.request_count) == (first.first_sent_at, 1)


# Before the send, a new key.


@pytest.mark.parametrize("seconds", [20, 25])
async def test_late_intent_leaves_nothing(opener: Opener, seconds: float) -> None:
    """A new key whose intent takes the call's whole time is not sent, and leaves no record."""
    delays: list[Delay] = []
    async with open_place(slow_down(opener, delays), BOUGHT, timeout=20) as it:
        delays.append(take_seconds(it.clock, seconds))
        found = await fail_to_buy(it.bardge)
        assert await it.read_record() is None
    assert (found.sent, found.timed_out, it.request_count) == (False, True, 0)


async def test_cancelled_intent_leaves_nothing(opener: Opener) -> None:
    """A new key whose intent was cancelled leaves no record, whether or not it reached the store."""
    reached = anyio.Event()
    async with open_place(slow_down(opener, [wait_forever(reached)]), BOUGHT) as it:
        await cancel_at(it, reached)
        assert await it.read_record() is None
    assert it.request_count == 0


async def test_window_begins_after_the_intent(opener: Opener) -> None:
    """A new key's intent may take longer than a window: nothing was sent before it, and the call goes on."""
    delays: list[Delay] = []
    async with open_place(slow_down(opener, delays), BOUGHT, timeout=200) as it:
        delays.append(take_seconds(it.clock, 100))
        await buy(it.bardge)
        assert await it.read_state() is EntryState.DONE
    assert it.request_count == 1


# After the answer.


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (BOUGHT, EntryState.DONE),
        (reply(201, [1]), EntryState.DONE),
        (error(400, "invalid_request_error", "validation_error"), EntryState.REFUSED),
        (error(429), EntryState.REFUSED),
    ],
    ids=["done", "unreadable", "refused", "not executed"],
)
async def test_cancelled_while_the_outcome_is_written(opener: Opener, answer: Step, state: EntryState) -> None:
    """An outcome is on record though the call was cancelled while it was written, and the store dropped the write."""
    reached = anyio.Event()
    async with open_place(slow_down(opener, [pass_by, wait_forever(reached)]), answer, retry=ONE) as it:
        await cancel_at(it, reached)
        assert await it.read_state() is state
    assert it.request_count == 1


async def test_cancelled_by_a_scope_while_the_outcome_is_written(opener: Opener) -> None:
    """A scope, which cancels every further await, leaves the outcome on record as well."""
    reached = anyio.Event()
    async with open_place(slow_down(opener, [pass_by, wait_forever(reached)]), BOUGHT) as it:
        async with anyio.create_task_group() as group:
            group.start_soon(buy, it.bardge)
            await reached.wait()
            group.cancel_scope.cancel()
        assert await it.read_state() is EntryState.DONE


async def test_doubt_settled_by_a_cancelled_write(opener: Opener) -> None:
    """A doubt that was answered on its second send is done, though that call was cancelled while recording it."""
    delays: list[Delay] = []
    reached = anyio.Event()
    async with open_place(slow_down(opener, delays), cut(), BOUGHT, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        delays += [pass_by, wait_forever(reached)]
        await cancel_at(it, reached)
        it.clock.advance(100)
        async with (await it.open_another()).idempotent("order-1") as once:
            await once.credits.purchase(PURCHASE)
    assert (once.replayed, it.request_count) == ("journal", 2)


async def test_late_outcome_is_recorded(opener: Opener) -> None:
    """An outcome whose write outlasts window and deadline is on record, and the call returns it."""
    delays: list[Delay] = []
    async with open_place(slow_down(opener, delays), BOUGHT, timeout=20) as it:
        delays += [pass_by, take_seconds(it.clock, 100)]
        await buy(it.bardge)
        await run_loop()
        assert await it.read_state() is EntryState.DONE


# An error of our own side, before the send.


async def test_configuration_error_leaves_no_doubt(opener: Opener) -> None:
    """A transport that reports a wrong configuration has sent nothing: no record, and the key is free."""
    async with open_place(opener, BOUGHT) as it:
        other = await it.open_another(transport=FakeTransport())
        assert isinstance(await fail_to_buy(other), errors.ConfigurationError)
        assert (await other.in_doubt(), await it.read_record()) == ([], None)
        it.clock.advance(100)
        await buy(it.bardge)
    assert it.request_count == 1


async def test_configuration_error_keeps_a_doubt(opener: Opener) -> None:
    """A key in doubt stays in doubt when its second send fails by a wrong configuration."""
    async with open_place(opener, cut(), BOUGHT, retry=ONE) as it:
        first = await fail_to_buy(it.bardge)
        await fail_to_buy(await it.open_another(transport=FakeTransport()))
        await check_still_in_doubt(it, first)


async def test_configuration_error_keeps_a_refusal(opener: Opener) -> None:
    """A refused key stays refused when its second send fails by a wrong configuration: the body stays bound."""
    async with open_place(opener, error(400, "invalid_request_error", "validation_error")) as it:
        await fail_to_buy(it.bardge)
        await fail_to_buy(await it.open_another(transport=FakeTransport()))
        assert await it.read_state() is EntryState.REFUSED


# Other waits between the entry of a key in doubt and its send.


@attrs.define(eq=False)
class SlowLimiter:
    """Grant a permit after a number of seconds, however long the call may wait."""

    clock: ManualClock
    seconds: float

    async def acquire(self, timeout: float) -> None:
        self.clock.advance(self.seconds)

    def hold(self, seconds: float) -> None:
        """Hold nothing."""


def make_slow_key(clock: ManualClock, seconds: float) -> Callable[[], Awaitable[str]]:
    """Make a source of the API key that takes a number of seconds."""

    async def get_key() -> str:
        clock.advance(seconds)
        return "key"

    return get_key


SLOW: dict[str, Callable[[ManualClock, float], dict[str, Any]]] = {
    "limiter": lambda clock, seconds: {"limiter": SlowLimiter(clock, seconds)},
    "api key": lambda clock, seconds: {"api_key": make_slow_key(clock, seconds)},
}


@pytest.mark.parametrize(("seconds", "sent"), [(19, True), (19.5, False), (100, False)])
@pytest.mark.parametrize("make_options", SLOW.values(), ids=SLOW)
async def test_doubt_that_waited(
    opener: Opener, make_options: Callable[[ManualClock, float], dict[str, Any]], seconds: float, *, sent: bool
) -> None:
    """A key in doubt whose limiter or API key leaves less than a second of its window is not sent."""
    transport = LimitsRecorder()
    async with open_place(opener, cut(), retry=ONE) as it:
        first = await fail_to_buy(it.bardge)
        it.clock.advance(60)
        other = await it.open_another(transport=transport, timeout=200, **make_options(it.clock, seconds))
        if sent:
            await buy(other)
        else:
            assert isinstance(await fail_to_buy(other), errors.OutcomeUnknownError)
            await check_still_in_doubt(it, first)
    assert [limits.connect for limits in transport.limits] == [1.0] * sent


@pytest.mark.parametrize(("seconds", "count"), [(19, 3), (19.5, 2), (100, 2)])
async def test_doubt_that_waited_for_a_connection(opener: Opener, seconds: float, count: int) -> None:
    """A key in doubt that gets its connection with less than a second of its window left is not sent."""
    free = anyio.Event()
    reached = anyio.Event()

    async def answer_when_free(request: Received, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await free.wait()
        await BOUGHT(request, writer)

    limits = Timeouts(total=300, attempt=250, pool=200)
    async with open_place(opener, cut(), answer_when_free, BOUGHT, retry=ONE, max_connections=1, timeout=limits) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(60)
        other = asyncio.ensure_future(buy(it.bardge, "order-2"))
        await reached.wait()
        again = asyncio.ensure_future(asyncio.gather(buy(it.bardge), return_exceptions=True))
        await wait_for_connection(it)
        it.clock.advance(seconds)
        free.set()
        await asyncio.gather(other, again)
    assert it.request_count == count


async def wait_for_connection(it: Place) -> None:
    """Wait until a call queues for a connection, besides the one that is in flight."""
    pending = it.clock.pending_timers
    await run_loop_until(lambda: it.clock.pending_timers > pending)
