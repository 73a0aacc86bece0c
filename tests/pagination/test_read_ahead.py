"""Pages are requested while the caller works: really on the wire, never too many, and abandoned on leaving."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest

from bardge_async import DecodeError
from tests.support.lists import HostileList, make_ids, omit_member, read_ids, replace_answer, serve_list
from tests.support.loop import run_loop, run_loop_until
from tests.support.server import hang

ALL = make_ids(40)


def block_until_asked(listed: HostileList, count: int) -> bool:
    """Block the event loop until the server, in its own thread, has received a number of requests."""
    end = time.monotonic() + 2
    while len(listed.asked) < count:
        if time.monotonic() > end:
            return False
    return True


async def test_on_the_wire_for_a_busy_caller() -> None:
    """From the second page on, the next request arrives while a caller that never awaits works on this page."""
    async with serve_list(ALL) as rig:
        arrived = [
            block_until_asked(rig.list, number // 5 + 2)
            async for item in rig.start_walk(page_size=5)
            if (number := ALL.index(item.id or "")) % 5 == 0 and 0 < number < 35
        ]
    assert arrived == [True] * 6


async def test_on_the_wire_for_pages() -> None:
    """The same holds for pages()."""
    async with serve_list(ALL) as rig:
        number = 0
        async for _ in rig.start_walk(page_size=5).pages():
            number += 1
            assert number in {1, 8} or block_until_asked(rig.list, number + 1)


async def test_on_the_wire_for_map() -> None:
    """The same holds for map(), while its first result of a page is worked on."""

    async def return_item(item: object) -> object:
        return item

    async with serve_list(ALL) as rig:
        async for item in rig.start_walk(page_size=5).map(return_item, concurrency=1):
            (name,) = read_ids([item])  # type: ignore[list-item]
            if name in {"b5", "b10", "b30"}:
                assert block_until_asked(rig.list, ALL.index(name) // 5 + 2)


async def test_first_page_reads_nothing_ahead() -> None:
    """On the first page nothing is read ahead: a caller that needs only that page pays for no more."""
    async with serve_list(ALL) as rig, aclosing(aiter(rig.start_walk(page_size=5, read_ahead=4))) as items:
        for _ in range(5):
            await anext(items)
            await run_loop()
        assert len(rig.list.asked) == 1


@pytest.mark.parametrize("read_ahead", range(5))
async def test_never_further_ahead_than_told(read_ahead: int) -> None:
    """However long the caller works, exactly the configured number of pages is read ahead."""
    async with serve_list(ALL) as rig:
        number = 0
        async for _ in rig.start_walk(page_size=5, read_ahead=read_ahead).pages():
            number += 1
            wanted = min(8, number + read_ahead * (number > 1))
            await run_loop_until(lambda wanted=wanted: len(rig.list.asked) == wanted)  # type: ignore[misc]
            await run_loop()
            assert len(rig.list.asked) == wanted


@pytest.mark.parametrize("read_ahead", range(5))
@pytest.mark.parametrize("limit", [5, 9, 10, 11, 14, 15])
async def test_never_beyond_the_limit(limit: int, read_ahead: int) -> None:
    """Nothing is read ahead beyond the limit."""
    async with serve_list(ALL) as rig:
        async for _ in rig.start_walk(page_size=5, limit=limit, read_ahead=read_ahead):
            await run_loop(5)
        assert sum(asked.limit for asked in rig.list.asked) == limit


@pytest.mark.parametrize("read_ahead", [1, 2, 4])
async def test_error_of_a_page_ahead_waits(read_ahead: int) -> None:
    """An error of a page read ahead is raised after all items before it, however early it occurred."""
    async with serve_list(ALL, {4: omit_member("data")}) as rig:
        found: list[str | None] = []
        items = aiter(rig.start_walk(page_size=5, read_ahead=read_ahead))
        for _ in range(15):
            found.append((await anext(items)).id)
            await run_loop(20)
        with pytest.raises(DecodeError):
            await anext(items)
    assert found == ALL[:15]


@pytest.mark.parametrize("read_ahead", [1, 4])
async def test_leaving_early_gives_the_only_connection_back(read_ahead: int) -> None:
    """After a plain break another call gets the client's only connection immediately."""
    async with serve_list(ALL, {3: replace_answer(hang())}, max_connections=1) as rig:
        async for item in rig.start_walk(page_size=5, read_ahead=read_ahead):
            if item.id == "b5":
                break
        first = await rig.start_walk().first()
        assert first is not None
        assert first.id == "b0"


async def test_caller_that_calls_meanwhile() -> None:
    """With a single connection, calls in the loop's body wait for the page read ahead and do not deadlock."""
    async with serve_list(ALL, max_connections=1) as rig:
        async for _ in rig.start_walk(page_size=20):
            await rig.start_walk().first()
        assert len(rig.list.asked) == 2 + 40


async def test_two_walks_at_once() -> None:
    """Walks in several tasks do not disturb each other."""
    async with serve_list(ALL) as rig:
        walks = [rig.start_walk(page_size=size).collect() for size in range(3, 9)]
        assert [read_ids(found) for found in await asyncio.gather(*walks)] == [ALL] * 6
