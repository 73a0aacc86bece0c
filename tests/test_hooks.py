"""Hooks and logs: every event with its facts, nothing secret, nothing raised."""

from __future__ import annotations

import datetime as dt
import logging
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import attrs
import pytest

from bardge_async import (
    AttemptEnded,
    AttemptStarted,
    BardgeClient,
    DoubtOpened,
    DoubtResolved,
    Event,
    RetryPolicy,
    RetryScheduled,
    Throttled,
    errors,
)
from bardge_async import models as m
from bardge_async.testing import ManualClock
from tests.support.calls import buy, fail_to_buy
from tests.support.canary import CANARY, find_canary, find_in_log
from tests.support.rig import AT_ONCE, PURCHASE, Rig, advance_then, open_rig
from tests.support.server import Step, cut, error, hang, reply

BOUGHT = reply(201, {"balance": 5}, {"Bardge-Request-Id": "req_1"})
REPLAYED = reply(201, {"balance": 5}, {"Bardge-Request-Id": "req_2", "X-Idempotent-Replayed": "true"})
WAIT = RetryPolicy(base=2.0)


@attrs.frozen
class HookRecord(Rig):
    """A rig with all events that its hook received."""

    events: list[Event]

    def select_events(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def event_names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


@asynccontextmanager
async def record_events(*script: Step, **options: Any) -> AsyncGenerator[HookRecord]:
    events: list[Event] = []
    async with open_rig(*script, hooks=[events.append], **options) as it:
        yield HookRecord(it.server, it.bardge, it.clock, events)


# Events.


async def test_plain_call() -> None:
    """A successful call emits the start and the end of its attempt."""
    async with record_events(BOUGHT) as it:
        await buy(it.bardge)
    begun, ended = it.events
    assert begun == AttemptStarted(endpoint="credits.purchase", idempotency_key="order-1", attempt=1)
    assert ended == AttemptEnded(
        endpoint="credits.purchase",
        idempotency_key="order-1",
        attempt=1,
        status=201,
        outcome="done",
        request_id="req_1",
        seconds=0.0,
        replayed=False,
    )


async def test_get_has_no_key() -> None:
    """A GET's events have its endpoint and no key."""
    async with record_events(reply(200, {"balance": 5})) as it:
        await it.bardge.clients.get_credits("c")
    assert {(event.endpoint, event.idempotency_key) for event in it.events} == {("clients.get_credits", None)}


async def test_fresh_key_is_told() -> None:
    """A fresh key is in the events too: that is how to find it after a crash."""
    async with record_events(BOUGHT) as it:
        await it.bardge.credits.purchase(PURCHASE)
    assert {event.idempotency_key for event in it.events} == set(it.keys)


ENDS: dict[str, tuple[Step, int | None, str]] = {
    "done": (BOUGHT, 201, "done"),
    "odd": (reply(201, [1]), 201, "unreadable"),
    "cut": (cut(), None, "no_answer"),
    "page": (reply(200, body=b"<html>"), 200, "no_answer"),
    "502": (reply(502, body=b""), 502, "no_answer"),
    "400": (error(400), 400, "settled"),
    "401": (error(401), 401, "refused"),
    "429": (error(429), 429, "busy"),
    "500": (error(500), 500, "fault"),
    "500 cached": (error(500, X_Idempotent_Replayed="true"), 500, "cached_fault"),
    "409 running": (error(409, "idempotency_error", "in_progress"), 409, "still_running"),
}


@pytest.mark.parametrize(("step", "status", "outcome"), ENDS.values(), ids=ENDS)
async def test_ends(step: Step, status: int | None, outcome: str) -> None:
    """The end of an attempt has status and outcome, whatever happened."""
    async with record_events(step, retry=RetryPolicy(max_attempts=1)) as it:
        with suppress(errors.BardgeError):
            await buy(it.bardge)
    (ended,) = it.select_events(AttemptEnded)
    assert (ended.status, ended.outcome) == (status, outcome)


async def test_not_sent() -> None:
    """A refused connection is reported as not sent, and opens no doubt."""
    async with record_events(retry=RetryPolicy(max_attempts=1)) as it:
        it.server.refuse()
        await fail_to_buy(it.bardge)
    assert it.event_names == ["AttemptStarted", "AttemptEnded"]
    assert (it.events[1].outcome, it.events[1].status) == ("not_sent", None)  # type: ignore[attr-defined]


async def test_seconds() -> None:
    """The seconds of an attempt are the injected clock's."""
    clock = ManualClock()
    async with record_events(advance_then(clock, 3.5, BOUGHT), clock=clock) as it:
        await buy(it.bardge)
    assert it.select_events(AttemptEnded)[0].seconds == 3.5


async def test_doubt_and_settled() -> None:
    """A cut, then a replayed response: a doubt opens, the call waits and retries, and the doubt is settled."""
    async with record_events(cut(), REPLAYED, retry=WAIT) as it:
        begun = dt.datetime.fromtimestamp(it.clock.wall(), dt.UTC)
        await buy(it.bardge)
    assert it.event_names == [
        "AttemptStarted",
        "AttemptEnded",
        "DoubtOpened",
        "RetryScheduled",
        "AttemptStarted",
        "AttemptEnded",
        "DoubtResolved",
    ]
    assert [event.attempt for event in it.events] == [1, 1, 1, 1, 2, 2, 2]
    assert (it.select_events(DoubtOpened)[0].first_sent_at, it.select_events(DoubtResolved)[0].done) == (begun, True)
    assert it.select_events(AttemptEnded)[1].replayed
    assert [event.seconds for event in it.select_events(RetryScheduled)] == it.clock.sleeps


async def test_doubt_settled_by_a_refusal() -> None:
    """A doubt that a 404 settles was not done."""
    async with record_events(cut(), error(404, "invalid_request_error")) as it:
        await fail_to_buy(it.bardge)
    assert it.select_events(DoubtResolved)[0].done is False


async def test_doubt_opens_once() -> None:
    """A doubt that continues is reported once."""
    async with record_events(cut()) as it:
        await fail_to_buy(it.bardge)
    assert (
        len(it.select_events(DoubtOpened)),
        len(it.select_events(AttemptEnded)),
        it.select_events(DoubtResolved),
    ) == (1, 4, [])


async def test_get_opens_no_doubt() -> None:
    """A GET without a response changes nothing, so there is no doubt."""
    async with record_events(cut()) as it:
        with pytest.raises(errors.NoAnswerError):
            await it.bardge.clients.get("c")
    assert it.select_events(DoubtOpened) == []


async def test_doubt_settled_in_a_later_call() -> None:
    """A doubt of an earlier call is settled by a later one under the key."""
    async with record_events(cut(), REPLAYED, retry=RetryPolicy(max_attempts=1)) as it:
        await fail_to_buy(it.bardge)
        await buy(it.bardge)
    assert it.event_names[-1] == "DoubtResolved"
    assert len(it.select_events(DoubtOpened)) == 1


async def test_answer_on_record_tells_nothing() -> None:
    """A recorded response takes no attempt."""
    async with record_events(BOUGHT) as it:
        await buy(it.bardge)
        it.events.clear()
        await buy(it.bardge)
    assert it.events == []


async def test_held_back() -> None:
    """A call that is held back by another one's ``Retry-After`` reports for how long."""
    async with record_events(error(429, Retry_After="5"), BOUGHT, retry=RetryPolicy(max_attempts=1)) as it:
        await fail_to_buy(it.bardge, "order-0")
        it.events.clear()
        await buy(it.bardge)
    held = it.select_events(Throttled)
    assert it.event_names == ["Throttled", "AttemptStarted", "AttemptEnded"]
    assert (held[0].attempt, held[0].endpoint, [held[0].seconds]) == (0, "credits.purchase", it.clock.sleeps)
    assert 5 <= held[0].seconds <= 6


async def test_cancelled_attempt_opens_a_doubt() -> None:
    """A POST cancelled in flight is in doubt: its attempt ends and the doubt is reported."""
    reached = anyio.Event()
    async with record_events(hang(reached)) as it, anyio.create_task_group() as group:
        group.start_soon(buy, it.bardge)
        await reached.wait()
        group.cancel_scope.cancel()
    assert it.event_names == ["AttemptStarted", "AttemptEnded", "DoubtOpened"]
    assert it.select_events(AttemptEnded)[0].outcome == "no_answer"


# Frozen, and nothing secret.


async def test_events_are_frozen_and_plain() -> None:
    """Events cannot be changed and hold nothing but text, numbers, times and flags: no bodies, no headers."""
    async with record_events(cut(), error(429, Retry_After="2"), REPLAYED) as it:
        await buy(it.bardge)
    for event in it.events:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            event.attempt = 7  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        for value in attrs.asdict(event).values():
            assert isinstance(value, str | int | float | dt.datetime | None)


SECRETS = re.compile(f"{CANARY}|t0ken|client_abc123|cpkg_50|passcode|4711")


async def test_nothing_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Neither key, lookup token, request nor response is in any event or line of the log."""
    answer = {"object": "access_code", "code": "4711", "message": f"passcode {CANARY}"}
    caplog.set_level(logging.DEBUG)
    events: list[Event] = []
    steps = (
        cut(),
        error(500, message=f"client_abc123 {CANARY}"),
        error(400, message="passcode 4711"),
        reply(200, answer),
    )
    async with (
        open_rig(*steps, hooks=[events.append]) as it,
        BardgeClient(CANARY, it.server.base_url, retry=AT_ONCE, clock=it.clock, hooks=[events.append]) as bardge,
    ):
        for _ in range(3):
            with suppress(errors.BardgeError):
                await bardge.send(
                    "access_codes.generate",
                    request=m.AccessCodeRequest(client_id="client_abc123"),
                    lookup_token="t0ken",
                )
    lines = [record for record in caplog.records if record.name == "bardge_async"]
    assert events
    assert lines
    assert [text for text in map(repr, events) if SECRETS.search(text)] == []
    assert [line.getMessage() for line in lines if SECRETS.search(line.getMessage())] == []
    assert (list(find_canary(events)), find_in_log(lines)) == ([], [])


# Hooks that fail, and invalid hooks.


def raise_in_hook(event: Event) -> None:
    raise RuntimeError(f"on {type(event).__name__}")


async def test_failing_hook(caplog: pytest.LogCaptureFixture) -> None:
    """What a hook raises is logged, never raised, and the next hook is still called."""
    events: list[Event] = []
    async with open_rig(cut(), REPLAYED, hooks=[raise_in_hook, events.append]) as it:
        await buy(it.bardge)
    failures = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(events) == len(failures) == 7
    assert all(record.exc_info and record.name == "bardge_async" for record in failures)
    assert "AttemptStarted" in failures[0].getMessage()


async def test_hooks_are_told_in_order() -> None:
    """Several hooks are called one after the other, in the order given."""
    order: list[int] = []
    hooks: list[Callable[[Event], object]] = [lambda _: order.append(1), lambda _: order.append(2)]
    async with open_rig(BOUGHT, hooks=hooks) as it:
        await buy(it.bardge)
    assert order == [1, 2, 1, 2]


async def test_derived_hooks() -> None:
    """``with_options(hooks=...)`` calls other hooks, for the derived client alone."""
    events: list[Event] = []
    async with record_events(BOUGHT) as it:
        await buy(it.bardge.with_options(hooks=[events.append]))
    assert (it.events, len(events)) == ([], 2)


WRONG: list[Any] = [[None], ["print"], [print, 7], print, None, 7]


@pytest.mark.parametrize("hooks", WRONG, ids=repr)
def test_not_callable(hooks: Any) -> None:
    """Anything but a list of callables is rejected when the client is created."""
    with pytest.raises(errors.ConfigurationError, match="hooks"):
        BardgeClient("key", "https://api.example", hooks=hooks)


async def run_later(event: Event) -> None:
    """A hook of the wrong kind."""


class Later:
    async def __call__(self, event: Event) -> None:
        """A callable object of the wrong kind."""


@pytest.mark.parametrize("hook", [run_later, Later()], ids=["function", "object"])
def test_coroutine_function(hook: Any) -> None:
    """A coroutine function would never run: it is rejected."""
    with pytest.raises(errors.ConfigurationError, match="synchronous"):
        BardgeClient("key", "https://api.example", hooks=[hook])


# The log.


def read_log(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if (record.name, record.levelno) == ("bardge_async", level)
    ]


async def test_one_line_for_each_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """One DEBUG line per attempt: endpoint, number, status or failure, milliseconds, request id."""
    caplog.set_level(logging.DEBUG, "bardge_async")
    clock = ManualClock()
    async with open_rig(cut(), advance_then(clock, 0.25, REPLAYED), clock=clock) as it:
        await buy(it.bardge)
    assert read_log(caplog, logging.DEBUG) == [
        "credits.purchase attempt 1: no_answer in 0 ms (request id None)",
        "credits.purchase attempt 2: 201 in 250 ms (request id req_2)",
    ]


async def test_nothing_above_debug_when_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    """A successful call, retried or not, logs nothing above DEBUG."""
    caplog.set_level(logging.INFO, "bardge_async")
    async with open_rig(cut(), REPLAYED) as it:
        await buy(it.bardge)
    assert caplog.records == []


async def test_warning_for_a_doubt(caplog: pytest.LogCaptureFixture) -> None:
    """A call that ends in doubt logs one WARNING with endpoint and key."""
    async with open_rig(cut()) as it:
        await fail_to_buy(it.bardge)
    assert read_log(caplog, logging.WARNING) == ["credits.purchase: outcome unknown for idempotency key order-1"]


async def test_warning_for_a_refused_reentry(caplog: pytest.LogCaptureFixture) -> None:
    """A key that is entered again past its window logs a WARNING as well."""
    async with open_rig(cut(), retry=RetryPolicy(max_attempts=1)) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(100)
        await fail_to_buy(it.bardge)
    assert len(read_log(caplog, logging.WARNING)) == 2


async def test_warning_for_a_cancelled_post(caplog: pytest.LogCaptureFixture) -> None:
    """A POST cancelled in flight logs a WARNING with endpoint and key."""
    reached = anyio.Event()
    async with open_rig(hang(reached)) as it, anyio.create_task_group() as group:
        group.start_soon(buy, it.bardge)
        await reached.wait()
        group.cancel_scope.cancel()
    (line,) = read_log(caplog, logging.WARNING)
    assert line.startswith("credits.purchase: cancelled")
    assert "order-1" in line


async def test_refusals_are_no_warnings(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal by the server is left to the caller to log."""
    async with open_rig(error(400)) as it:
        await fail_to_buy(it.bardge)
    assert read_log(caplog, logging.WARNING) == []
