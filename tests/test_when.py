"""The table "What happens when…": every line is played, and there is no other."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio
import pytest

from bardge_async import BardgeClient, RetryPolicy, Timeouts, errors
from bardge_async import models as m
from bardge_async.testing import ManualClock
from tests.batch.plays import BATCHES
from tests.support.calls import buy, catch_error
from tests.support.rig import AT_ONCE, OTHER, PURCHASE, advance_then, open_rig
from tests.support.server import cut, error, hang, reply
from tests.when_durable import DURABLE

BOUGHT = reply(201, {"balance": 5})
REPLAYED = reply(201, {"balance": 5}, {"X-Idempotent-Replayed": "true"})
REFUSED = error(400, "invalid_request_error", "validation_error", "no such package")
UPDATED = reply(200, {"object": "issued_pass"})
ONE = RetryPolicy(max_attempts=1, base=0)

Play = Callable[[], Awaitable[None]]
PLAYS: Final[dict[str, Play]] = {**DURABLE, **BATCHES}


def when(situation: str) -> Callable[[Play], Play]:
    """Register a function as the scenario of a line of the table."""

    def register_play(play: Play) -> Play:
        PLAYS[situation] = play
        return play

    return register_play


def parse_table(text: str) -> list[list[str]]:
    """Return the cells of the table's lines."""
    found = re.search(r"<!-- when -->\n(.*?)<!-- /when -->", text, re.DOTALL)
    lines = found.group(1).splitlines()[2:] if found else []
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


PAGE = (Path(__file__).parent.parent / "docs" / "what-happens-when.md").read_text(encoding="utf-8")
LINES = [cells[0] for cells in parse_table(PAGE)]


@pytest.mark.parametrize("situation", LINES)
async def test_line(situation: str) -> None:
    """What the line says is what happens."""
    await PLAYS[situation]()


def test_lines_and_plays() -> None:
    """The table has one line for every scenario, with three cells that are not empty."""
    assert sorted(LINES) == sorted(PLAYS)
    assert all(len(cells) == 3 and all(cells) for cells in parse_table(PAGE))


def test_page_has_a_section_for_every_line() -> None:
    """The table's lines are explained below it, in their order."""
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE)[: len(LINES)] == [name.replace("`", "") for name in LINES]


@when("no connection (DNS, TCP, TLS)")
async def play_no_connection() -> None:
    async with open_rig() as it:
        it.server.refuse()
        found = await catch_error(buy(it.bardge))
    assert isinstance(found, errors.ConnectError)
    assert (found.attempts, found.sent, found.retryable, it.request_count) == (4, False, True, 0)


@when("timeout or cut after sending")
async def play_unanswered() -> None:
    clock = ManualClock()
    async with open_rig(advance_then(clock, 20), cut(), REPLAYED, clock=clock) as it:
        bought = await buy(it.bardge)
    assert (bought.replayed, bought.attempts, set(it.keys)) == ("server", 3, {"order-1"})
    assert len({request.body for request in it.server.requests}) == 1


@when("no answer at all")
async def play_never_answered() -> None:
    clock = ManualClock()
    async with open_rig(advance_then(clock, 20), clock=clock, timeout=50) as it:
        found = await catch_error(buy(it.bardge))
    assert isinstance(found, errors.OutcomeUnknownError)
    assert found.first_sent_at is not None
    assert found.window_closes_at is not None
    assert (found.window_closes_at - found.first_sent_at).total_seconds() == 90
    assert (found.idempotency_key, found.timed_out) == ("order-1", True)
    assert "get_credits" in str(found)


@when("late retry (same key, window over)")
async def play_late_retry() -> None:
    async with open_rig(cut(), BOUGHT, retry=ONE) as it:
        await catch_error(buy(it.bardge))
        it.clock.advance(80)
        found = await catch_error(buy(it.bardge))
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (found.attempts, it.request_count) == (0, 1)


@when("429 with `Retry-After`")
async def play_busy() -> None:
    async with open_rig(error(429, Retry_After="7"), BOUGHT) as it:
        await buy(it.bardge)
    assert 7 <= sum(it.clock.sleeps) < 8
    async with open_rig(error(429, Retry_After="7"), BOUGHT, retry=ONE) as it:
        await catch_error(buy(it.bardge))
        await it.bardge.clients.get_credits("c")
    assert 7 <= sum(it.clock.sleeps) <= 8
    for wish, total in (("61", 70), ("30", 20)):
        async with open_rig(error(429, Retry_After=wish), timeout=total) as it:
            found = await catch_error(buy(it.bardge))
        assert (type(found), it.clock.sleeps) == (errors.RateLimitError, [])


@when("503 with `Retry-After`")
async def play_overloaded() -> None:
    async with open_rig(reply(503, body=b"<html>", headers={"Retry-After": "7"}), BOUGHT) as it:
        await buy(it.bardge)
    assert sum(it.clock.sleeps) >= 7
    async with open_rig(error(503, Retry_After="7"), BOUGHT) as it:
        assert isinstance(await catch_error(buy(it.bardge)), errors.OutcomeUnknownError)
        assert it.request_count == 1
    async with open_rig(error(503, Retry_After="61"), BOUGHT) as it:
        assert isinstance(await catch_error(buy(it.bardge)), errors.OutcomeUnknownError)
        assert it.clock.sleeps == []
        await it.bardge.clients.get_credits("c")
        assert it.clock.sleeps == []


@when("500, with or without the API's error object")
async def play_server_error() -> None:
    async with open_rig(error(500)) as it:
        for _ in range(2):
            assert isinstance(await catch_error(buy(it.bardge)), errors.OutcomeUnknownError)
        assert it.request_count == 1
        found = await catch_error(it.bardge.clients.get_credits("c"))
    assert (type(found), it.request_count) == (errors.ServerError, 5)
    async with open_rig(reply(500, body=b"Internal Server Error")) as it:
        found = await catch_error(buy(it.bardge))
        assert isinstance(found, errors.OutcomeUnknownError)
        assert (found.may_repeat, it.request_count) == (False, 1)
    async with open_rig(error(500), UPDATED) as it:
        await it.bardge.passes.update(m.UpdateIssuedPass(client_id="c"))
    assert it.request_count == 2


@when("redirect or HTML page in between")
async def play_in_between() -> None:
    there = reply(302, headers={"Location": "/elsewhere"})
    page = reply(200, body=b"<html>", headers={"Content-Type": "text/html"})
    async with open_rig(there, page, BOUGHT) as it:
        assert (await buy(it.bardge)).attempts == 3
    assert {request.path for request in it.server.requests} == {"/credit_purchases"}
    async with open_rig(page) as it:
        assert isinstance(await catch_error(buy(it.bardge)), errors.OutcomeUnknownError)


@when("wrong base URL")
async def play_wrong_base_url() -> None:
    async with open_rig(reply(404, body=b"<html>not here</html>")) as it:
        found = await catch_error(buy(it.bardge))
    assert (type(found), it.request_count) == (errors.NotFoundError, 1)
    assert it.server.base_url in str(found)


@when("refused (400, 404, 409, 422)")
async def play_refused() -> None:
    for status in (400, 404, 409, 422):
        async with open_rig(error(status, "invalid_request_error", "some_code", "some words")) as it:
            found = await catch_error(buy(it.bardge))
        assert isinstance(found, errors.APIError)
        assert (found.status, found.code, found.message, it.request_count) == (status, "some_code", "some words", 1)


@when("refused, then corrected")
async def play_corrected() -> None:
    async with open_rig(REFUSED, BOUGHT) as it:
        await catch_error(buy(it.bardge))
        found = await catch_error(buy(it.bardge, request=OTHER))
        assert (type(found), it.request_count) == (errors.IdempotencyMisuseError, 1)
        assert "package_id" in str(found)
        await buy(it.bardge, "order-1-corrected", OTHER)
        it.clock.advance(101)
        await buy(it.bardge, request=OTHER)
    assert it.keys == ["order-1", "order-1-corrected", "order-1"]


@when("answer of an unknown shape")
async def play_unreadable() -> None:
    async with open_rig(reply(201, [1])) as it:
        first = await catch_error(buy(it.bardge))
        it.clock.advance(100)
        again = await catch_error(buy(it.bardge))
    assert isinstance(first, errors.DecodeError)
    assert isinstance(again, errors.DecodeError)
    assert (first.executed, again.executed, it.request_count) == (True, True, 1)


@when("cancelled in flight")
async def play_cancelled() -> None:
    reached = anyio.Event()
    async with open_rig(hang(reached), REPLAYED) as it:
        task = asyncio.ensure_future(buy(it.bardge))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert "order-1" in caught.value.__notes__[0]
        assert (await buy(it.bardge)).replayed == "server"
    assert it.server.connections == 2


@when("task delivered twice")
async def play_redelivered() -> None:
    async with open_rig(BOUGHT) as it:
        first = await buy(it.bardge)
        it.clock.advance(300)
        async with it.bardge.idempotent("order-1") as once:
            again = await once.credits.purchase(PURCHASE)
    assert (again, once.replayed, once.attempts, it.request_count) == (first.value, "journal", 0, 1)


@when("two tasks with one key")
async def play_two_tasks() -> None:
    async with open_rig(BOUGHT) as it:
        first, second = await asyncio.gather(buy(it.bardge), buy(it.bardge))
    assert (first.value, it.request_count) == (second.value, 1)


@when("one key, two different requests")
async def play_misuse() -> None:
    async with open_rig(BOUGHT) as it:
        await buy(it.bardge)
        found = await catch_error(buy(it.bardge, request=OTHER))
    assert (type(found), it.request_count) == (errors.IdempotencyMisuseError, 1)
    assert "package_id" in str(found)


@when("rotated API key")
async def play_rotated() -> None:
    rejected = error(401, "authentication_error", "invalid_api_key")
    keys = iter(["old", "new", "newest"])
    async with open_rig(rejected, BOUGHT, rejected) as it:
        bardge = BardgeClient(lambda: next(keys), it.server.base_url, retry=AT_ONCE, clock=it.clock)
        await buy(bardge)
        found = await catch_error(buy(bardge, "order-2"))
        await bardge.aclose()
    assert [request.headers["authorization"] for request in it.server.requests][:2] == ["Bearer old", "Bearer new"]
    assert it.keys == ["order-1", "order-1", "order-2", "order-2"]
    assert isinstance(found, errors.AuthenticationError)


@when("charging endpoint without a proven key")
async def play_unproven() -> None:
    async with open_rig(cut()) as it:
        found = await catch_error(it.bardge.bookings.cancel("booking_1"))
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (found.window_closes_at, found.may_repeat, it.request_count) == (None, False, 1)


@when("harmless POST, window over")
async def play_harmless() -> None:
    async with open_rig(cut(), UPDATED, retry=ONE) as it:
        request = m.UpdateIssuedPass(client_id="c")
        await catch_error(it.bardge.send("passes.update", request=request, key="k"))
        it.clock.advance(200)
        await it.bardge.send("passes.update", request=request, key="k")
    assert it.keys == ["k", "k"]
    async with open_rig(cut(), UPDATED, retry=ONE) as it:
        await catch_error(it.bardge.send("passes.update", request=request, key="k"))
        await it.bardge.passes.update(m.UpdateIssuedPass(client_id="c", first_name="A"))
        it.clock.advance(200)
        found = await catch_error(it.bardge.send("passes.update", request=request, key="k"))
    assert (type(found), it.request_count) == (errors.OutcomeUnknownError, 2)


@when("clock set back, machine asleep")
async def play_clocks() -> None:
    for elapsed, wall in ((85, -3600), (600, 0), (0, 3600)):
        async with open_rig(cut(), BOUGHT, retry=ONE) as it:
            await catch_error(buy(it.bardge))
            it.clock.advance(elapsed)
            it.clock.jump_wall(wall)
            found = await catch_error(buy(it.bardge))
        assert (type(found), it.request_count) == (errors.OutcomeUnknownError, 1)


@when("API down, many calls")
async def play_down() -> None:
    async with open_rig(timeout=Timeouts(total=60)) as it:
        it.server.refuse()
        calls = [catch_error(it.bardge.clients.get_credits("c")) for _ in range(100)]
        found = await asyncio.gather(*calls)
    assert sum(one.budget_empty for one in found) > 80
    assert sum(one.attempts for one in found) <= 1.2 * 100 + 10 * 2
