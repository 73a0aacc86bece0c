"""A walk that is cancelled at any await loses nothing and leaves nothing behind."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from tests.support.cancel import cancel_at
from tests.support.lists import make_ids, read_rest, replace_answer, serve_list
from tests.support.loop import run_loop_until
from tests.support.server import hang

ALL = make_ids(11)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("read_ahead", [0, 1, 3])
async def test_cancel_at_every_await(read_ahead: int, again: bool) -> None:
    """A walk cancelled at any await leaves no task or connection, and continues without losing or repeating items."""
    async with serve_list(ALL) as rig:
        cancelled = True
        number = 0
        while cancelled:
            number += 1
            walk = rig.start_walk(page_size=3, read_ahead=read_ahead)
            found: list[str | None] = []

            async def take_items(walk: Any = walk, found: list[str | None] = found) -> None:
                async with aclosing(aiter(walk)) as items:
                    async for item in items:
                        found.append(item.id)
                        await asyncio.sleep(0)

            cancelled = await cancel_at(take_items(), number, again=again)
            assert rig.is_settled()
            assert found + await read_rest(walk) == ALL
        assert number > 11


@pytest.mark.parametrize("read_ahead", [0, 1, 3])
async def test_cancelled_collect_at_every_await(read_ahead: int) -> None:
    """A cancelled collect leaves the walk at its position, and nothing behind."""
    async with serve_list(ALL) as rig:
        cancelled = True
        number = 0
        while cancelled:
            number += 1
            walk = rig.start_walk(page_size=3, read_ahead=read_ahead)
            cancelled = await cancel_at(walk.collect(), number, again=False)
            assert rig.is_settled()
            assert await read_rest(walk) == (ALL if cancelled else [])
        assert number > 4


async def test_slow_page_and_a_deadline() -> None:
    """A deadline around a walk ends a slow page immediately, and the walk can continue."""
    async with serve_list(ALL, {3: replace_answer(hang())}) as rig:
        walk = rig.start_walk(page_size=3)
        found: list[str | None] = []
        with anyio.move_on_after(None) as scope:
            async for item in walk:
                found.append(item.id)
                if item.id == "b5":
                    scope.deadline = anyio.current_time()
        assert scope.cancelled_caught
        assert rig.is_settled()
        assert found + await read_rest(walk) == ALL


async def test_cancellation_while_closing_is_not_swallowed() -> None:
    """A cancellation during the closing of a walk is raised after the page read ahead has ended."""
    async with serve_list(ALL, {3: replace_answer(hang())}) as rig:
        items = aiter(rig.start_walk(page_size=3))
        for _ in range(4):
            await anext(items)
        await run_loop_until(lambda: len(rig.list.asked) == 3)
        task = asyncio.create_task(items.aclose())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert rig.is_settled()


async def test_foreign_cancellation_of_the_page_ahead() -> None:
    """Cancelling all tasks from outside, as on shutdown, does not make the walk hang or end early."""
    async with serve_list(ALL) as rig:
        found: list[str | None] = []
        async for item in rig.start_walk(page_size=3, read_ahead=2):
            found.append(item.id)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        assert found == ALL
