"""The initial data: the same every time for a seed, large enough, quickly created."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import pytest

from bardge_async.sandbox import Sandbox, SandboxClock

START = dt.datetime(2026, 5, 19, 12, tzinfo=dt.UTC)


async def read_initial_data(sandboxed: Any, seed: int) -> list[Any]:
    """Read data of every kind."""
    async with sandboxed(seed=seed, clock=SandboxClock(START)) as raw:
        paths = ("/classes/class_0007", "/clients/client_0042", "/providers", "/clients/client_abc123/bookings")
        return [(await raw.get(path)).json for path in paths]


async def test_same_seed_gives_the_same_data(sandboxed: Any) -> None:
    """Two starts with one seed on one day return the same data."""
    assert await read_initial_data(sandboxed, 7) == await read_initial_data(sandboxed, 7)


async def test_other_seed_gives_other_data(sandboxed: Any) -> None:
    """Another seed changes names and places."""
    assert await read_initial_data(sandboxed, 7) != await read_initial_data(sandboxed, 8)


@pytest.mark.parametrize(
    ("path", "least"),
    [("/passes", 10), ("/providers", 40), ("/classes", 90), ("/clients/client_abc123/bookings", 1_000)],
)
async def test_lists_are_long_enough(raw: Any, path: str, least: int) -> None:
    """There is enough data to page through."""
    count = 0
    query: dict[str, str] = {}
    while True:
        reply = await raw.get(path, limit=100, **query)
        count += len(reply.ids)
        if not reply.json["has_more"]:
            break
        query = {"starting_after": reply.ids[-1]}
    assert count >= least


async def test_providers_are_in_lagos_and_abuja(raw: Any) -> None:
    """There are forty providers, in two cities."""
    found = (await raw.get("/providers", limit=100)).json["data"]
    assert (len(found), {item["city"] for item in found}) == (40, {"Lagos", "Abuja"})


async def test_classes_reach_four_weeks_ahead(raw: Any) -> None:
    """The dates of a class lie within the next four weeks."""
    dates = (await raw.get("/classes/class_0001")).json["instances"]
    last = dt.datetime.fromtimestamp(dates[-1]["scheduled_for"], dt.UTC) - raw.sandbox.clock.now()
    assert (len(dates), 21 < last.days < 29) == (12, True)


async def test_client_to_start_with_has_pass_and_credits(raw: Any) -> None:
    """``client_abc123`` holds ``brgpass_abc123``, active, and credits."""
    held = (await raw.get("/issued_passes/client_abc123")).json
    credits = (await raw.get("/clients/client_abc123/credits")).json["balance"]
    assert (held["id"], held["status"], credits) == ("brgpass_abc123", "ACTIVE", 25)


async def test_start_takes_well_under_a_second() -> None:
    """Even the first start, which generates the data, is quick."""
    before = time.perf_counter()
    async with Sandbox(seed=4711):
        assert time.perf_counter() - before < 1
