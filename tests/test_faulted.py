"""A charging POST on which the server's own handler failed is not sent again: the key may be forgotten."""

from __future__ import annotations

import pytest

from bardge_async import BardgeClient, Operation, OperationStatus, RetryPolicy, UpdateIssuedPass, errors
from bardge_async.endpoints import PURCHASE_CREDITS
from bardge_async.testing import FakeTransport
from tests.support.rig import PURCHASE, open_rig
from tests.support.server import Step, cut, error, reply, send_raw

BOUGHT = reply(201, {"balance": 5})
FAULT = error(500)
PLAIN_FAULT = reply(500, body=b"Internal Server Error")
TRUSTING = RetryPolicy(base=0, max_attempts=1, repeat_server_errors=True)


async def unknown(bardge: BardgeClient, key: str = "order-1") -> errors.OutcomeUnknownError:
    with pytest.raises(errors.OutcomeUnknownError) as caught:
        async with bardge.idempotent(key) as once:
            await once.credits.purchase(PURCHASE)
    return caught.value


async def test_entering_again_sends_nothing() -> None:
    """The same key again, within its window, ends as unknown without a request."""
    async with open_rig(FAULT, BOUGHT) as it:
        await unknown(it.bardge)
        await unknown(it.bardge)
        assert it.request_count == 1


async def test_the_same_post_in_the_block_sends_nothing() -> None:
    """The same is true of the same POST again within the block."""
    async with open_rig(FAULT, BOUGHT) as it, it.bardge.idempotent() as once:
        for _ in range(2):
            with pytest.raises(errors.OutcomeUnknownError):
                await once.credits.purchase(PURCHASE)
        assert it.request_count == 1


async def test_a_fault_on_a_repeat_counts_too() -> None:
    """A retry on which the handler failed ends the key, too."""
    async with open_rig(cut(), FAULT, BOUGHT) as it:
        await unknown(it.bardge)
        await unknown(it.bardge)
        assert it.request_count == 2


async def test_errors_say_not_to_repeat() -> None:
    """Neither error, the first one nor that of re-entry, calls a repeat harmless."""
    async with open_rig(FAULT) as it:
        found = [await unknown(it.bardge), await unknown(it.bardge)]
    assert [(one.may_repeat, "do not repeat" in str(one)) for one in found] == [(False, True)] * 2


async def test_who_trusts_the_server_may_enter_again() -> None:
    """With ``repeat_server_errors`` the key is sent again within its window."""
    async with open_rig(FAULT, BOUGHT, retry=TRUSTING) as it:
        found = await unknown(it.bardge)
        async with it.bardge.idempotent("order-1") as once:
            await once.credits.purchase(PURCHASE)
    assert (it.request_count, found.may_repeat) == (2, True)


async def test_sending_again_keeps_the_fault_on_record() -> None:
    """A client that trusts the server records the failure, for clients that do not."""
    async with open_rig(FAULT, cut(), BOUGHT, retry=TRUSTING) as it:
        await unknown(it.bardge)
        await unknown(it.bardge)
        await unknown(it.bardge.with_options(retry=RetryPolicy()))
        assert it.request_count == 2


# What web frameworks send when a handler fails, and what is left of the API's error object.
PAGES = {
    "empty": b"",
    "text": b"Internal Server Error",
    "HTML": b"<h1>Server Error (500)</h1>",
    "error as text": b'{"timestamp":1746700000000,"status":500,"error":"Internal Server Error","path":"/x"}',
    "empty error": b'{"error":{}}',
    "message only": b'{"message":"Internal server error"}',
    "list": b"[]",
    "cut error object": b'{"error":{"type":"api_error","mess',
}
HANDLER_STATUSES = [500, 501, 505, 506, 507, 508, 509, 510, 511, 519, 531, 598, 599]
PROXY_STATUSES = [502, 503, 504, *range(520, 531)]


@pytest.mark.parametrize("body", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("status", HANDLER_STATUSES)
async def test_plain_failure_is_the_handlers(status: int, body: bytes) -> None:
    """A 500 or the like on a charging POST is the handler's failure, whatever its body: nothing is sent again."""
    async with open_rig(reply(status, body=body), BOUGHT) as it:
        first, again = await unknown(it.bardge), await unknown(it.bardge)
        assert (it.request_count, first.may_repeat, again.may_repeat) == (1, False, False)
    last = first.last_error
    assert isinstance(last, errors.ServerError)
    assert (last.status, last.code, last.message, first.request_id) == (status, None, "", last.request_id)


# What comes behind a status line that can be read.
UNREADABLE = {
    "br": b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc",
    "zstd": b"Content-Encoding: zstd\r\nContent-Length: 3\r\n\r\nabc",
    "broken gzip": b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 3\r\n\r\nabc",
    "length of chunks": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    "broken chunk": b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc",
    "many headers": b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"Content-Length: 0\r\n\r\n",
    "long header": b"X: %b\r\nContent-Length: 0\r\n\r\n" % (b"y" * 70_000),
    "no header": b"no colon\r\n\r\n",
}


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"], ids=["", "interim"])
@pytest.mark.parametrize("rest", UNREADABLE.values(), ids=UNREADABLE)
async def test_unreadable_failure_is_the_handlers(rest: bytes, before: bytes) -> None:
    """A 500 that cannot be read further than its status is the handler's failure, too: nothing is sent again."""
    async with open_rig(send_raw(before + b"HTTP/1.1 500 Failed\r\n" + rest), BOUGHT) as it:
        found = await unknown(it.bardge)
        assert (it.request_count, found.may_repeat) == (1, False)
    assert isinstance(found.last_error, errors.ServerError)


@pytest.mark.parametrize("status", PROXY_STATUSES)
async def test_failure_in_between_is_repeated(status: int) -> None:
    """502, 503, 504 and 520 to 530 without the error object come from in between: the POST is sent again."""
    async with open_rig(reply(status, body=b"<h1>no answer</h1>"), BOUGHT) as it:
        assert (await it.bardge.credits.purchase(PURCHASE)).balance == 5
        assert (it.request_count, len(set(it.keys))) == (2, 1)


@pytest.mark.parametrize("status", PROXY_STATUSES)
async def test_error_object_is_not_from_in_between(status: int) -> None:
    """With the API's error object these, too, are the handler's failure: nothing is sent again."""
    async with open_rig(error(status), BOUGHT) as it:
        assert not (await unknown(it.bardge)).may_repeat
        assert not (await unknown(it.bardge)).may_repeat
        assert it.request_count == 1


async def test_plain_failure_after_a_doubt() -> None:
    """On a repeat, too, a plain 500 ends the key."""
    async with open_rig(cut(), PLAIN_FAULT, BOUGHT) as it:
        found = await unknown(it.bardge)
        await unknown(it.bardge)
        assert (it.request_count, found.may_repeat) == (2, False)


async def test_plain_failure_is_trusted_alike() -> None:
    """``repeat_server_errors`` covers a plain 500."""
    async with open_rig(PLAIN_FAULT, PLAIN_FAULT, BOUGHT, retry=RetryPolicy(base=0, repeat_server_errors=True)) as it:
        assert (await it.bardge.credits.purchase(PURCHASE)).balance == 5
        assert it.request_count == 3


async def test_plain_failure_of_a_replay() -> None:
    """A replayed plain 500 is a cached failure: repeated by no policy."""
    replayed = reply(500, body=b"", headers={"X-Idempotent-Replayed": "true"})
    async with open_rig(cut(), replayed, BOUGHT, retry=RetryPolicy(base=0, repeat_server_errors=True)) as it:
        found = await unknown(it.bardge)
        assert (it.request_count, found.may_repeat, type(found.last_error)) == (2, False, errors.ServerError)


async def test_plain_failure_of_harmless_calls() -> None:
    """GETs and harmless POSTs are retried after a plain 500, and end in the ServerError."""
    async with open_rig(PLAIN_FAULT, reply(200, {"balance": 5})) as it:
        assert (await it.bardge.clients.get_credits("c")).balance == 5
    async with open_rig(PLAIN_FAULT, reply(200, {"message": "done"})) as it:
        assert (await it.bardge.passes.update(UpdateIssuedPass(client_id="c"))).message == "done"
    async with open_rig(PLAIN_FAULT) as it:
        with pytest.raises(errors.ServerError, match="500 without the API's error object: the server failed") as caught:
            await it.bardge.clients.get_credits("c")
    assert (caught.value.retryable, caught.value.attempts, it.request_count) == (True, 4, 4)


async def test_plain_failure_is_not_recovered() -> None:
    """``recover()`` and a batch leave such a doubt alone."""
    async with open_rig(PLAIN_FAULT, BOUGHT) as it:
        operation = Operation(PURCHASE_CREDITS, request=PURCHASE, id="order-1")
        found = [outcome.status async for outcome in it.bardge.batch([operation], job="j")]
        assert (found, await it.bardge.recover(), it.request_count) == ([OperationStatus.IN_DOUBT], [], 1)
        [doubt] = await it.bardge.in_doubt()
        assert not doubt.recoverable


HEAD = b"HTTP/1.1 500 Internal Server Error\r\n"
BROKEN = {
    "cut body": send_raw(HEAD + b"Content-Length: 99\r\n\r\n{"),
    "cut chunks": send_raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{}"),
    "bad gzip": reply(500, body=b"no gzip", headers={"Content-Encoding": "gzip"}),
    "too large": send_raw(HEAD + b"Content-Length: 99999999\r\n\r\n{}"),
}


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("step", BROKEN.values(), ids=BROKEN)
async def test_broken_failure_is_the_handlers(step: Step) -> None:
    """This holds for a 500 whose body breaks off or cannot be read: its status line says enough."""
    async with open_rig(step, BOUGHT) as it:
        first, again = await unknown(it.bardge), await unknown(it.bardge)
        assert (it.request_count, first.may_repeat, again.may_repeat) == (1, False, False)
    assert isinstance(first.last_error, errors.ServerError)
    assert (first.last_error.status, first.last_error.code) == (500, None)


async def test_failure_that_takes_too_long() -> None:
    """The same is true where only a transport knows the status, because the body did not arrive in time."""
    cut_off = errors.NoAnswerError("timed out waiting for the response")
    cut_off.status, cut_off.timed_out = 500, True
    fake = FakeTransport(cut_off)
    async with BardgeClient("key", transport=fake) as bardge:
        first, again = await unknown(bardge), await unknown(bardge)
    assert (len(fake.requests), first.may_repeat, again.may_repeat, first.timed_out) == (1, False, False, True)


@pytest.mark.parametrize("status", [200, 400, 502, 503])
async def test_other_broken_response_is_repeated(status: int) -> None:
    """Any other response that breaks off says nothing: the POST is sent again."""
    async with open_rig(send_raw(b"HTTP/1.1 %d X\r\nContent-Length: 99\r\n\r\n{" % status), BOUGHT) as it:
        assert (await it.bardge.credits.purchase(PURCHASE)).balance == 5
        assert (it.request_count, len(set(it.keys))) == (2, 1)
