"""The idempotency store behaves as section 3 of the notes says."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import aiohttp
import pytest

from bardge_async.endpoints import PURCHASE_CREDITS
from bardge_async.sandbox import SandboxClock
from bardge_async.sandbox._idempotency import IdempotencyStore, SandboxResponse
from bardge_async.sandbox._request import Reseller, SandboxRequest
from bardge_async.sandbox._settings import SandboxSettings
from bardge_async.sandbox._store import Store

BUY = "/credit_purchases"
WRONG = {"client_id": "client_abc123"}


async def test_same_key_and_body_is_replayed(sandboxed: Any, buy: dict[str, str]) -> None:
    """A repeat gets the first response, marked, and moves no money."""
    async with sandboxed() as raw:
        first, second = [await raw.post(BUY, buy, key="order-1") for _ in range(2)]
        assert (second.replayed, second.json, len(raw.sandbox.ledger("client_abc123"))) == (True, first.json, 3)


async def test_first_answer_is_not_marked(sandboxed: Any, buy: dict[str, str]) -> None:
    """The header is on replays only."""
    async with sandboxed() as raw:
        assert not (await raw.post(BUY, buy, key="order-1")).replayed


async def test_other_body_is_refused(sandboxed: Any, buy: dict[str, str]) -> None:
    """A key with a different body is a 409 of its own type."""
    async with sandboxed() as raw:
        await raw.post(BUY, buy, key="order-1")
        reply = await raw.post(BUY, buy | {"package_id": "cpkg_10"}, key="order-1")
        assert (reply.status, reply.error["type"]) == (409, "idempotency_error")


async def test_same_value_in_other_bytes_is_another_body(sandboxed: Any) -> None:
    """The bytes are compared, not the JSON."""
    async with sandboxed() as raw:
        await raw.post(BUY, b'{"client_id":"client_abc123","package_id":"cpkg_50"}', key="order-1")
        reply = await raw.post(BUY, b'{"client_id": "client_abc123", "package_id": "cpkg_50"}', key="order-1")
        assert reply.error["code"] == "idempotency_key_reused"


async def test_path_is_not_in_the_key(sandboxed: Any, buy: dict[str, str]) -> None:
    """The same body at another path gets the first path's answer."""
    async with sandboxed() as raw:
        await raw.post(BUY, buy, key="order-1")
        reply = await raw.post("/issued_passes", buy, key="order-1")
        assert (reply.replayed, reply.json["object"]) == (True, "credit_purchase")


async def test_without_key_each_post_counts(sandboxed: Any, buy: dict[str, str]) -> None:
    """Without a key every request is processed."""
    async with sandboxed() as raw:
        replies = [await raw.post(BUY, buy) for _ in range(2)]
        assert [r.json["balance"] for r in replies] == [75, 125]


async def test_key_is_forgotten_after_the_window(sandboxed: Any, buy: dict[str, str]) -> None:
    """After 90 seconds the same key is a new request."""
    async with sandboxed() as raw:
        await raw.post(BUY, buy, key="order-1")
        raw.sandbox.clock.advance(90)
        reply = await raw.post(BUY, buy, key="order-1")
        assert (reply.replayed, reply.json["balance"]) == (False, 125)


async def test_key_is_remembered_inside_the_window(sandboxed: Any, buy: dict[str, str]) -> None:
    """Just before the 90 seconds are over the response is still stored."""
    async with sandboxed() as raw:
        await raw.post(BUY, buy, key="order-1")
        raw.sandbox.clock.advance(88)
        assert (await raw.post(BUY, buy, key="order-1")).replayed


@pytest.mark.parametrize(("window_from", "replayed"), [("received", False), ("completed", True)])
async def test_window_begins_where_the_switch_says(
    sandboxed: Any, buy: dict[str, str], window_from: str, *, replayed: bool
) -> None:
    """A request that took 60 seconds is forgotten 90 seconds after receipt, or after completion."""
    async with sandboxed(window_from=window_from, latency=60) as raw:
        await run_with_latency(raw, raw.post(BUY, buy, key="order-1"), 60)
        raw.sandbox.clock.advance(40)
        assert (await run_with_latency(raw, raw.post(BUY, buy, key="order-1"), 60)).replayed is replayed


async def test_window_length_is_a_setting(sandboxed: Any, buy: dict[str, str]) -> None:
    """A window of 5 seconds closes after 5 seconds."""
    async with sandboxed(window=5) as raw:
        await raw.post(BUY, buy, key="order-1")
        raw.sandbox.clock.advance(5)
        assert not (await raw.post(BUY, buy, key="order-1")).replayed


@pytest.mark.parametrize("cached", [False, True])
async def test_errors_are_cached_as_the_switch_says(sandboxed: Any, *, cached: bool) -> None:
    """With ``cache_errors`` a repeat of a refused request gets the same refusal, marked; without it a new one."""
    async with sandboxed(cache_errors=cached) as raw:
        first, second = [await raw.post(BUY, WRONG, key="order-1") for _ in range(2)]
        assert (second.replayed, second.json == first.json) == (cached, cached)


async def test_refused_body_may_be_mended_under_the_same_key(sandboxed: Any, buy: dict[str, str]) -> None:
    """If errors are not cached a refused request leaves no trace of its key."""
    async with sandboxed() as raw:
        await raw.post(BUY, WRONG, key="order-1")
        assert (await raw.post(BUY, buy, key="order-1")).status == 201


async def test_second_waits_while_the_first_runs(sandboxed: Any, buy: dict[str, str]) -> None:
    """Two concurrent requests under one key are one purchase, and both get its response."""
    async with sandboxed(latency=30) as raw:
        both = asyncio.gather(*(raw.post(BUY, buy, key="order-1") for _ in range(2)))
        first, second = await run_with_latency(raw, both, 30)
        assert (first.json == second.json, first.replayed ^ second.replayed) == (True, True)


async def test_200_parallel_posts_are_one_charge(sandboxed: Any, buy: dict[str, str]) -> None:
    """200 concurrent requests under one key: one charge, 200 equal responses, 199 of them marked."""
    async with sandboxed() as raw:
        replies = await asyncio.gather(*(raw.post(BUY, buy, key="order-1") for _ in range(200)))
        found = (len({str(r.json) for r in replies}), sum(r.replayed for r in replies))
        assert (*found, len(raw.sandbox.account())) == (1, 199, 1)


async def test_50_resellers_may_use_the_same_keys(sandboxed: Any, buy: dict[str, str]) -> None:
    """A key belongs to its reseller."""
    async with sandboxed(resellers=50) as raw:
        keys = [key for name, key in raw.sandbox.api_keys.items() if name != "disabled"]
        replies = await asyncio.gather(*(raw.post(BUY, buy, key="order-1", api_key=key) for key in keys))
        assert [(r.status, r.replayed) for r in replies] == [(201, False)] * 50


async def test_cut_after_leaves_the_answer_in_the_store(sandboxed: Any, buy: dict[str, str]) -> None:
    """A connection cut after the charge: the repeat gets the response, and is charged once."""
    async with sandboxed() as raw:
        raw.sandbox.cut_after("credits.purchase")
        with pytest.raises(aiohttp.ClientError):
            await raw.post(BUY, buy, key="order-1")
        reply = await raw.post(BUY, buy, key="order-1")
        assert (reply.replayed, len(raw.sandbox.account())) == (True, 1)


async def test_cut_before_does_nothing(sandboxed: Any, buy: dict[str, str]) -> None:
    """A connection cut before the work leaves neither charge nor key."""
    async with sandboxed() as raw:
        raw.sandbox.cut_before("credits.purchase")
        with pytest.raises(aiohttp.ClientError):
            await raw.post(BUY, buy, key="order-1")
        assert (raw.sandbox.account(), (await raw.post(BUY, buy, key="order-1")).replayed) == ((), False)


async def test_second_goes_on_where_the_first_was_broken_off() -> None:
    """If the first request never finished, the one that waited for it is processed itself."""
    settings, store = SandboxSettings(), Store()
    with closing(store), store.transaction():
        store.create_tables()
        keyed = IdempotencyStore(store, SandboxClock(), settings)
        call = SandboxRequest(
            PURCHASE_CREDITS,
            store,
            Reseller(1, "one", enabled=True, lookup_enabled=True),
            "",
            {},
            {},
            b"{}",
            "order-1",
            None,
            0.0,
        )
        first = asyncio.ensure_future(keyed.execute_once(call, asyncio.Event().wait))  # type: ignore[arg-type]
        second = asyncio.ensure_future(keyed.execute_once(call, make_response))
        await asyncio.sleep(0)
        first.cancel()
        assert not (await second).replayed


async def make_response() -> SandboxResponse:
    """Return a finished response."""
    return SandboxResponse(200, b"{}", "req_1")


async def run_with_latency(raw: Any, work: Any, seconds: float) -> Any:
    """Advance the clock until a request with latency is done."""
    task = asyncio.ensure_future(work)
    before = len(raw.sandbox.requests)
    while not task.done() and len(raw.sandbox.requests) == before:
        await asyncio.sleep(0.005)
        raw.sandbox.clock.advance(seconds / 10)
    return await task
