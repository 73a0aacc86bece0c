"""The call loop against real servers on loopback, with injected time."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from bardge_async import (
    AttemptLimits,
    BardgeClient,
    RetryPolicy,
    Timeouts,
    Transport,
    WireRequest,
    WireResponse,
    errors,
)
from bardge_async import models as m
from bardge_async.testing import FakeTransport, ManualClock, json_response
from tests.support.calls import get_credits, purchase_credits
from tests.support.rig import AT_ONCE, PURCHASE, Rig, advance_then, open_rig
from tests.support.server import Received, ScriptedServer, Step, cut, error, hang, reply, send_raw

BOUGHT = reply(200, {"balance": 5}, {"Bardge-Request-Id": "req_2"})
VENDOR = "https://api-prod.bardge.com/v3/api/business/reseller"
HTML = b"<html><h1>Welcome</h1></html>"
PROMISED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"

# Unusable responses, over a socket.
UNUSABLE: dict[str, Step] = {
    "connection reset": cut(),
    "connection closed": send_raw(b""),
    "redirect": reply(302, headers={"Location": "/elsewhere"}),
    "temporary redirect": reply(307, headers={"Location": "/elsewhere"}),
    "not modified": send_raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "HTML with 200": reply(200, body=HTML, headers={"Content-Type": "text/html"}),
    "empty 200": reply(200, body=b""),
    "204": send_raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "broken JSON": reply(200, body=b'{"balance": 5'),
    "bytes that are no text": reply(200, body=b"\x00\xff\xfe\x8f"),
    "502 page": reply(502, body=HTML),
    "503 empty": reply(503, body=b""),
    "unknown status": reply(600, body=HTML),
    "504 page": reply(504, body=HTML),
    "cut header": send_raw(b"HTTP/1.1 200 OK\r\nContent-Ty"),
    "cut body": send_raw(PROMISED + b'{"balance": 5}'),
    "cut chunks": send_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}"),
    "garbage": send_raw(b"\x16\x03\x01\x00garbage\r\n\r\n"),
    "bad status line": send_raw(b"HTTP/1.1 twohundred OK\r\n\r\n"),
    "bad gzip": reply(200, body=b"\x1f\x8bnot gzip", headers={"Content-Encoding": "gzip"}),
    "oversize header": send_raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n{}"),
}

unusable = pytest.mark.parametrize("step", UNUSABLE.values(), ids=UNUSABLE)


async def fail_without_pending(
    it: Rig, call: Callable[[BardgeClient], Awaitable[Any]] = purchase_credits
) -> errors.BardgeError:
    with pytest.raises(errors.BardgeError) as caught:
        await call(it.bardge)
    return caught.value


@unusable
async def test_post_is_repeated_with_the_same_key_and_bytes(step: Step) -> None:
    """A POST without a usable response is sent again, once per attempt, with the same key and bytes."""
    async with open_rig(step, step, BOUGHT) as it:
        assert (await purchase_credits(it.bardge)).balance == 5
    seen = {(r.method, r.target, r.body, r.headers["idempotency-key"]) for r in it.server.requests}
    assert (it.request_count, len(seen)) == (3, 1)


@unusable
async def test_post_ends_in_outcome_unknown(step: Step) -> None:
    """A POST without any usable response ends in OutcomeUnknownError, with what is needed to find out."""
    async with open_rig(step, retry=RetryPolicy(base=0, max_attempts=2)) as it:
        started = dt.datetime.fromtimestamp(it.clock.wall(), dt.UTC)
        found = await fail_without_pending(it)
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (found.first_sent_at, found.window_closes_at) == (started, started + dt.timedelta(seconds=90))
    assert (found.attempts, it.request_count, found.sent, found.may_repeat) == (2, 2, True, True)
    assert isinstance(found.last_error, errors.NoAnswerError | errors.ServerError)
    assert found.idempotency_key == it.keys[0]


@unusable
async def test_get_ends_in_no_answer(step: Step) -> None:
    """A GET without a usable response is retried and ends in NoAnswerError, or in the ServerError that it got."""
    async with open_rig(step, retry=RetryPolicy(base=0, max_attempts=3)) as it:
        found = await fail_without_pending(it, get_credits)
    assert isinstance(found, errors.NoAnswerError | errors.ServerError)
    assert (found.attempts, it.request_count, found.sent, found.retryable) == (3, 3, True, True)


async def test_redirects_are_not_followed() -> None:
    """No request follows a redirect."""
    async with ScriptedServer(BOUGHT) as other:
        there = reply(307, headers={"Location": f"{other.base_url}/credit_purchases"})
        async with open_rig(there, retry=RetryPolicy(max_attempts=1)) as it:
            await fail_without_pending(it)
    assert other.requests == []


async def test_get_with_a_server_error() -> None:
    """A GET that ends with a 5xx error object raises ServerError with its message."""
    async with open_rig(error(500, code="boom", message="it broke"), retry=RetryPolicy(base=0, max_attempts=2)) as it:
        found = await fail_without_pending(it, get_credits)
    assert isinstance(found, errors.ServerError)
    assert (found.status, found.type, found.code, found.message) == (500, "api_error", "boom", "it broke")
    assert (found.attempts, it.request_count, found.retryable) == (2, 2, True)


async def test_server_error_ends_a_charging_post() -> None:
    """A 5xx with the API's error object ends a charging POST as outcome unknown, immediately."""
    async with open_rig(error(500)) as it:
        found = await fail_without_pending(it)
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (type(found.last_error), it.request_count) == (errors.ServerError, 1)


async def test_harmless_post_is_repeated_after_a_server_error() -> None:
    """An endpoint that sets an absolute state is retried after a 5xx with the error object."""
    async with open_rig(error(500), reply(200, {"object": "issued_pass"})) as it:
        await it.bardge.passes.update(m.UpdateIssuedPass(client_id="c"))
    assert (it.request_count, len(set(it.keys))) == (2, 1)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequestError),
        (401, errors.AuthenticationError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (405, errors.APIError),
    ],
)
@pytest.mark.parametrize("call", [purchase_credits, get_credits])
async def test_wrong_base_url(status: int, kind: type[errors.APIError], call: Callable[..., Awaitable[Any]]) -> None:
    """A parsed 4xx without the error object is the error of its status: one request, and the base URL in the message."""
    async with open_rig(reply(status, body=HTML, headers={"Content-Type": "text/html"})) as it:
        found = await fail_without_pending(it, call)
    assert (type(found), it.request_count) == (kind, 1)
    assert isinstance(found, errors.APIError)
    assert (found.status, found.type, found.code) == (status, None, None)
    assert it.server.base_url in str(found)
    assert "proxy" in str(found)


async def test_unreadable_success_of_a_post() -> None:
    """A 2xx that contradicts the page was executed: status, body, key and problems are kept, nothing is sent again."""
    body = b'{"status": 5, "scheduled_for": "soon"}'
    async with open_rig(reply(201, body=body)) as it:
        found = await fail_without_pending(it, lambda bardge: bardge.bookings.confirm_spa("sess_1"))
    assert isinstance(found, errors.DecodeError)
    assert (found.executed, found.status, found.body, it.request_count) == (True, 201, body, 1)
    assert (found.idempotency_key, found.retryable, found.sent) == (it.keys[0], False, True)
    assert len(found.problems) == 2


async def test_unreadable_success_of_a_get() -> None:
    """A GET with such a response executed nothing."""
    async with open_rig(reply(200, {"balance": "abc"})) as it:
        found = await fail_without_pending(it, get_credits)
    assert isinstance(found, errors.DecodeError)
    assert (found.executed, found.problems) == (False, ['$.balance: expected a number, got "abc"'])


@pytest.mark.parametrize(("number", "end"), [(20, "got 5"), (21, "got 5; and 1 more"), (30, "got 5; and 10 more")])
async def test_many_problems(number: int, end: str) -> None:
    """A DecodeError names all problems, and shows 20 of them."""
    async with open_rig(reply(200, {"data": [5] * number, "has_more": False})) as it:
        with pytest.raises(errors.DecodeError) as caught:
            await it.bardge.send("passes.list")
    assert (len(caught.value.problems), str(caught.value).count("expected an object")) == (number, 20)
    assert str(caught.value).endswith(end)


async def test_long_timeout_does_not_outlast_the_window() -> None:
    """Whatever the deadline of a POST, it is not sent again once its window is over."""
    clock = ManualClock()
    patient = Timeouts(total=600, attempt=300)
    async with open_rig(advance_then(clock, 85, cut()), clock=clock, timeout=patient) as it:
        found = await fail_without_pending(it)
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (it.request_count, found.may_repeat) == (1, False)


async def test_long_timeout_of_harmless_calls() -> None:
    """A GET, and a POST that sets an absolute state, are retried for as long as the user allows."""
    clock = ManualClock()
    patient = Timeouts(total=600, attempt=300)
    script = [
        advance_then(clock, 100, cut()),
        reply(200, {"balance": 5}),
        advance_then(clock, 100, cut()),
        reply(200, {}),
    ]
    async with open_rig(*script, clock=clock, timeout=patient) as it:
        assert (await get_credits(it.bardge)).balance == 5
        await it.bardge.passes.update(m.UpdateIssuedPass(client_id="c"))
    assert it.request_count == 4


async def test_attempt_timeout() -> None:
    """An attempt without a response ends after ``Timeouts.attempt`` and is repeated on another connection."""
    clock = ManualClock()
    async with open_rig(advance_then(clock, 20), BOUGHT, clock=clock) as it:
        await purchase_credits(it.bardge)
    assert (it.request_count, it.server.connections, len(set(it.keys))) == (2, 2, 1)


async def test_deadline_is_over_all_attempts() -> None:
    """``Timeouts.total`` ends a call at any point, cutting the last attempt short."""
    clock = ManualClock()
    begun = clock.elapsed()
    async with open_rig(
        advance_then(clock, 20), advance_then(clock, 20), advance_then(clock, 10), clock=clock, timeout=50
    ) as it:
        found = await fail_without_pending(it)
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (found.timed_out, it.request_count, clock.elapsed() - begun) == (True, 3, 50)


async def test_deadline_of_a_get() -> None:
    """A GET that is ended by its deadline says so."""
    clock = ManualClock()
    async with open_rig(advance_then(clock, 5), clock=clock, timeout=5) as it:
        found = await fail_without_pending(it, get_credits)
    assert (type(found), found.timed_out, found.attempts) == (errors.NoAnswerError, True, 1)


async def test_waits_are_bounded_by_the_policy() -> None:
    """Waits between attempts are at most the policy's, doubling."""
    async with open_rig(cut(), retry=RetryPolicy(base=1, cap=2.5)) as it:
        await fail_without_pending(it)
    assert len(it.clock.sleeps) == 3
    assert all(0 <= wait <= most for wait, most in zip(it.clock.sleeps, (1, 2, 2.5), strict=True))


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_waited_for(status: int) -> None:
    """``Retry-After`` is waited out in full before the next attempt."""
    async with open_rig(error(status, Retry_After="7"), reply(200, {"balance": 5})) as it:
        await get_credits(it.bardge)
    assert sum(it.clock.sleeps) >= 7


async def test_retry_after_as_a_date() -> None:
    """A date in ``Retry-After`` is read against the wall clock."""
    clock = ManualClock(wall=784_111_777.0)
    async with open_rig(
        error(429, Retry_After="Sun, 06 Nov 1994 08:49:57 GMT"), reply(200, {"balance": 5}), clock=clock
    ) as it:
        await get_credits(it.bardge)
    assert sum(clock.sleeps) >= 20


async def test_retry_after_beyond_the_cap() -> None:
    """A ``Retry-After`` above the cap ends the call immediately, and is reported."""
    async with open_rig(error(429, Retry_After="61")) as it:
        found = await fail_without_pending(it)
    assert (type(found), found.retry_after, it.request_count, it.clock.sleeps) == (errors.RateLimitError, 61, 1, [])


async def test_absurd_retry_after() -> None:
    """A header beyond the calendar does not break the call."""
    odd = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
    async with open_rig(error(429, Retry_After=odd), BOUGHT) as it:
        await purchase_credits(it.bardge)
    assert it.request_count == 2


@pytest.mark.parametrize(
    "then",
    [error(401), error(403), error(429), error(500), error(503), reply(404, body=HTML), reply(200, body=HTML)],
    ids=["401", "403", "429", "500", "503", "404 page", "HTML"],
)
async def test_cut_then_something_else(then: Step) -> None:
    """A POST that was cut stays in doubt, until a later response settles it."""
    async with open_rig(cut(), then) as it:
        found = await fail_without_pending(it)
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (found.sent, len(set(it.keys))) == (True, 1)


async def test_cut_then_settled() -> None:
    """A later 404 with the API's error object settles the doubt."""
    async with open_rig(cut(), error(404, "invalid_request_error", "resource_not_found")) as it:
        found = await fail_without_pending(it)
    assert (type(found), found.sent, found.attempts) == (errors.NotFoundError, True, 2)


def cut_and_close(server: ScriptedServer) -> Step:
    async def handle_request(_: Received, writer: asyncio.StreamWriter) -> None:
        server.refuse()
        writer.transport.abort()

    return handle_request


async def test_cut_then_refused() -> None:
    """Connections refused after a cut do not make the POST unsent."""
    async with open_rig() as it:
        it.server.script = [cut_and_close(it.server)]
        found = await fail_without_pending(it)
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (found.sent, found.attempts, it.request_count) == (True, 4, 1)
    assert isinstance(found.last_error, errors.ConnectError)


async def test_refused() -> None:
    """A POST that never got a connection was not sent and may be retried at any time."""
    async with open_rig() as it:
        it.server.refuse()
        found = await fail_without_pending(it)
    assert isinstance(found, errors.ConnectError)
    assert (found.sent, found.attempts, found.retryable, found.timed_out) == (False, 4, True, False)


class Opening(ManualClock):
    """A clock on which the server comes up during a wait."""

    server: ScriptedServer | None = None

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if self.server is not None:
            await self.server.reopen()


async def test_refused_then_answered() -> None:
    """A refused connection is retried, with the same key and bytes."""
    clock = Opening()
    async with open_rig(BOUGHT, clock=clock) as it:
        it.server.refuse()
        clock.server = it.server
        response = await it.bardge.send("credits.purchase", request=PURCHASE, key="order-1")
    assert (response.attempts, it.keys) == (2, ["order-1"])


UNPROTECTED: dict[str, Callable[[BardgeClient], Awaitable[Any]]] = {
    "conflict K?": lambda b: b.bookings.cancel("booking_1"),
    "twice K?": lambda b: b.lookups.initiate(m.InitiateLookup(issuer_id="i", client_id="c")),
    "no row": lambda b: b.request("POST", "/new", request={"a": 1}),
}


@pytest.mark.parametrize("call", UNPROTECTED.values(), ids=UNPROTECTED)
async def test_unprotected_posts_are_not_repeated(call: Callable[[BardgeClient], Awaitable[Any]]) -> None:
    """A POST without a protecting key that was cut ends immediately as unknown."""
    async with open_rig(cut()) as it:
        found = await fail_without_pending(it, call)
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (it.request_count, found.may_repeat, found.window_closes_at) == (1, False, None)


async def test_keyed_request_is_repeated() -> None:
    """``request(keyed=True)`` declares that the server honours the key."""
    async with open_rig(cut(), reply(200, {"a": 1})) as it:
        response = await it.bardge.request("POST", "/new", request={"a": 1}, keyed=True)
    assert (response.value, response.attempts, len(set(it.keys))) == ({"a": 1}, 2, 1)


async def test_max_attempts_counts_the_first() -> None:
    """``max_attempts=1`` means no retry."""
    async with open_rig(cut(), retry=RetryPolicy(max_attempts=1)) as it:
        await fail_without_pending(it, get_credits)
    assert it.request_count == 1


async def test_user_deadline_around_a_call() -> None:
    """``anyio.fail_after`` around a call works, and leaves the client usable."""
    async with open_rig(hang(), reply(200, {"balance": 5})) as it:
        with pytest.raises(TimeoutError), anyio.fail_after(0.05):
            await get_credits(it.bardge)
        assert (await get_credits(it.bardge)).balance == 5


async def cancel_call(it: Rig, reached: anyio.Event, call: Callable[[BardgeClient], Awaitable[Any]]) -> list[str]:
    """Cancel a call once its request has arrived; return the notes on the cancellation."""
    task = asyncio.ensure_future(call(it.bardge))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return list(getattr(caught.value, "__notes__", []))


async def test_cancelled_post_leaves_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    """A POST cancelled after it was sent adds endpoint and key to the cancellation and logs a WARNING with them."""
    reached = anyio.Event()
    async with open_rig(hang(reached)) as it:
        notes = await cancel_call(it, reached, purchase_credits)
        key = it.keys[0]
    warnings = [r.getMessage() for r in caplog.records if (r.name, r.levelno) == ("bardge_async", logging.WARNING)]
    assert len(notes) == len(warnings) == 1
    assert all("credits.purchase" in text and str(key) in text for text in [*notes, *warnings])


async def test_cancelled_get_leaves_none(caplog: pytest.LogCaptureFixture) -> None:
    """A cancelled GET changed nothing, so it gets no note."""
    reached = anyio.Event()
    async with open_rig(hang(reached)) as it:
        notes = await cancel_call(it, reached, get_credits)
    assert (notes, [r for r in caplog.records if r.levelno >= logging.WARNING]) == ([], [])


class Endless(ManualClock):
    """A clock on which a wait never ends; ``reached`` is set once a call waits."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = anyio.Event()

    async def sleep(self, seconds: float) -> None:
        self.reached.set()
        await anyio.sleep_forever()


async def test_cancelled_wait_after_a_cut() -> None:
    """A POST cancelled while it waits for its next attempt leaves the same trace."""
    clock = Endless()
    async with open_rig(cut(), clock=clock) as it:
        notes = await cancel_call(it, clock.reached, purchase_credits)
    assert str(it.keys[0]) in "".join(notes)


FIELDS = (
    "endpoint",
    "idempotency_key",
    "attempts",
    "sent",
    "timed_out",
    "retryable",
    "retry_after",
    "request_id",
)
ENDS: dict[str, tuple[Step, type[errors.BardgeError]]] = {
    "outcome unknown": (reply(500, body=HTML, headers={"Bardge-Request-Id": "req_1"}), errors.OutcomeUnknownError),
    "decode": (reply(200, [1], {"Bardge-Request-Id": "req_1"}), errors.DecodeError),
    "refused": (error(400, Bardge_Request_Id="req_1"), errors.InvalidRequestError),
    "reused": (
        error(409, "idempotency_error", "idempotency_key_reused", Bardge_Request_Id="req_1"),
        errors.IdempotencyKeyReusedError,
    ),
    "rate limit": (error(429, Retry_After="99", Bardge_Request_Id="req_1"), errors.RateLimitError),
}


@pytest.mark.parametrize(("step", "kind"), ENDS.values(), ids=ENDS)
async def test_errors_carry_the_call(step: Step, kind: type[errors.BardgeError]) -> None:
    """Every error has endpoint, key, attempts and the rest, and keeps them through ``pickle``."""
    async with open_rig(step) as it:
        with pytest.raises(kind) as caught:
            await it.bardge.send("credits.purchase", request=PURCHASE, key="order-1")
    found = caught.value
    assert (found.endpoint, found.idempotency_key, found.attempts) == ("credits.purchase", "order-1", it.request_count)
    assert (found.sent, found.request_id) == (True, "req_1")
    again = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
    assert [getattr(again, name) for name in FIELDS] == [getattr(found, name) for name in FIELDS]
    assert (str(again), type(again)) == (str(found), kind)


async def test_sent_before_the_last_error() -> None:
    """An error that another attempt raised before anything left still says that an earlier one was sent."""
    transport = FakeTransport(json_response({}, 503), errors.ConfigurationError("the transport was closed"))
    async with BardgeClient("key", "http://127.0.0.1:9", transport=transport, retry=AT_ONCE) as bardge:
        with pytest.raises(errors.ConfigurationError) as caught:
            await get_credits(bardge)
    assert (caught.value.sent, caught.value.attempts, caught.value.endpoint) == (True, 2, "clients.get_credits")


async def test_attempts_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG each attempt logs one line: endpoint, number, status, duration, request id; never a body."""
    caplog.set_level(logging.DEBUG, "bardge_async")
    clock = ManualClock()
    async with open_rig(cut(), advance_then(clock, 2, BOUGHT), clock=clock) as it:
        await purchase_credits(it.bardge)
    lines = [r.getMessage() for r in caplog.records if r.name == "bardge_async"]
    assert len(lines) == 2
    assert all("credits.purchase" in line and "client_abc123" not in line for line in lines)
    assert lines[1] == "credits.purchase attempt 2: 200 in 2000 ms (request id req_2)"


async def test_waiting_for_a_connection_ends() -> None:
    """A call that finds all connections busy ends after ``Timeouts.pool``, not sent."""
    clock = ManualClock()
    reached = anyio.Event()
    async with open_rig(hang(reached), clock=clock, max_connections=1, timeout=Timeouts(pool=3), retry=AT_ONCE) as it:
        busy = asyncio.ensure_future(get_credits(it.bardge))
        await reached.wait()
        waiting = asyncio.ensure_future(fail_without_pending(it))
        await asyncio.sleep(0)
        clock.advance(3)
        found = await waiting
        busy.cancel()
    assert isinstance(found, errors.PoolTimeoutError)
    assert (found.sent, found.timed_out, found.attempts, found.retryable, it.request_count) == (False, True, 0, True, 1)


async def test_closed_client_sends_nothing() -> None:
    """A call on a closed client is rejected as not sent."""
    async with open_rig(BOUGHT) as it:
        await it.bardge.aclose()
        found = await fail_without_pending(it)
    assert (isinstance(found, errors.NotSentError), it.request_count) == (True, 0)


class Answering:
    """A user's transport: it raises or returns what it is given, one by one, repeating the last."""

    def __init__(self, *script: Exception | WireResponse) -> None:
        self.script = list(script)
        self.requests: list[WireRequest] = []

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        self.requests.append(request)
        found = self.script[min(len(self.requests), len(self.script)) - 1]
        if isinstance(found, Exception):
            raise found
        return found

    async def aclose(self) -> None:
        """Close nothing."""


def make_client(transport: Transport) -> BardgeClient:
    return BardgeClient("key", VENDOR, transport=transport, retry=AT_ONCE, clock=ManualClock())


async def test_own_transport() -> None:
    """A user's transport sends whole requests, below the base URL, with the key in the header."""
    transport = Answering(WireResponse(200, {}, b'{"balance": 5}'))
    async with make_client(transport) as bardge:
        await purchase_credits(bardge)
    (request,) = transport.requests
    assert (request.method, request.url) == ("POST", f"{VENDOR}/credit_purchases")
    assert (request.headers["Authorization"], request.body) == (
        "Bearer key",
        b'{"client_id":"client_abc123","package_id":"cpkg_50"}',
    )


async def test_odd_exception_of_a_transport_counts_as_sent() -> None:
    """Whatever a user's transport raises counts as sent, and is never raised to the caller."""
    transport = Answering(RuntimeError("odd"))
    async with make_client(transport) as bardge:
        with pytest.raises(errors.OutcomeUnknownError) as caught:
            await purchase_credits(bardge)
    assert (caught.value.sent, len(transport.requests)) == (True, 4)


async def test_odd_bardge_error_of_a_transport_counts_as_sent() -> None:
    """The same is true of an error of ours that a transport must not raise."""
    async with make_client(Answering(errors.ServerError("odd"))) as bardge:
        with pytest.raises(errors.OutcomeUnknownError):
            await purchase_credits(bardge)


async def test_later_failure_of_the_setup_does_not_hide_a_doubt() -> None:
    """A POST that was cut stays in doubt if the next attempt cannot start."""
    transport = Answering(errors.NoAnswerError("cut"), errors.ConfigurationError("the session was closed"))
    async with make_client(transport) as bardge:
        with pytest.raises(errors.OutcomeUnknownError):
            await purchase_credits(bardge)


async def test_asking_for_the_key_is_within_the_deadline() -> None:
    """A call that times out waiting for its API key ends with its deadline, not sent."""
    clock = ManualClock()
    asked = anyio.Event()

    async def never_return() -> str:
        asked.set()
        await anyio.sleep_forever()
        return "key"

    async with BardgeClient(never_return, VENDOR, transport=Answering(), clock=clock, timeout=5) as bardge:
        task = asyncio.ensure_future(get_credits(bardge))
        await asked.wait()
        clock.advance(5)
        with anyio.move_on_after(0.05):
            await asyncio.wait([task])
        task.cancel()
        with pytest.raises(errors.NotSentError):
            await task
