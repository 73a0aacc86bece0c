"""For any list, size, limit, start, fault and interruption: the server's items, once each, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bardge_async import BardgeError, Booking, InvalidArgumentError, Walk
from tests.support.lists import EMPTY, HostileList, ListRig, Play, make_ids, omit_member, replace_answer, serve_list
from tests.support.server import cut, error, reply

BOUNDED = settings(
    max_examples=200, derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
FAULTS: dict[str, Play] = {
    "5xx": replace_answer(error(500)),
    "page": replace_answer(reply(503, body=b"<html>")),
    "cut": replace_answer(cut()),
    "empty": EMPTY,
    "shape": omit_member("has_more"),
    "busy": replace_answer(error(429)),
    "refused": replace_answer(error(400, "invalid_request_error")),
}
INTERRUPTIONS = ("break", "dropped", "text", "typed", "cancel", "map", "unordered", "pages", "first")


@st.composite
def draw_cases(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a list, a walk over it, faults by request number, and interruptions by the count of items so far."""
    length = draw(st.integers(0, 30))
    side = draw(st.sampled_from([None, "starting_after", "ending_before"])) if length else None
    return {
        "length": length,
        "side": side,
        "at": draw(st.integers(0, length - 1)) if side else 0,
        "page_size": draw(st.integers(1, 12)),
        "most": draw(st.integers(1, 15)),
        "limit": draw(st.none() | st.integers(0, 40)),
        "read_ahead": draw(st.integers(0, 4)),
        "faults": draw(st.dictionaries(st.integers(1, 30), st.sampled_from(sorted(FAULTS)), max_size=8)),
        "cuts": draw(st.lists(st.tuples(st.sampled_from(INTERRUPTIONS), st.integers(1, 9)), max_size=8)),
    }


def list_expected(case: dict[str, Any]) -> list[str]:
    listed = make_ids(case["length"])
    if case["side"] == "starting_after":
        listed = listed[case["at"] + 1 :]
    elif case["side"] == "ending_before":
        listed = listed[: case["at"]][::-1]
    return listed[: case["limit"]]


def get_walk_options(case: dict[str, Any]) -> dict[str, Any]:
    start = {case["side"]: f"b{case['at']}"} if case["side"] else {}
    return {"page_size": case["page_size"], "limit": case["limit"], "read_ahead": case["read_ahead"], **start}


async def iterate_walk(walk: Walk[Booking], way: str) -> AsyncGenerator[str]:
    """Iterate in one of the ways."""

    async def read_name(item: Booking) -> str:
        await asyncio.sleep(0)
        return item.id or ""

    if way == "pages":
        async for page in walk.pages():
            for item in page.items:
                yield item.id or ""
    elif way in {"map", "unordered"}:
        async for found in walk.map(read_name, concurrency=4, ordered=way == "map"):
            yield found
    else:
        async for item in walk:
            yield item.id or ""


async def take_stretch(rig: ListRig, walk: Walk[Booking], way: str, count: int, found: list[str]) -> bool:
    """Take some items, then interrupt; return whether the end was reached."""
    if way == "first":
        first = await walk.first()
        found += [first.id or ""] if first else []
        return first is None
    if way == "dropped":
        async for item in walk:
            found.append(item.id or "")
            count -= 1
            if not count:
                return False
        return True
    source = iterate_walk(walk, way)
    taken = 0
    try:
        async for name in source:
            found.append(name)
            taken += 1
            # A page was delivered whole: it is taken whole.
            if taken >= count and (way != "pages" or not _is_in_page(walk, name)):
                return False
    finally:
        await source.aclose()
    return True


def _is_in_page(walk: Walk[Booking], name: str) -> bool:
    return f'"after":"{name}"' not in walk.cursor


async def walk_to_the_end(case: dict[str, Any]) -> list[str]:
    listed = HostileList(
        make_ids(case["length"]), {n: FAULTS[kind] for n, kind in case["faults"].items()}, most=case["most"]
    )
    found: list[str] = []
    async with serve_list(listed) as rig:
        walk = rig.start_walk(**get_walk_options(case))
        cuts = list(case["cuts"])
        for _ in range(200):
            way, count = cuts.pop(0) if cuts else ("", 1000)
            try:
                if way == "cancel":
                    await _cancel_walk(rig, walk, count, found)
                elif await take_stretch(rig, walk, way, count, found) and not cuts:
                    break
            except BardgeError as failure:
                told = failure.cursor
            else:
                told = walk.cursor
            assert told == walk.cursor
            walk = resume_walk(rig, walk, way, case)
        assert await _wait_until_idle(rig)
    return found


async def _cancel_walk(rig: ListRig, walk: Walk[Booking], count: int, found: list[str]) -> None:
    task = asyncio.create_task(take_stretch(rig, walk, "", 1000, found))
    for _ in range(count):
        await asyncio.sleep(0)
    task.cancel()
    _, _ = await asyncio.wait({task})
    if not task.cancelled() and isinstance(task.exception(), AssertionError):
        await task


async def _wait_until_idle(rig: ListRig) -> bool:
    for _ in range(50):
        if rig.is_settled():
            return True
        await asyncio.sleep(0)
    return False


def resume_walk(rig: ListRig, walk: Walk[Booking], way: str, case: dict[str, Any]) -> Walk[Booking]:
    """Continue with the same walk, or from its cursor."""
    if way == "text":
        return rig.bardge.resume(walk.cursor)
    if way == "typed":
        return rig.start_walk(**get_walk_options(case)).resume(walk.cursor)
    return walk


@BOUNDED
@given(draw_cases())
def test_once_each_in_order(case: dict[str, Any]) -> None:
    """Whatever happens, the items delivered are the list's, once each, and in order except with `unordered`."""
    found = asyncio.run(walk_to_the_end(case))
    if any(way == "unordered" for way, _ in case["cuts"]):
        found.sort(key=make_ids(case["length"]).index, reverse=case["side"] == "ending_before")
    assert found == list_expected(case)


@BOUNDED
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_garbage_cursors(garbage: Any) -> None:
    """Anything that is no cursor is rejected as a wrong argument."""

    async def check_refusal() -> None:
        from bardge_async import BardgeClient  # noqa: PLC0415

        async with BardgeClient("key", "http://127.0.0.1:1") as bardge:
            for text in (garbage, repr(garbage), str(garbage)):
                with pytest.raises(InvalidArgumentError):
                    bardge.resume(text)

    asyncio.run(check_refusal())
