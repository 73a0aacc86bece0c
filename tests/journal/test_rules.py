"""What a key's record does to a later call: the rules, through clients over one journal."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import attrs
import pytest

from bardge_async import BardgeClient, EntryState, ReplayWindow, RetryPolicy, errors
from bardge_async import models as m
from tests.journal.factories import Opener
from tests.journal.place import Place, buy, fail_to_buy, open_place
from tests.support.canary import CANARY
from tests.support.rig import OTHER, PURCHASE, advance_then
from tests.support.server import Step, cut, error, hang, reply, send_raw

BOUGHT = reply(201, {"balance": 5}, {"Bardge-Request-Id": "req_1"})
REFUSED = error(400, "invalid_request_error", "validation_error")
UPDATED = reply(200, {"object": "issued_pass"})
ONE = RetryPolicy(max_attempts=1, base=0)
DECEMBER = m.UpdateIssuedPassExpiry(expiry_date=dt.date(2026, 12, 31))
JANUARY = m.UpdateIssuedPassExpiry(expiry_date=dt.date(2027, 1, 31))


async def extend_expiry(
    bardge: BardgeClient, key: str, request: m.UpdateIssuedPassExpiry = DECEMBER, client: str = "c1"
) -> m.IssuedPassMessage:
    async with bardge.idempotent(key) as once:
        return await once.passes.update_expiry(client, request)


async def wait_for_timers(it: Place, number: int) -> None:
    """Wait until a number of timers are pending on the clock."""
    while it.clock.pending_timers < number:  # noqa: ASYNC110 - waits for turns of the loop
        await asyncio.sleep(0)


# Done.


@pytest.mark.parametrize("later", [0, 60, 95, 800])
async def test_done(opener: Opener, later: float) -> None:
    """A done key returns the recorded response, in and past its window: no request, ``replayed`` is "journal"."""
    async with open_place(opener, BOUGHT) as it:
        first = await buy(it.bardge)
        it.clock.advance(later)
        async with (await it.open_another()).idempotent("order-1") as once:
            again = await once.credits.purchase(PURCHASE)
    assert (again, once.replayed, once.attempts, once.request_id, it.request_count) == (first, "journal", 0, "req_1", 1)


async def test_done_by_send(opener: Opener) -> None:
    """``send`` with a done key returns the same, with the recorded status and request id."""
    async with open_place(opener, BOUGHT) as it:
        await buy(it.bardge)
        again = await (await it.open_another()).send("credits.purchase", request=PURCHASE, key="order-1")
    assert (again.status, again.request_id, again.attempts, again.replayed) == (201, "req_1", 0, "journal")
    assert (again.idempotency_key, again.headers["Bardge-Request-Id"], it.request_count) == ("order-1", "req_1", 1)


async def test_done_though_unreadable(opener: Opener) -> None:
    """A response that could not be decoded was executed: the same DecodeError again, without a request."""
    async with open_place(opener, reply(201, [1])) as it:
        first = await fail_to_buy(it.bardge)
        it.clock.advance(100)
        again = await fail_to_buy(await it.open_another())
    assert isinstance(first, errors.DecodeError)
    assert isinstance(again, errors.DecodeError)
    assert (again.executed, again.problems, again.body) == (True, first.problems, first.body)
    assert (again.attempts, again.sent, again.idempotency_key, it.request_count) == (0, True, "order-1", 1)


async def test_done_after_a_doubt(opener: Opener) -> None:
    """A key that was first cut and then answered is done."""
    async with open_place(opener, cut(), BOUGHT) as it:
        await buy(it.bardge)
        assert await it.read_state() is EntryState.DONE
        await buy(await it.open_another())
    assert it.request_count == 2


async def test_fresh_key_given_again(opener: Opener) -> None:
    """A fresh key's response is not stored: when the key is given again, it is reported done, and nothing is sent."""
    async with open_place(opener, BOUGHT) as it:
        key = (await it.bardge.send("credits.purchase", request=PURCHASE)).idempotency_key
        assert key is not None
        again = await fail_to_buy(await it.open_another(), key)
    assert (type(again), again.idempotency_key, again.endpoint) == (errors.AlreadyDoneError, key, "credits.purchase")
    assert (again.attempts, it.request_count) == (0, 1)


async def test_made_key_of_a_block(opener: Opener) -> None:
    """A block exposes its made key before the call: given again, it returns its recorded response."""
    async with open_place(opener, BOUGHT) as it:
        async with it.bardge.idempotent() as once:
            first = await once.credits.purchase(PURCHASE)
        assert await buy(await it.open_another(), once.key) == first
    assert it.request_count == 1


# Refused.


@pytest.mark.parametrize("later", [0, 95])
async def test_refused_then_the_same(opener: Opener, later: float) -> None:
    """A refused key is sent again with the same body, in and past its 90 s."""
    async with open_place(opener, REFUSED, BOUGHT) as it:
        assert isinstance(await fail_to_buy(it.bardge), errors.InvalidRequestError)
        it.clock.advance(later)
        await buy(await it.open_another())
    assert it.keys == ["order-1"] * 2


@pytest.mark.parametrize(("later", "jump"), [(89, 0), (99, 0), (50, 1000)])
async def test_refused_then_corrected_inside(opener: Opener, later: float, jump: float) -> None:
    """Within its 90 s and the margin, whatever the wall clock shows, a refused key accepts no other body: the server may hold the first."""
    async with open_place(opener, REFUSED, BOUGHT) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(later)
        it.clock.jump_wall(jump)
        again = await fail_to_buy(await it.open_another(), request=OTHER)
    assert (type(again), it.request_count) == (errors.IdempotencyMisuseError, 1)
    assert "package_id" in str(again)


async def test_refused_then_corrected_past(opener: Opener) -> None:
    """After its 90 s and the margin a refused key accepts any body."""
    async with open_place(opener, REFUSED, BOUGHT) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(101)
        await buy(await it.open_another(), request=OTHER)
    assert b"cpkg_10" in it.server.requests[1].body


@pytest.mark.parametrize("later", [0, 95])
@pytest.mark.parametrize("refusal", [REFUSED, error(429)], ids=["refused", "not executed"])
async def test_refused_then_the_same_in_another_order(opener: Opener, refusal: Step, later: float) -> None:
    """A refused key is sent again with the recorded bytes, even if the new request encodes in another order."""
    async with open_place(opener, refusal, reply(200, {}), retry=ONE) as it:
        with pytest.raises(errors.BardgeError):
            await it.bardge.request("POST", "/new", request={"a": 1, "b": {"c": 2, "d": 3}}, key="k", keyed=True)
        it.clock.advance(later)
        other = await it.open_another()
        await other.request("POST", "/new", request={"b": {"d": 3, "c": 2}, "a": 1}, key="k", keyed=True)
    assert [request.body for request in it.server.requests] == [b'{"a":1,"b":{"c":2,"d":3}}'] * 2


async def test_corrected_then_done(opener: Opener) -> None:
    """A corrected request that is done is what the key stands for from then on."""
    async with open_place(opener, REFUSED, BOUGHT) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(101)
        await buy(it.bardge, request=OTHER)
        assert isinstance(await fail_to_buy(it.bardge), errors.IdempotencyMisuseError)
        await buy(it.bardge, request=OTHER)
    assert it.request_count == 2


@pytest.mark.parametrize(
    "refusal",
    [error(401), error(403), error(404, "invalid_request_error"), error(429), reply(404, body=b"<html>")],
    ids=["401", "403", "404", "429", "404 page"],
)
async def test_answered_and_not_executed(opener: Opener, refusal: Step) -> None:
    """Every response that means "not executed" leaves the key refused, and it is sent again on request."""
    async with open_place(opener, refusal, BOUGHT, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        assert await it.read_state() is EntryState.REFUSED
        it.clock.advance(200)
        await buy(it.bardge)
    assert it.request_count == 2


async def test_refused_then_in_doubt(opener: Opener) -> None:
    """A refused key that was sent again and not answered is in doubt, and not sent past its window."""
    async with open_place(opener, REFUSED, cut(), BOUGHT, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(300)
        assert isinstance(await fail_to_buy(it.bardge), errors.OutcomeUnknownError)
        it.clock.advance(85)
        assert isinstance(await fail_to_buy(it.bardge), errors.OutcomeUnknownError)
    assert it.request_count == 2


async def test_refused_then_no_connection(opener: Opener) -> None:
    """A refused key stays bound to its body for 90 s, even if a later call could not connect."""
    async with open_place(opener, REFUSED, BOUGHT, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        it.server.refuse()
        bardge = await it.open_another(retry=ONE)
        assert isinstance(await fail_to_buy(bardge), errors.ConnectError)
        assert await it.read_state() is EntryState.REFUSED


# In doubt.


@pytest.mark.parametrize("later", [0, 78])
async def test_in_doubt_inside(opener: Opener, later: float) -> None:
    """Within its window a key in doubt is sent again, and the response settles it."""
    async with open_place(opener, cut(), BOUGHT, retry=ONE) as it:
        assert isinstance(await fail_to_buy(it.bardge), errors.OutcomeUnknownError)
        it.clock.advance(later)
        await buy(await it.open_another())
        assert await it.read_state() is EntryState.DONE
    assert it.keys == ["order-1"] * 2
    assert it.server.requests[0].body == it.server.requests[1].body


@pytest.mark.parametrize("later", [79.5, 85, 91, 100_000])
async def test_in_doubt_past(opener: Opener, later: float) -> None:
    """With less than a second of its window left, without margin, a key in doubt is not sent and stays unknown."""
    async with open_place(opener, cut(), BOUGHT, retry=ONE) as it:
        first = await fail_to_buy(it.bardge)
        it.clock.advance(later)
        again = await fail_to_buy(await it.open_another())
    assert isinstance(first, errors.OutcomeUnknownError)
    assert isinstance(again, errors.OutcomeUnknownError)
    assert (again.first_sent_at, again.window_closes_at) == (first.first_sent_at, first.window_closes_at)
    assert (again.sent, again.attempts, again.may_repeat, again.retryable, it.request_count) == (
        True,
        0,
        False,
        False,
        1,
    )
    assert "get_credits" in str(again)


async def test_charging_row_says_how_to_find_out(opener: Opener) -> None:
    """Later POSTs to the same path under other keys do not change what is reported of a charging one."""
    async with open_place(opener, cut(), BOUGHT, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(1)
        await buy(it.bardge, "order-2")
        it.clock.advance(100)
        again = await fail_to_buy(await it.open_another())
    assert "get_credits" in str(again)
    assert "undo" not in str(again)


async def test_window_is_the_settings(opener: Opener) -> None:
    """``window=`` sets how long a key in doubt may still be sent."""
    window = ReplayWindow(length=20, margin=5)
    async with open_place(opener, cut(), retry=ONE, window=window) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(13.9)
        await fail_to_buy(await it.open_another(window=window, retry=ONE))
        it.clock.advance(0.2)
        await fail_to_buy(await it.open_another(window=window, retry=ONE))
    assert it.request_count == 2


async def test_in_doubt_counts_from_the_first_send(opener: Opener) -> None:
    """Sending again does not extend the window: it counts from the first send, over all calls."""
    async with open_place(opener, cut(), retry=ONE) as it:
        for _ in range(3):
            await fail_to_buy(it.bardge)
            it.clock.advance(30)
        assert isinstance(await fail_to_buy(await it.open_another()), errors.OutcomeUnknownError)
    assert it.request_count == 3


async def test_in_doubt_keeps_its_window(opener: Opener) -> None:
    """A key in doubt that is sent again retries only within the window of its first send."""
    async with open_place(opener, cut(), retry=ONE) as it:
        first = await fail_to_buy(it.bardge)
        it.clock.advance(75)
        it.server.script = [cut(), advance_then(it.clock, 4.5, cut())]
        again = await fail_to_buy(await it.open_another())
    assert isinstance(first, errors.OutcomeUnknownError)
    assert isinstance(again, errors.OutcomeUnknownError)
    assert (it.request_count, again.attempts, again.first_sent_at, again.may_repeat) == (
        2,
        1,
        first.first_sent_at,
        False,
    )


async def test_journal_bytes_are_sent(opener: Opener) -> None:
    """A key in doubt is sent with the journal's bytes, even if the new request encodes in another order."""
    async with open_place(opener, cut(), reply(200, {}), retry=ONE) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.request("POST", "/new", request={"a": 1, "b": {"c": 2, "d": 3}}, key="k", keyed=True)
        await it.bardge.request("POST", "/new", request={"b": {"d": 3, "c": 2}, "a": 1}, key="k", keyed=True)
    assert [request.body for request in it.server.requests] == [b'{"a":1,"b":{"c":2,"d":3}}'] * 2


NO_BODY = {
    "204": send_raw(b"HTTP/1.1 204 No Content\r\n\r\n", close=False),
    "200": reply(200, body=b""),
    "201": reply(201, body=b""),
    "202 with a line break": reply(202, body=b"\r\n"),
}


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "POST"])
@pytest.mark.parametrize("step", NO_BODY.values(), ids=NO_BODY)
async def test_no_body_is_done(opener: Opener, step: Step, method: str) -> None:
    """Plain JSON may be no body at all: the value is None, nothing is in doubt, and the journal replays it."""
    async with open_place(opener, step, BOUGHT) as it:
        first = await it.bardge.request(method, "/passcodes/p1", key="k")
        again = await (await it.open_another()).request(method, "/passcodes/p1", key="k")
        assert (first.value, again.value, again.replayed, again.status) == (None, None, "journal", first.status)
        assert (it.request_count, await it.bardge.in_doubt()) == (1, [])


async def test_fresh_key_in_doubt(opener: Opener) -> None:
    """The key of an OutcomeUnknownError, fresh or not, sends the same request again within the window."""
    async with open_place(opener, cut(), BOUGHT, retry=ONE) as it:
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await it.bardge.credits.purchase(PURCHASE)
        assert caught.value.idempotency_key is not None
        await buy(await it.open_another(), caught.value.idempotency_key)
    assert (it.request_count, len(set(it.keys))) == (2, 1)


async def test_server_error_then_again(opener: Opener) -> None:
    """A 5xx with the API's error object leaves a charging key in doubt."""
    async with open_place(opener, error(500), BOUGHT) as it:
        await fail_to_buy(it.bardge)
        assert await it.read_state() is EntryState.SENT
        it.clock.advance(85)
        assert isinstance(await fail_to_buy(it.bardge), errors.OutcomeUnknownError)
    assert it.request_count == 1


async def test_cut_then_429(opener: Opener) -> None:
    """A doubt covers the whole history: a later 429 or 401 does not turn it into "refused"."""
    async with open_place(opener, cut(), error(429), error(401), BOUGHT) as it:
        assert isinstance(await fail_to_buy(it.bardge), errors.OutcomeUnknownError)
        assert await it.read_state() is EntryState.SENT
        it.clock.advance(85)
        assert isinstance(await fail_to_buy(it.bardge), errors.OutcomeUnknownError)
    assert it.request_count == 3


async def test_reentered_then_no_connection(opener: Opener) -> None:
    """A key in doubt that cannot connect on re-entry stays in doubt."""
    async with open_place(opener, cut(), retry=ONE) as it:
        await fail_to_buy(it.bardge)
        it.server.refuse()
        again = await fail_to_buy(await it.open_another(retry=ONE))
        assert await it.read_state() is EntryState.SENT
    assert isinstance(again, errors.OutcomeUnknownError)
    assert (again.sent, type(again.last_error)) == (True, errors.ConnectError)


async def test_reentered_then_refused(opener: Opener) -> None:
    """A 404 with the API's error object, on a key in doubt, settles it as refused."""
    async with open_place(opener, cut(), error(404, "invalid_request_error"), BOUGHT, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        assert isinstance(await fail_to_buy(await it.open_another()), errors.NotFoundError)
        assert await it.read_state() is EntryState.REFUSED


async def test_reentered_then_conflict(opener: Opener) -> None:
    """A resource conflict on a key in doubt says that our own earlier request may have caused it."""
    async with open_place(opener, cut(), error(409, "resource_conflict_error"), retry=ONE) as it:
        await fail_to_buy(it.bardge)
        again = await fail_to_buy(await it.open_another())
    assert isinstance(again, errors.ResourceConflictError)
    assert again.sent_before


# A different request under the key.


async def send_other_body(bardge: BardgeClient) -> object:
    return await bardge.send("credits.purchase", request=OTHER, key="order-1")


async def send_two_other_fields(bardge: BardgeClient) -> object:
    request = m.PurchaseCredits(client_id="client_other", package_id="cpkg_10")
    return await bardge.send("credits.purchase", request=request, key="order-1")


async def send_other_endpoint(bardge: BardgeClient) -> object:
    return await bardge.send("passes.issue", request=m.IssuePass(client_id="client_abc123"), key="order-1")


DIFFERENT: dict[str, tuple[Callable[[BardgeClient], Awaitable[object]], str]] = {
    "a field": (send_other_body, "in package_id;"),
    "fields": (send_two_other_fields, "in client_id, package_id;"),
    "endpoint": (send_other_endpoint, "endpoint .credits.purchase on record.;"),
}


@pytest.mark.parametrize(("call", "words"), DIFFERENT.values(), ids=DIFFERENT)
@pytest.mark.parametrize("first", [BOUGHT, cut()], ids=["done", "in doubt"])
@pytest.mark.parametrize("later", [0, 200])
async def test_another_request(
    opener: Opener, first: Step, later: float, call: Callable[[BardgeClient], Awaitable[object]], words: str
) -> None:
    """A different request under a key, done or in doubt, in its window or past it, is rejected by its difference."""
    async with open_place(opener, first, BOUGHT, retry=ONE) as it:
        await asyncio.gather(buy(it.bardge), return_exceptions=True)
        it.clock.advance(later)
        with pytest.raises(errors.IdempotencyMisuseError, match=words) as caught:
            await call(await it.open_another())
    assert (it.request_count, caught.value.idempotency_key, caught.value.sent) == (1, "order-1", False)
    assert "cpkg" not in str(caught.value)


async def test_another_path(opener: Opener) -> None:
    """A key of one session's confirmation is rejected for another session's: the paths differ."""
    async with open_place(opener, reply(200, {"object": "booking"})) as it:
        await it.bardge.send("bookings.confirm_spa", "sess_1", key="k")
        with pytest.raises(errors.IdempotencyMisuseError, match="path"):
            await (await it.open_another()).send("bookings.confirm_spa", "sess_2", key="k")
    assert it.request_count == 1


async def test_unset_is_not_null(opener: Opener) -> None:
    """A request with a null field differs from one without the field."""
    async with open_place(opener, reply(200, {})) as it:
        await it.bardge.request("POST", "/new", request={"a": None}, key="k")
        with pytest.raises(errors.IdempotencyMisuseError):
            await it.bardge.request("POST", "/new", request={}, key="k")
    assert it.request_count == 1


# Endpoints that set an absolute state.


async def test_same_row_past_the_window(opener: Opener) -> None:
    """If nothing superseded it, an endpoint that sets an absolute state is sent again past its window, under its key."""
    async with open_place(opener, cut(), UPDATED, retry=ONE) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await extend_expiry(it.bardge, "k1")
        it.clock.advance(1000)
        await extend_expiry(await it.open_another(), "k1")
    assert it.keys == ["k1", "k1"]


async def test_same_row_overtaken(opener: Opener) -> None:
    """It is not sent past its window if a later POST to the same endpoint and path is recorded: it would undo that."""
    async with open_place(opener, cut(), UPDATED, retry=ONE) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await extend_expiry(it.bardge, "k1")
        await extend_expiry(it.bardge, "k2", JANUARY)
        it.clock.advance(100)
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await extend_expiry(await it.open_another(), "k1")
    assert (it.request_count, caught.value.sent) == (2, True)


async def test_same_row_overtaken_says_so(opener: Opener) -> None:
    """Its error does not call the repeat harmless."""
    async with open_place(opener, cut(), UPDATED, retry=ONE) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await extend_expiry(it.bardge, "k1")
        await extend_expiry(it.bardge, "k2", JANUARY)
        it.clock.advance(100)
        with pytest.raises(errors.OutcomeUnknownError, match="later") as caught:
            await extend_expiry(await it.open_another(), "k1")
    assert (caught.value.may_repeat, caught.value.retryable) == (False, False)
    assert "harmless" not in str(caught.value)


async def test_same_row_overtaken_by_a_fresh_key(opener: Opener) -> None:
    """A later POST without a given key counts as well."""
    async with open_place(opener, cut(), UPDATED, retry=ONE) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await extend_expiry(it.bardge, "k1")
        await it.bardge.passes.update_expiry("c1", JANUARY)
        it.clock.advance(100)
        with pytest.raises(errors.OutcomeUnknownError):
            await extend_expiry(it.bardge, "k1")
    assert it.request_count == 2


async def test_same_row_other_path(opener: Opener) -> None:
    """A later POST for another client does not prevent it."""
    async with open_place(opener, cut(), UPDATED, retry=ONE) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await extend_expiry(it.bardge, "k1")
        await extend_expiry(it.bardge, "k2", JANUARY, client="c2")
        it.clock.advance(100)
        await extend_expiry(it.bardge, "k1")
    assert it.request_count == 3


async def test_same_row_not_overtaken_by_what_never_left(opener: Opener) -> None:
    """A later POST that was proved not sent does not prevent it."""
    async with open_place(opener, cut(), UPDATED, retry=ONE) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await extend_expiry(it.bardge, "k1")
        it.server.refuse()
        other = await it.open_another(retry=ONE)
        with pytest.raises(errors.ConnectError):
            await extend_expiry(other, "k2", JANUARY)
        await it.server.reopen()
        it.clock.advance(100)
        await extend_expiry(it.bardge, "k1")
    assert it.request_count == 2


async def test_same_row_overtaken_by_a_repeat(opener: Opener) -> None:
    """An older key in doubt that was sent again after it supersedes it."""
    async with open_place(opener, cut(), retry=ONE) as it:
        for key, request in (("k1", DECEMBER), ("k2", JANUARY), ("k1", DECEMBER)):
            with pytest.raises(errors.OutcomeUnknownError):
                await extend_expiry(it.bardge, key, request)
            it.clock.advance(10)
        it.clock.advance(100)
        with pytest.raises(errors.OutcomeUnknownError):
            await extend_expiry(it.bardge, "k2", JANUARY)
    assert it.request_count == 3


@pytest.mark.parametrize("key", ["k2", None], ids=["given", "fresh"])
@pytest.mark.parametrize("is_new", [False, True], ids=["running", "started"])
async def test_same_row_overtaken_while_the_wall_is_back(opener: Opener, key: str | None, *, is_new: bool) -> None:
    """A later POST of another process supersedes a doubt even if the wall clock was set back before it."""
    async with open_place(opener, cut(), UPDATED, retry=ONE) as it:
        other = await it.open_another()
        with pytest.raises(errors.OutcomeUnknownError):
            await extend_expiry(it.bardge, "k1")
        it.clock.jump_wall(-3600)
        it.clock.advance(1)
        other = await it.open_another() if is_new else other
        await other.send("passes.update_expiry", "c1", request=JANUARY, key=key)
        it.clock.advance(100)
        with pytest.raises(errors.OutcomeUnknownError):
            await extend_expiry(await it.open_another(), "k1")
    assert it.request_count == 2


async def test_same_row_done(opener: Opener) -> None:
    """A done key is not sent again either: resetting the state later would undo what came after."""
    async with open_place(opener, UPDATED) as it:
        await extend_expiry(it.bardge, "k1")
        it.clock.advance(500)
        await extend_expiry(await it.open_another(), "k1")
    assert it.request_count == 1


# Endpoints that no key protects.


@pytest.mark.parametrize("later", [0, 100])
async def test_unproven_row_in_doubt(opener: Opener, later: float) -> None:
    """An endpoint whose key is not known to be honoured has no window: in doubt it is never sent again."""
    async with open_place(opener, cut()) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.send("bookings.cancel", "bk_1", key="k")
        it.clock.advance(later)
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await (await it.open_another()).send("bookings.cancel", "bk_1", key="k")
    assert (it.request_count, caught.value.window_closes_at, caught.value.may_repeat) == (1, None, False)


async def test_unproven_row_done(opener: Opener) -> None:
    """When it is done, the journal still protects it."""
    async with open_place(opener, reply(200, {"object": "booking"})) as it:
        first = await it.bardge.send("bookings.cancel", "bk_1", key="k")
        again = await (await it.open_another()).send("bookings.cancel", "bk_1", key="k")
    assert (again.value, again.replayed, it.request_count) == (first.value, "journal", 1)


KEYED = {"bookings.cancel": True}
CANCELLED = reply(200, {"object": "booking"})


async def cancel_booking(bardge: BardgeClient) -> m.Booking:
    async with bardge.idempotent("k") as once:
        return await once.bookings.cancel("bk_1")


async def test_keyed_row_is_repeated(opener: Opener) -> None:
    """Where the user says that the server honours the key, an unanswered call is repeated under it in the window."""
    async with open_place(opener, cut(), CANCELLED, keyed=KEYED) as it:
        await cancel_booking(it.bardge)
    assert it.keys == ["k", "k"]


async def test_keyed_row_in_doubt(opener: Opener) -> None:
    """Such a doubt has a window, for a later client of the same opinion, too; past it, nothing is sent."""
    async with open_place(opener, cut(), CANCELLED, cut(), keyed=KEYED, retry=ONE) as it:
        for key, later in (("k", 10), ("k2", 100)):
            with pytest.raises(errors.OutcomeUnknownError) as caught:
                await it.bardge.send("bookings.cancel", "bk_1", key=key)
            it.clock.advance(later)
            assert caught.value.window_closes_at is not None
            again = (await it.open_another(keyed=KEYED)).send("bookings.cancel", "bk_1", key=key)
            if later < 90:
                await again
            else:
                with pytest.raises(errors.OutcomeUnknownError):
                    await again
    assert it.keys == ["k", "k", "k2"]


async def test_later_keyed_reopens_nothing(opener: Opener) -> None:
    """A doubt keeps what was in force at its first send: a later ``keyed`` neither repeats nor recovers it."""
    async with open_place(opener, cut()) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await cancel_booking(it.bardge)
        trusting = await it.open_another(keyed=KEYED)
        [doubt] = await trusting.in_doubt()
        assert await trusting.recover() == []
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await cancel_booking(trusting)
    assert (it.request_count, caught.value.window_closes_at, caught.value.may_repeat) == (1, None, False)
    assert (doubt.recoverable, doubt.window_closes_at) == (False, None)


async def test_trust_withdrawn(opener: Opener) -> None:
    """``False`` withdraws trust in a key that the table trusts: an unanswered call is not repeated, now or later."""
    async with open_place(opener, cut(), keyed={"credits.purchase": False}) as it:
        error = await fail_to_buy(it.bardge)
        again = await fail_to_buy(await it.open_another())
        assert [type(found) for found in (error, again)] == [errors.OutcomeUnknownError] * 2
    assert it.request_count == 1


async def test_trust_withdrawn_from_a_doubt(opener: Opener) -> None:
    """Withdrawn later, it stops the repeats of an older doubt as well."""
    async with open_place(opener, cut(), retry=ONE) as it:
        await fail_to_buy(it.bardge)
        await fail_to_buy(await it.open_another(keyed={"credits.purchase": False}))
    assert it.request_count == 1


async def test_keyed_request_is_recovered(opener: Opener) -> None:
    """A call of an own path with ``keyed=True`` is recovered as what it was."""
    async with open_place(opener, cut(), reply(200, {}), retry=ONE) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.request("POST", "/odd", request={"a": 1}, key="k", keyed=True)
        recovered = await (await it.open_another()).recover()
    assert ([found.error for found in recovered], it.keys) == ([None], ["k", "k"])


async def test_keyless_row_leaves_nothing(opener: Opener) -> None:
    """A POST without a key is not recorded: each call is sent."""
    async with open_place(opener, reply(200, {"quote_id": "q"})) as it:
        for _ in range(2):
            await it.bardge.copay.quote_spa("p", m.SpaCopayQuoteRequest(client_id="c", service_ids=["s"]))
    assert it.keys == [None, None]


# Not sent.


async def test_refused_connection_leaves_nothing(opener: Opener) -> None:
    """A POST that was proved not sent leaves no record: the key is free for any body at any time."""
    async with open_place(opener, BOUGHT) as it:
        it.server.refuse()
        assert isinstance(await fail_to_buy(it.bardge), errors.ConnectError)
        assert await it.read_record() is None
        await it.server.reopen()
        await buy(it.bardge, request=OTHER)
    assert it.request_count == 1


async def test_no_free_connection_leaves_nothing(opener: Opener) -> None:
    """A call that timed out waiting for a connection leaves no record."""
    reached = anyio.Event()
    async with open_place(opener, hang(reached), max_connections=1) as it:
        hanging = asyncio.ensure_future(buy(it.bardge, "order-0"))
        await reached.wait()
        waiting = asyncio.ensure_future(fail_to_buy(it.bardge))
        await wait_for_timers(it, 2)
        it.clock.advance(60)
        assert isinstance(await waiting, errors.NotSentError)
        assert await it.read_record() is None
        await asyncio.gather(hanging, return_exceptions=True)


async def test_held_back_leaves_nothing(opener: Opener) -> None:
    """A call that is held back past its deadline leaves no record."""
    async with open_place(opener, error(429, Retry_After="50"), retry=ONE, timeout=20) as it:
        await fail_to_buy(it.bardge, "order-0")
        assert isinstance(await fail_to_buy(it.bardge), errors.ThrottledError)
        assert await it.read_record() is None
    assert it.request_count == 1


@pytest.mark.parametrize("request_after", [PURCHASE, OTHER], ids=["the same", "another"])
@pytest.mark.parametrize("is_unsent", [False, True], ids=["intent", "no first send"])
async def test_recorded_and_never_sent(opener: Opener, request_after: m.PurchaseCredits, *, is_unsent: bool) -> None:
    """A key on record as certainly not sent takes any request at any time."""
    async with open_place(opener, cut(), BOUGHT, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        record: Any = await it.read_record()
        never_sent = {"first_sent": None} if is_unsent else {"state": EntryState.INTENT}
        async with opener() as journal:
            await journal.put(attrs.evolve(record, **never_sent))
        it.clock.advance(1000)
        await buy(await it.open_another(), request=request_after)
    assert it.request_count == 2


# Concurrent and cancelled calls, and what keeps keys apart.


async def test_two_at_once(opener: Opener) -> None:
    """Two concurrent workers with one key: one request, one response for both."""
    async with open_place(opener, BOUGHT) as it:
        first, second = await asyncio.gather(buy(it.bardge), buy(await it.open_another()))
    assert (first, it.request_count) == (second, 1)


async def test_two_at_once_with_different_requests(opener: Opener) -> None:
    """Two workers with one key and different requests: one request, and the second is rejected."""
    async with open_place(opener, BOUGHT) as it:
        done, refused = await asyncio.gather(buy(it.bardge), fail_to_buy(await it.open_another(), request=OTHER))
    assert done.balance == 5
    assert (type(refused), it.request_count) == (errors.IdempotencyMisuseError, 1)


async def test_second_waits_for_its_own_deadline(opener: Opener) -> None:
    """A worker waits for the key's holder as long as its own call may take, then reports that nothing was sent."""
    reached = anyio.Event()
    async with open_place(opener, hang(reached)) as it:
        first = asyncio.ensure_future(buy(it.bardge))
        await reached.wait()
        second = asyncio.ensure_future(fail_to_buy(await it.open_another(timeout=5)))
        await wait_for_timers(it, 2)
        it.clock.advance(5)
        refused = await second
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert isinstance(refused, errors.KeyInUseError)
    assert (refused.sent, refused.timed_out, refused.attempts, it.request_count) == (False, True, 0, 1)
    assert (refused.endpoint, refused.idempotency_key) == ("credits.purchase", "order-1")


async def test_key_in_use_is_retryable(opener: Opener) -> None:
    """KeyInUseError says that the same call may be retried later without harm."""
    reached = anyio.Event()
    async with open_place(opener, hang(reached)) as it:
        first = asyncio.ensure_future(buy(it.bardge))
        await reached.wait()
        second = asyncio.ensure_future(fail_to_buy(await it.open_another(timeout=5)))
        await wait_for_timers(it, 2)
        it.clock.advance(5)
        assert (await second).retryable
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def cancel_in_flight(it: Place, reached: anyio.Event) -> None:
    task = asyncio.ensure_future(buy(it.bardge))
    await reached.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_cancelled_then_entered_inside(opener: Opener) -> None:
    """A call cancelled after sending is in doubt: within the window its key is sent again."""
    reached = anyio.Event()
    async with open_place(opener, hang(reached), BOUGHT) as it:
        await cancel_in_flight(it, reached)
        assert await it.read_state() is EntryState.SENT
        await buy(await it.open_another())
    assert it.keys == ["order-1"] * 2


async def test_cancelled_then_entered_past(opener: Opener) -> None:
    """Past the window it is not sent."""
    reached = anyio.Event()
    async with open_place(opener, hang(reached), BOUGHT) as it:
        await cancel_in_flight(it, reached)
        it.clock.advance(85)
        assert isinstance(await fail_to_buy(await it.open_another()), errors.OutcomeUnknownError)
    assert it.request_count == 1


async def test_accounts_keep_keys_apart(opener: Opener) -> None:
    """One key of two accounts is two keys."""
    async with open_place(opener, BOUGHT, account="a") as it:
        await buy(it.bardge)
        await buy(await it.open_another(account="b"), request=OTHER)
        await buy(await it.open_another(account="a"))
    assert it.request_count == 2


async def test_base_urls_keep_keys_apart(opener: Opener) -> None:
    """One key at two servers is two keys."""
    async with open_place(opener, BOUGHT) as it:
        await buy(it.bardge)
        await buy(await it.open_another(f"{it.server.base_url}/v4"), request=OTHER)
    assert it.request_count == 2


async def test_api_keys_do_not_keep_keys_apart(opener: Opener) -> None:
    """A rotated API key changes nothing: operations done under the old one are known."""
    async with open_place(opener, BOUGHT, api_key="old") as it:
        await buy(it.bardge)
        await buy(await it.open_another(api_key="new"))
    assert it.request_count == 1


async def test_no_secret_is_on_record(opener: Opener) -> None:
    """Neither the API key nor a lookup token is in a record, whether done or in doubt."""
    request = m.AccessCodeRequest(client_id="c")
    async with open_place(opener, reply(200, {"object": "access_code"}), cut(), api_key=CANARY, retry=ONE) as it:
        await it.bardge.send("access_codes.generate", request=request, key="k1", lookup_token=f"{CANARY}-token")
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.send("access_codes.generate", request=request, key="k2", lookup_token=f"{CANARY}-token")
        records = [await it.read_record("k1"), await it.read_record("k2")]
    assert None not in records
    assert CANARY not in repr(records)


async def test_echoed_key_is_not_on_record(opener: Opener) -> None:
    """A response that echoes the API key is stored without it."""
    async with open_place(opener, reply(201, {"balance": 5, "debug": f"Bearer {CANARY}"}), api_key=CANARY) as it:
        await buy(it.bardge)
        assert CANARY not in repr(await it.read_record())


async def test_garbage_answers_are_not_on_record(opener: Opener) -> None:
    """An HTML page instead of a response leaves the key in doubt, and is not stored."""
    async with open_place(opener, send_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n<h1>"), retry=ONE) as it:
        await fail_to_buy(it.bardge)
        record: Any = await it.read_record()
    assert (record.state, record.answer) == (EntryState.SENT, None)
