"""Which rules of pagination the doctor finds broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from tests.doctor.api import (
    JSON,
    PACKAGES,
    Query,
    examine_answers,
    examine_packages,
    find_row,
    list_packages,
    make_packages,
    take_page,
    wrap,
)
from tests.support.server import Step, error, reply

Change = Callable[[list[JSON], Query], JSON]


def include_cursor(items: list[JSON], query: Query) -> JSON:
    """Start a page with the item that ``starting_after`` names."""
    if "starting_after" not in query:
        return take_page(items, query)
    start = [item["id"] for item in items].index(query["starting_after"])
    return wrap(items[start : start + int(query["limit"])], more=True)


BROKEN: Final[dict[str, tuple[Change, tuple[str, ...]]]] = {
    "limit is ignored": (
        lambda items, query: take_page(items, {**query, "limit": "100"}),
        ("limit=2 returned 5 items",),
    ),
    "limit is another one": (
        lambda items, query: (
            take_page(items, {**query, "limit": str(min(int(query["limit"]), 1))})
            if query["limit"] != "100"
            else take_page(items, query)
        ),
        (
            "limit=2 does not return the first items of the list",
            "starting_after does not return the items after the cursor",
        ),
    ),
    "starting_after is ignored": (
        lambda items, query: take_page(items, {"limit": query["limit"]}),
        ("starting_after does not return the items after the cursor",),
    ),
    "starting_after is inclusive": (
        include_cursor,
        ("starting_after does not return the items after the cursor",),
    ),
    "oldest first": (
        lambda items, query: take_page(items[::-1], query),
        ("the list is not newest first",),
    ),
    "short pages from the other end": (
        lambda items, query: take_page(items if query["limit"] == "100" else items[::-1], query),
        (
            "limit=2 does not return the first items of the list",
            "starting_after does not return the items after the cursor",
        ),
    ),
    "never more": (
        lambda items, query: {**take_page(items, query), "has_more": False},
        ("has_more is false although more items follow",),
    ),
    "an id twice": (
        lambda items, query: take_page([*items, items[0]], query),
        ("the list has an id twice", "the list is not newest first"),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_rule(name: str) -> None:
    """A list that breaks a rule contradicts it, and no other rule."""
    change, expected = BROKEN[name]
    assert (await examine_packages(list_packages(change))).paging == expected


@pytest.mark.parametrize("count", [0, 1, 2, 3, 250])
async def test_rules_that_are_kept(count: int) -> None:
    """A list that keeps the rules contradicts nothing, however long it is."""
    assert (await examine_packages(list_packages(count=count))).paging == ()


async def test_more_than_the_largest_limit() -> None:
    """A page longer than ``limit=100`` breaks a rule."""
    row = await examine_packages(list_packages(lambda items, _: wrap(items), count=101))
    assert "limit=100 returned 101 items" in row.paging


async def test_refused_cursor() -> None:
    """A server that refuses ``starting_after`` breaks the rules of pagination; the fields count all the same."""

    def answer(query: Query) -> Step:
        return error(400) if "starting_after" in query else reply(payload=take_page(make_packages(5), query))

    row = await examine_packages(answer)
    assert row.paging == ("a page with limit and starting_after is refused (400)",)
    assert row.fields


async def test_failing_cursor() -> None:
    """A server that fails for now is no contradiction."""

    def answer(query: Query) -> Step:
        return error(500) if "starting_after" in query else reply(payload=take_page(make_packages(5), query))

    assert (await examine_packages(answer)).paging == ()


async def test_list_that_grows() -> None:
    """An item that is added while the list is examined breaks no rule."""
    counts = iter([5, 6])
    last = 6

    def answer(query: Query) -> Step:
        return reply(payload=take_page(make_packages(next(counts, last)), query))

    answers = {PACKAGES: answer}
    assert find_row(await examine_answers(answers), "credits.list_packages").paging == ()


NEAR: Final[dict[str, tuple[list[float], tuple[str, ...]]]] = {
    "nearest first": ([1, 2.5, 3], ()),
    "farthest first": ([3, 2.5, 1], ("with lat and lon, the list is not nearest first",)),
}


@pytest.mark.parametrize("name", NEAR)
async def test_near(name: str) -> None:
    """With coordinates, providers come nearest first."""
    distances, expected = NEAR[name]
    items = [{"id": f"prov_{number}", "distance": one} for number, one in enumerate(distances)]
    row = find_row(
        await examine_answers({"/providers": lambda query: reply(payload=take_page(items, query))}), "providers.list"
    )
    assert row.paging == expected


async def test_refused_coordinates() -> None:
    """A server that refuses ``lat`` and ``lon`` breaks a rule."""

    def answer(query: Query) -> Step:
        return error(400) if "lat" in query else reply(payload=take_page([], query))

    row = find_row(await examine_answers({"/providers": answer}), "providers.list")
    assert row.paging == ("lat and lon are refused (400)",)
