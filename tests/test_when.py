"""The README's table "What happens when…": every line is played, and there is no other."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import anyio
import pytest

from bardge_async import BardgeClient, RetryPolicy, Timeouts, errors
from bardge_async import models as m
from tests.batch.plays import BATCHES
from tests.support.clock import ManualClock
from tests.support.rig import AT_ONCE, OTHER, PURCHASE, late, rig
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
    """Name the line of the table that a function plays."""

    def add(play: Play) -> Play:
        PLAYS[situation] = play
        return play

    return add


def table(text: str) -> list[list[str]]:
    """The cells of the table's lines."""
    found = re.search(r"<!-- when -->\n(.*?)<!-- /when -->", text, re.DOTALL)
    lines = found.group(1).splitlines()[2:] if found else []
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
LINES = [cells[0] for cells in table(README)]


async def buy(bardge: BardgeClient, key: str = "order-1", request: m.PurchaseCredits = PURCHASE) -> Any:
    return await bardge.send("credits.purchase", request=request, key=key)


async def failed(call: Awaitable[object]) -> errors.BardgeError:
    with pytest.raises(errors.BardgeError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("situation", LINES)
async def test_line(situation: str) -> None:
    """What the line says is what happens."""
    await PLAYS[situation]()


def test_lines_and_plays() -> None:
    """The table holds a line for every play, once, with three cells that say something."""
    assert sorted(LINES) == sorted(PLAYS)
    assert all(len(cells) == 3 and all(cells) for cells in table(README))


def test_page_tells_of_every_line() -> None:
    """The page behind the table has a section for every line."""
    page = (Path(__file__).parent.parent / "docs" / "what-happens-when.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE)[: len(LINES)] == [name.replace("`", "") for name in LINES]


@when("no connection (DNS, TCP, TLS)")
async def no_connection() -> None:
    async with rig() as it:
        it.server.refuse()
        found = await failed(buy(it.bardge))
    assert isinstance(found, errors.ConnectError)
    assert (found.attempts, found.sent, found.retryable, it.sent) == (4, False, True, 0)


@when("timeout or cut after sending")
async def unanswered() -> None:
    clock = ManualClock()
    async with rig(late(clock, 20), cut(), REPLAYED, clock=clock) as it:
        bought = await buy(it.bardge)
    assert (bought.replayed, bought.attempts, set(it.keys)) == ("server", 3, {"order-1"})
    assert len({request.body for request in it.server.requests}) == 1


@when("no answer at all")
async def never_answered() -> None:
    clock = ManualClock()
    async with rig(late(clock, 20), clock=clock, timeout=50) as it:
        found = await failed(buy(it.bardge))
    assert isinstance(found, errors.OutcomeUnknownError)
    assert found.first_sent_at is not None
    assert found.window_closes_at is not None
    assert (found.window_closes_at - found.first_sent_at).total_seconds() == 90
    assert (found.idempotency_key, found.timed_out) == ("order-1", True)
    assert "get_credits" in str(found)


@when("late retry (same key, window over)")
async def late_retry() -> None:
    async with rig(cut(), BOUGHT, retry=ONE) as it:
        await failed(buy(it.bardge))
        it.clock.advance(80)
        found = await failed(buy(it.bardge))
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (found.attempts, it.sent) == (0, 1)


@when("429 with `Retry-After`")
async def busy() -> None:
    async with rig(error(429, Retry_After="7"), BOUGHT) as it:
        await buy(it.bardge)
    assert 7 <= sum(it.clock.sleeps) < 8
    async with rig(error(429, Retry_After="7"), BOUGHT, retry=ONE) as it:
        await failed(buy(it.bardge))
        await it.bardge.clients.get_credits("c")
    assert 7 <= sum(it.clock.sleeps) <= 8
    for wish, total in (("61", 70), ("30", 20)):
        async with rig(error(429, Retry_After=wish), timeout=total) as it:
            found = await failed(buy(it.bardge))
        assert (type(found), it.clock.sleeps) == (errors.RateLimitError, [])


@when("503 with `Retry-After`")
async def overloaded() -> None:
    async with rig(error(503, Retry_After="7"), BOUGHT) as it:
        await buy(it.bardge)
    assert sum(it.clock.sleeps) >= 7
    async with rig(error(503, Retry_After="61"), BOUGHT) as it:
        assert isinstance(await failed(buy(it.bardge)), errors.OutcomeUnknownError)
        assert it.clock.sleeps == []
        await it.bardge.clients.get_credits("c")
        assert it.clock.sleeps == []


@when("500 with the API's error object")
async def server_error() -> None:
    async with rig(error(500)) as it:
        for _ in range(2):
            assert isinstance(await failed(buy(it.bardge)), errors.OutcomeUnknownError)
        assert it.sent == 1
        found = await failed(it.bardge.clients.get_credits("c"))
    assert (type(found), it.sent) == (errors.ServerError, 5)
    async with rig(error(500), UPDATED) as it:
        await it.bardge.passes.update(m.UpdateIssuedPass(client_id="c"))
    assert it.sent == 2


@when("redirect or HTML page in between")
async def in_between() -> None:
    there = reply(302, headers={"Location": "/elsewhere"})
    page = reply(200, body=b"<html>", headers={"Content-Type": "text/html"})
    async with rig(there, page, BOUGHT) as it:
        assert (await buy(it.bardge)).attempts == 3
    assert {request.path for request in it.server.requests} == {"/credit_purchases"}
    async with rig(page) as it:
        assert isinstance(await failed(buy(it.bardge)), errors.OutcomeUnknownError)


@when("wrong base URL")
async def wrong_base_url() -> None:
    async with rig(reply(404, body=b"<html>not here</html>")) as it:
        found = await failed(buy(it.bardge))
    assert (type(found), it.sent) == (errors.NotFoundError, 1)
    assert it.server.base_url in str(found)


@when("refused (400, 404, 409, 422)")
async def refused() -> None:
    for status in (400, 404, 409, 422):
        async with rig(error(status, "invalid_request_error", "some_code", "some words")) as it:
            found = await failed(buy(it.bardge))
        assert isinstance(found, errors.APIError)
        assert (found.status, found.code, found.message, it.sent) == (status, "some_code", "some words", 1)


@when("refused, then corrected")
async def corrected() -> None:
    async with rig(REFUSED, BOUGHT) as it:
        await failed(buy(it.bardge))
        found = await failed(buy(it.bardge, request=OTHER))
        assert (type(found), it.sent) == (errors.IdempotencyMisuseError, 1)
        assert "package_id" in str(found)
        await buy(it.bardge, "order-1-corrected", OTHER)
        it.clock.advance(91)
        await buy(it.bardge, request=OTHER)
    assert it.keys == ["order-1", "order-1-corrected", "order-1"]


@when("answer of an unknown shape")
async def unreadable() -> None:
    async with rig(reply(201, [1])) as it:
        first = await failed(buy(it.bardge))
        it.clock.advance(100)
        again = await failed(buy(it.bardge))
    assert isinstance(first, errors.DecodeError)
    assert isinstance(again, errors.DecodeError)
    assert (first.executed, again.executed, it.sent) == (True, True, 1)


@when("cancelled under way")
async def cancelled() -> None:
    reached = anyio.Event()
    async with rig(hang(reached), REPLAYED) as it:
        task = asyncio.ensure_future(buy(it.bardge))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert "order-1" in caught.value.__notes__[0]
        assert (await buy(it.bardge)).replayed == "server"
    assert it.server.connections == 2


@when("task delivered twice")
async def redelivered() -> None:
    async with rig(BOUGHT) as it:
        first = await buy(it.bardge)
        it.clock.advance(300)
        async with it.bardge.idempotent("order-1") as once:
            again = await once.credits.purchase(PURCHASE)
    assert (again, once.replayed, once.attempts, it.sent) == (first.value, "journal", 0, 1)


@when("two tasks with one key")
async def two_tasks() -> None:
    async with rig(BOUGHT) as it:
        first, second = await asyncio.gather(buy(it.bardge), buy(it.bardge))
    assert (first.value, it.sent) == (second.value, 1)


@when("one key, two different requests")
async def misuse() -> None:
    async with rig(BOUGHT) as it:
        await buy(it.bardge)
        found = await failed(buy(it.bardge, request=OTHER))
    assert (type(found), it.sent) == (errors.IdempotencyMisuseError, 1)
    assert "package_id" in str(found)


@when("rotated API key")
async def rotated() -> None:
    rejected = error(401, "authentication_error", "invalid_api_key")
    keys = iter(["old", "new", "newest"])
    async with rig(rejected, BOUGHT, rejected) as it:
        bardge = BardgeClient(lambda: next(keys), it.server.base_url, retry=AT_ONCE, clock=it.clock)
        await buy(bardge)
        found = await failed(buy(bardge, "order-2"))
        await bardge.aclose()
    assert [request.headers["authorization"] for request in it.server.requests][:2] == ["Bearer old", "Bearer new"]
    assert it.keys == ["order-1", "order-1", "order-2", "order-2"]
    assert isinstance(found, errors.AuthenticationError)


@when("charging endpoint without a proven key")
async def unproven() -> None:
    request = m.PurchaseCopayPackage(client_id="c", provider_id="p", quote_id="q")
    async with rig(cut()) as it:
        found = await failed(it.bardge.copay.purchase_package(request))
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (found.window_closes_at, found.may_repeat, it.sent) == (None, False, 1)


@when("harmless POST, window over")
async def harmless() -> None:
    async with rig(cut(), UPDATED, retry=ONE) as it:
        request = m.UpdateIssuedPass(client_id="c")
        await failed(it.bardge.send("passes.update", request=request, key="k"))
        it.clock.advance(200)
        await it.bardge.send("passes.update", request=request, key="k")
    assert it.keys == ["k", "k"]
    async with rig(cut(), UPDATED, retry=ONE) as it:
        await failed(it.bardge.send("passes.update", request=request, key="k"))
        await it.bardge.passes.update(m.UpdateIssuedPass(client_id="c", first_name="A"))
        it.clock.advance(200)
        found = await failed(it.bardge.send("passes.update", request=request, key="k"))
    assert (type(found), it.sent) == (errors.OutcomeUnknownError, 2)


@when("clock set back, machine asleep")
async def clocks() -> None:
    for elapsed, wall in ((85, -3600), (600, 0), (0, 3600)):
        async with rig(cut(), BOUGHT, retry=ONE) as it:
            await failed(buy(it.bardge))
            it.clock.advance(elapsed)
            it.clock.jump_wall(wall)
            found = await failed(buy(it.bardge))
        assert (type(found), it.sent) == (errors.OutcomeUnknownError, 1)


@when("API down, many calls")
async def down() -> None:
    async with rig(timeout=Timeouts(total=60)) as it:
        it.server.refuse()
        calls = [failed(it.bardge.clients.get_credits("c")) for _ in range(100)]
        found = await asyncio.gather(*calls)
    assert sum(one.budget_empty for one in found) > 80
    assert sum(one.attempts for one in found) <= 1.2 * 100 + 10 * 2
