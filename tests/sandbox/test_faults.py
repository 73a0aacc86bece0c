"""Every kind of fault, as a plain HTTP client sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from bardge_async.errors import InvalidArgumentError
from bardge_async.sandbox import Fault, FaultPlan

BUY = "/credit_purchases"
ROW = "credits.purchase"


def count_charges(raw: Any) -> int:
    """Count the charges of the reseller."""
    return len(raw.sandbox.account())


@pytest.mark.parametrize(("after", "charged"), [(False, 0), (True, 1)], ids=["before", "after"])
@pytest.mark.parametrize("status", [302, 400, 418, 429, 500, 503])
async def test_status(raw: Any, buy: Any, status: int, *, after: bool, charged: int) -> None:
    """Any status replaces the work or follows it, once, as the API's error object."""
    raw.sandbox.faults.script([Fault(kind="status", endpoint=ROW, status=status, after=after)])
    reply = await raw.send("POST", BUY, json=buy, allow_redirects=False)
    assert (reply.status, reply.error["request_id"], count_charges(raw)) == (
        status,
        reply.headers["Bardge-Request-Id"],
        charged,
    )
    assert (await raw.post(BUY, buy)).status == 201


async def test_status_after_the_work_leaves_the_answer(raw: Any, buy: Any) -> None:
    """An HTML page instead of a response does not change what the idempotency store replays."""
    raw.sandbox.faults.script([Fault(kind="status", status=504, error=False, after=True)])
    first, second = [await raw.post(BUY, buy, key="order-1") for _ in range(2)]
    assert (first.status, second.status, second.replayed, count_charges(raw)) == (504, 201, True, 1)


async def test_status_as_a_proxy_says_it(raw: Any) -> None:
    """Without the error object the response is an HTML page, without a request id."""
    raw.sandbox.faults.script([Fault(kind="status", status=502, error=False)])
    reply = await raw.get("/passes")
    assert (reply.headers["Content-Type"], reply.body[:6], "Bardge-Request-Id" in reply.headers) == (
        "text/html",
        b"<html>",
        False,
    )


@pytest.mark.parametrize(("asked", "header"), [(30, "30"), (1.5, "1.5"), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
async def test_retry_after(raw: Any, asked: Any, header: str | None) -> None:
    """``Retry-After`` is sent in seconds or as given."""
    raw.sandbox.faults.script([Fault(kind="status", status=503, retry_after=asked)])
    assert (await raw.get("/passes")).headers["Retry-After"] == (header or asked)


async def test_status_without_a_body(raw: Any) -> None:
    """A 204 has no body."""
    raw.sandbox.faults.script([Fault(kind="status", status=204)])
    assert ((reply := await raw.get("/passes")).status, reply.body) == (204, b"")


@pytest.mark.parametrize(("after", "charged"), [(False, 0), (True, 1)], ids=["before", "after"])
async def test_latency(raw: Any, buy: Any, *, after: bool, charged: int) -> None:
    """A latency of an hour by the sandbox's clock, before the work or after it."""
    raw.sandbox.faults.script([Fault(kind="latency", seconds=3600, after=after)])
    task = asyncio.ensure_future(raw.post(BUY, buy))
    while not raw.sandbox.clock.timers:  # noqa: ASYNC110 - the server does not signal that it waits
        await asyncio.sleep(0.001)
    early = count_charges(raw)
    raw.sandbox.clock.advance(3600)
    assert (early, (await task).status, count_charges(raw)) == (charged, 201, 1)


@pytest.mark.parametrize(("keep", "arrived"), [(0, 0), (7, 7), (None, None)])
async def test_truncation(raw: Any, buy: Any, keep: int | None, arrived: int | None) -> None:
    """The work is done, and the body ends before its declared length."""
    raw.sandbox.faults.script([Fault(kind="truncate", keep=keep)])
    headers = {"Authorization": f"Bearer {raw.sandbox.api_key}"}
    async with raw.session.post(raw.sandbox.base_url + BUY, json=buy, headers=headers) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
        whole = int(response.headers["Content-Length"])
        got = response.content.total_bytes
    assert (response.status, got, count_charges(raw)) == (201, whole // 2 if arrived is None else arrived, 1)


async def test_drip(raw: Any, buy: Any) -> None:
    """The response comes in ten pieces, by the sandbox's clock, and is complete."""
    raw.sandbox.faults.script([Fault(kind="drip", seconds=100)])
    task = asyncio.ensure_future(raw.post(BUY, buy))
    steps = 0
    while not task.done():
        if raw.sandbox.clock.timers:
            steps += 1
            raw.sandbox.clock.advance(10)
        await asyncio.sleep(0.001)
    assert ((await task).json["balance"], steps) == (75, 10)


async def test_malformed_json(raw: Any, buy: Any) -> None:
    """The work is done, and its response is complete but not JSON."""
    raw.sandbox.faults.script([Fault(kind="malformed")])
    reply = await raw.post(BUY, buy)
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.body)
    assert (reply.status, reply.headers["Content-Type"], count_charges(raw)) == (201, "application/json", 1)


async def test_limit(raw: Any, buy: Any) -> None:
    """Two requests a second, by the sandbox's clock: the third gets a 429 and is not executed; later ones pass."""
    raw.sandbox.faults.script([Fault(kind="limit", endpoint=ROW, rate=2)])
    replies = [await raw.post(BUY, buy) for _ in range(3)]
    assert [(r.status, r.headers.get("Retry-After")) for r in replies] == [(201, None), (201, None), (429, "1")]
    raw.sandbox.clock.advance(1)
    assert ((await raw.post(BUY, buy)).status, count_charges(raw)) == (201, 3)


async def test_limit_spares_other_rows_and_ends(raw: Any, buy: Any) -> None:
    """A limit of one endpoint counts that endpoint only; refusals use it up, too."""
    raw.sandbox.faults.script([Fault(kind="limit", endpoint=ROW, rate=1, times=1)])
    await raw.get("/passes")
    statuses = [(await raw.post(BUY, buy)).status for _ in range(3)]
    assert (statuses, raw.sandbox.faults.pending) == ([201, 429, 201], ())


async def test_faults_come_in_order_by_row(raw: Any) -> None:
    """The first matching fault is applied, as many times as it says."""
    raw.sandbox.faults.script(
        [
            Fault(kind="status", status=500, endpoint=ROW),
            Fault(kind="status", status=501, times=2),
            Fault(kind="status", status=502, times=None),
        ]
    )
    assert [(await raw.get("/passes")).status for _ in range(4)] == [501, 501, 502, 502]


async def test_faults_are_in_the_record(raw: Any) -> None:
    """The request log records the fault, and the response."""
    raw.sandbox.faults.script([Fault(kind="status", status=503)])
    await raw.post(BUY, b"{}")
    (seen,) = raw.sandbox.requests
    assert (seen.fault, seen.status, seen.body) == ("status", 503, b"{}")


async def test_random_faults_are_the_same_for_a_seed(raw: Any) -> None:
    """A third of the requests fails, the same ones for a seed and others for another."""

    async def collect_statuses(seed: int) -> list[int]:
        raw.sandbox.faults.random(0.3, seed, [Fault(kind="status", status=503)])
        return [(await raw.get("/passes")).status for _ in range(30)]

    first, second, third = [await collect_statuses(seed) for seed in (7, 7, 8)]
    assert (first == second, first == third, 3 <= first.count(503) <= 15) == (True, False, True)


async def test_random_faults_end(raw: Any) -> None:
    """Rate 1 hits all requests of an endpoint; ``clear`` and rate 0 end it."""
    faults: FaultPlan = raw.sandbox.faults
    seen: list[list[int]] = []
    changes: list[Callable[[], None]] = [
        lambda: faults.random(1, 1, [Fault(kind="status", status=503)], endpoint="passes.list"),
        faults.clear,
        lambda: faults.random(0, 1),
    ]
    for change in changes:
        change()
        seen.append([(await raw.get(path)).status for path in ("/passes", "/issuers")])
    assert seen == [[503, 200], [200, 200], [200, 200]]


async def test_random_faults_by_default_are_a_networks() -> None:
    """By default cuts, half responses and HTML pages are drawn, and nothing that takes time."""
    faults = FaultPlan()
    faults.random(1, 3)
    drawn = {fault.kind.value for _ in range(100) if (fault := faults.take_fault(None, 0.0))}
    assert drawn == {"cut_before", "cut_after", "truncate", "status"}


WRONG: list[dict[str, Any]] = [
    {"kind": "status"},
    {"kind": "status", "status": 99},
    {"kind": "status", "status": "503"},
    {"kind": "status", "status": 503, "seconds": 1},
    {"kind": "status", "status": 503, "retry_after": -1},
    {"kind": "status", "status": 503, "retry_after": "1\r\nX: y"},
    {"kind": "status", "status": 503, "error": 1},
    {"kind": "latency"},
    {"kind": "latency", "seconds": float("inf")},
    {"kind": "drip", "seconds": -1},
    {"kind": "limit"},
    {"kind": "limit", "rate": 0},
    {"kind": "truncate", "keep": True},
    {"kind": "cut_after", "after": True},
    {"kind": "malformed", "times": 0},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
async def test_fault_that_could_not_happen_is_refused(wrong: Any) -> None:
    """A missing field, one out of range or of another kind is an error where the fault is made."""
    with pytest.raises(InvalidArgumentError, match="Fault"):
        Fault(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"rate": 1.1}, {"rate": -1}, {"faults": []}, {"faults": [Fault(kind="limit", rate=1)]}, {"endpoint": "x"}]
)
async def test_wrong_dice_are_refused(wrong: Any) -> None:
    """A rate beyond 1, nothing to draw from, a limit and an unknown endpoint are rejected."""
    dice: dict[str, Any] = {"rate": 0.5, "seed": 1, **wrong}
    with pytest.raises(InvalidArgumentError):
        FaultPlan().random(**dice)
