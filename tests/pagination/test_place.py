"""A walk keeps its position over breaks, errors and event loops, in each way of iterating."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from bardge_async import BardgeError, Booking, InvalidArgumentError, PaginationError, Walk
from tests.support.lists import (
    EMPTY,
    HostileList,
    make_ids,
    omit_member,
    read_ids,
    read_rest,
    read_some,
    replace_answer,
    serve_list,
)
from tests.support.loop import run_loop, run_loop_until
from tests.support.server import hang, reply

ALL = make_ids(11)


async def do_nothing(_: Booking) -> None:
    pass


async def test_nothing_is_sent_before_iteration() -> None:
    """Creating a walk, its generators and its cursor sends nothing."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk()
        _ = walk.cursor
        pages, mapped = walk.pages(), rig.start_walk().map(do_nothing)
        await run_loop()
        assert not rig.list.asked
        await pages.aclose()
        await mapped.aclose()


@pytest.mark.parametrize("closing", [True, False])
@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("cut", range(1, 11))
async def test_break_and_go_on(cut: int, wait: bool, closing: bool) -> None:
    """After a break the same walk continues with the next item, immediately or later, closed or not."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=3, read_ahead=2)
        found: list[str | None] = []
        items = aiter(walk)
        async for item in items:
            found.append(item.id)
            if len(found) == cut:
                break
        if closing:
            await items.aclose()
        del items
        if wait:
            await run_loop()
        found += await read_rest(walk)
        assert found == ALL
        await run_loop_until(rig.is_settled)


async def test_plain_break_leaves_nothing() -> None:
    """A plain break while a page is read ahead ends that request and releases the connection."""
    async with serve_list(ALL, {3: replace_answer(hang())}, max_connections=100) as rig:
        async for item in rig.start_walk(page_size=3):
            if item.id == "b3":
                break
        await run_loop_until(rig.is_settled)


async def test_aclosing_leaves_nothing() -> None:
    """Closing a walk ends the request of the page read ahead before it returns."""
    async with serve_list(ALL, {3: replace_answer(hang())}) as rig:
        async with aclosing(aiter(rig.start_walk(page_size=3))) as items:
            async for item in items:
                if item.id == "b3":
                    break
        assert rig.is_settled()


async def test_second_iteration_is_refused() -> None:
    """A second iteration of any kind is rejected while one runs, sends nothing and does not disturb the first."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=3, read_ahead=0)
        found: list[str | None] = []
        async for item in walk:
            found.append(item.id)
            asked = len(rig.list.asked)
            for again in (walk.collect(), walk.count(), walk.first(), anext(iterate_late(walk))):
                with pytest.raises(InvalidArgumentError, match="iterated") as caught:
                    await again
                assert caught.value.cursor == walk.cursor
            for start in (walk.pages, lambda: walk.map(do_nothing), walk.__aiter__):
                with pytest.raises(InvalidArgumentError, match="iterated"):
                    start()
            assert len(rig.list.asked) == asked
        assert found == ALL


async def iterate_late(walk: Any) -> AsyncGenerator[Any]:
    async for item in walk:
        yield item


async def test_error_in_the_callers_code() -> None:
    """An exception of the caller's own ends the iteration after the item that was delivered."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=3)
        with pytest.raises(ZeroDivisionError):
            _ = [1 / 0 async for _ in walk]
        assert await read_rest(walk) == ALL[1:]


async def test_several_event_loops() -> None:
    """A walk that was started in one event loop continues in another."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=3)
        assert await asyncio.to_thread(lambda: asyncio.run(read_some(walk, 4))) == ALL[:4]
        assert await read_rest(walk) == ALL[4:]


# -- limit, start and direction


@pytest.mark.parametrize("limit", [0, 1, 3, 4, 10, 11, 12, 500])
@pytest.mark.parametrize("read_ahead", [0, 1, 4])
async def test_limit(limit: int, read_ahead: int) -> None:
    """The limit counts items in total, and no more is ever requested."""
    async with serve_list(ALL) as rig:
        assert await read_rest(rig.start_walk(limit=limit, page_size=3, read_ahead=read_ahead)) == ALL[:limit]
        assert sum(asked.limit for asked in rig.list.asked) <= max(limit, 0)


async def test_page_size_defaults_to_the_largest() -> None:
    """Without a page size 100 items are requested, not the server's default of 10."""
    async with serve_list(ALL) as rig:
        await read_rest(rig.start_walk())
        assert [asked.limit for asked in rig.list.asked] == [100]


@pytest.mark.parametrize("cut", range(1, 9))
async def test_limit_over_interruptions(cut: int) -> None:
    """The limit counts across breaks and cursors."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(limit=8, page_size=3)
        found = await read_some(walk, cut)
        resumed = rig.bardge.resume(walk.cursor)
        assert found + await read_rest(resumed) == ALL[:8]
        assert found + await read_rest(walk) == ALL[:8]


@pytest.mark.parametrize("read_ahead", range(5))
async def test_backward(read_ahead: int) -> None:
    """With ending_before the nearest item comes first, over all pages to the start of the list."""
    async with serve_list(ALL) as rig:
        assert await read_rest(rig.start_walk(ending_before="b9", page_size=2, read_ahead=read_ahead)) == ALL[8::-1]
        assert [asked.before for asked in rig.list.asked] == ["b9", "b7", "b5", "b3", "b1"]
        assert {asked.after for asked in rig.list.asked} == {None}


async def test_backward_pages() -> None:
    """Pages of a backward walk hold the items in the walk's order."""
    async with serve_list(ALL) as rig:
        pages = [read_ids(page.items) async for page in rig.start_walk(ending_before="b5", page_size=3).pages()]
    assert pages == [["b4", "b3", "b2"], ["b1", "b0"]]


@pytest.mark.parametrize("cut", range(1, 9))
async def test_backward_resumed(cut: int) -> None:
    """A backward walk continues backward from its cursor."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(ending_before="b9", page_size=2)
        found = await read_some(walk, cut)
        assert found + await read_rest(rig.bardge.resume(walk.cursor)) == ALL[8::-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": -1}, "limit: expected a whole number, 0 or more, got -1"),
        ({"limit": 1.5}, "limit: expected a whole number, 0 or more, got 1.5"),
        ({"limit": True}, "limit: expected a whole number, 0 or more, got True"),
        ({"limit": "5"}, "limit: expected a whole number, 0 or more, got '5'"),
        ({"page_size": 0}, "page_size: expected a whole number, 1 to 100, got 0"),
        ({"page_size": 101}, "page_size: expected a whole number, 1 to 100, got 101"),
        ({"page_size": None}, "page_size: expected a whole number, 1 to 100, got None"),
        ({"read_ahead": -1}, "read_ahead: expected a whole number, 0 to 4, got -1"),
        ({"read_ahead": 5}, "read_ahead: expected a whole number, 0 to 4, got 5"),
        ({"starting_after": ""}, "starting_after: expected an item's id, got ''"),
        ({"starting_after": 7}, "starting_after: expected an item's id, got 7"),
        ({"starting_after": "\ud800"}, "starting_after: expected an item's id"),
        ({"ending_before": ""}, "ending_before: expected an item's id, got ''"),
        ({"starting_after": "a", "ending_before": "b"}, "not both"),
    ],
)
async def test_wrong_values(options: dict[str, Any], message: str) -> None:
    """Wrong values are rejected with the allowed range when the walk is created."""
    async with serve_list(ALL) as rig:
        with pytest.raises(InvalidArgumentError) as caught:
            rig.start_walk(**options)
        assert message in str(caught.value)


# -- first, collect, count and pages


async def test_first() -> None:
    """Reading the first item takes one request for one item, and the walk continues after it."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=3)
        assert getattr(await walk.first(), "id", None) == "b0"
        assert [asked.limit for asked in rig.list.asked] == [1]
        assert getattr(await walk.first(), "id", None) == "b1"
        assert await read_rest(walk) == ALL[2:]
        assert await walk.first() is None


async def test_first_of_none() -> None:
    """An empty list has no first item."""
    async with serve_list([]) as rig:
        assert await rig.start_walk().first() is None


async def test_collect_and_count() -> None:
    """Collect and count run to the end, from the walk's position."""
    async with serve_list(ALL) as rig:
        assert read_ids(await rig.start_walk(page_size=3).collect()) == ALL
        walk = rig.start_walk(page_size=3)
        await read_some(walk, 4)
        assert await walk.count() == 7
        assert (await walk.count(), await walk.collect()) == (0, [])


@pytest.mark.parametrize(("bound", "fits"), [(0, False), (3, False), (10, False), (11, True), (None, True)])
async def test_collect_within_a_bound(bound: int | None, fits: bool) -> None:
    """Collect rejects more than its bound, stops there, and leaves the walk at its position."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=3)
        if not fits:
            with pytest.raises(PaginationError, match="max_items") as caught:
                await walk.collect(max_items=bound)
            assert rig.is_settled()
            assert caught.value.cursor == rig.start_walk(page_size=3).cursor
            bound = None
        assert read_ids(await walk.collect(max_items=bound)) == ALL


@pytest.mark.parametrize("bound", [-1, "5", True, 1.5])
async def test_collect_refuses_other_bounds(bound: Any) -> None:
    """A bound is a whole number."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk()
        with pytest.raises(InvalidArgumentError, match="max_items") as caught:
            await walk.collect(max_items=bound)
        assert caught.value.cursor == walk.cursor


@pytest.mark.parametrize("asked", [Walk[Booking].collect, Walk[Booking].count])
async def test_all_or_nothing(asked: Callable[[Walk[Booking]], Awaitable[object]]) -> None:
    """An error in collect or count leaves the walk at its previous position, with that cursor on the error."""
    async with serve_list(ALL, {3: omit_member("has_more")}) as rig:
        walk = rig.start_walk(page_size=3)
        await read_some(walk, 1)
        place = walk.cursor
        with pytest.raises(BardgeError) as caught:
            await asked(walk)
        assert (caught.value.cursor, walk.cursor) == (place, place)
        assert await read_rest(walk) == ALL[1:]


async def test_cursors_of_a_failed_collect() -> None:
    """The cursors on the error of a collect are after what the walk delivered, not after what collect dropped."""
    async with serve_list(ALL, dict.fromkeys(range(2, 6), EMPTY)) as rig:
        walk = rig.start_walk(page_size=6)
        await read_some(walk, 3)
        with pytest.raises(PaginationError) as caught:
            await walk.collect()
        assert len(caught.value.cursors) == 3
        for cursor in (caught.value.cursor or "", *caught.value.cursors):
            assert await read_rest(rig.bardge.resume(cursor)) == ALL[3:]


async def test_pages() -> None:
    """Pages include the envelope, and after a break inside a page the rest of it."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=4)
        await read_some(walk, 1)
        pages = [page async for page in walk.pages()]
    assert [read_ids(page.items) for page in pages] == [ALL[1:4], ALL[4:8], ALL[8:]]
    assert [page.has_more for page in pages] == [True, True, False]
    assert {(page.message, page.url) for page in pages} == {("retrieved", "/v3/x")}


async def test_request_id_of_a_page() -> None:
    """A page has the request id of its response, and so does an error about it."""
    page = HostileList([]).make_page(["a"], more=True)
    step = reply(200, page, {"Bardge-Request-Id": "req_7"})
    async with serve_list(HostileList([], route=lambda _: step)) as rig:
        walk = rig.start_walk()
        pages = walk.pages()
        assert (await anext(pages)).request_id == "req_7"
        with pytest.raises(PaginationError) as caught:
            await anext(pages)
        assert caught.value.request_id == "req_7"
