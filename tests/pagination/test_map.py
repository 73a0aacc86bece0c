"""``walk.map``: bounded concurrency over the items, ordered or not, that stops cleanly and loses nothing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from bardge_async import Booking, InvalidArgumentError, PaginationError, ServerError
from tests.support.cancel import cancel_at
from tests.support.lists import (
    EMPTY,
    HostileList,
    Play,
    make_ids,
    omit_member,
    read_ids,
    read_rest,
    replace_answer,
    serve_list,
    take_into,
)
from tests.support.loop import run_loop, run_loop_until
from tests.support.server import error, hang, reply

ALL = make_ids(23)
ORDERS = pytest.mark.parametrize("ordered", [True, False])


class Worker:
    """A function to map whose calls end when the test says; it counts those running."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.begun: list[str] = []
        self.running = 0
        self.most = 0
        self.ended = asyncio.Event()
        self._gates: dict[str, asyncio.Event] = {}
        self._at_once = at_once

    async def __call__(self, item: Booking) -> str:
        name = item.id or ""
        self.begun.append(name)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await (asyncio.sleep(0) if self._at_once else self._get_gate(name).wait())
        finally:
            self.running -= 1
        return name

    def _get_gate(self, name: str) -> asyncio.Event:
        return self._gates.setdefault(name, asyncio.Event())

    def release_calls(self, *finished: str) -> None:
        """Let the calls for these items return."""
        for name in finished:
            self._get_gate(name).set()


@ORDERS
@pytest.mark.parametrize("concurrency", [1, 2, 7, 100])
@pytest.mark.parametrize("read_ahead", [0, 1, 4])
async def test_all_items(read_ahead: int, concurrency: int, ordered: bool) -> None:
    """Every item is processed once, never more than the bound concurrently, and in order by default."""
    worker = Worker()
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=5, read_ahead=read_ahead)
        found = [name async for name in walk.map(worker, concurrency=concurrency, ordered=ordered)]
        assert rig.is_settled()
    assert (found if ordered else sorted(found, key=ALL.index)) == ALL
    assert sorted(worker.begun, key=ALL.index) == ALL
    assert worker.most <= concurrency
    if concurrency <= 5:
        assert worker.most == concurrency


async def test_order() -> None:
    """Results come in the items' order by default, whichever ends first."""
    worker = Worker(at_once=False)
    async with serve_list(ALL) as rig, aclosing(rig.start_walk(limit=4).map(worker, concurrency=4)) as results:
        first = asyncio.create_task(anext(results))
        await run_loop_until(lambda: worker.running == 4)
        worker.release_calls("b1", "b2", "b3")
        await run_loop()
        assert not first.done()
        worker.release_calls("b0")
        assert [await first, *[name async for name in results]] == ALL[:4]


async def test_unordered() -> None:
    """Unordered results come as they end."""
    worker = Worker(at_once=False)
    async with (
        serve_list(ALL) as rig,
        aclosing(rig.start_walk(limit=3).map(worker, concurrency=3, ordered=False)) as results,
    ):
        found: list[str] = []
        for name in ("b2", "b0", "b1"):
            worker.release_calls(name)
            found.append(await anext(results))
    assert found == ["b2", "b0", "b1"]


@ORDERS
async def test_back_pressure(ordered: bool) -> None:
    """If the caller takes no results, no more items are started and no pages requested than the bounds allow."""
    worker = Worker()
    async with serve_list(make_ids(500)) as rig:
        async with aclosing(rig.start_walk(page_size=10).map(worker, concurrency=3, ordered=ordered)) as results:
            for taken in range(1, 30):
                await anext(results)
                await run_loop(20)
                assert len(worker.begun) <= taken + 2
        # Processing reaches into page 4 at most; one more page is read ahead.
        assert len(rig.list.asked) <= 5


@ORDERS
async def test_no_page_before_there_is_room(ordered: bool) -> None:
    """Without read-ahead the next page is requested when its items can be started, not before."""
    worker = Worker(at_once=False)
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=5, read_ahead=0)
        async with aclosing(walk.map(worker, concurrency=5, ordered=ordered)) as results:
            waiting = asyncio.create_task(anext(results))
            await run_loop_until(lambda: worker.running == 5)
            await run_loop(200)
            assert len(rig.list.asked) == 1
            worker.release_calls("b0")
            await waiting
            waiting = asyncio.create_task(anext(results))
            await run_loop_until(lambda: len(rig.list.asked) == 2)
            worker.release_calls("b1")
            await waiting


async def test_unordered_does_not_run_away() -> None:
    """One item that never finishes lets the others get ahead by two pages at most, not by the whole list."""
    worker = Worker(at_once=False)
    listed = make_ids(2000)
    worker.release_calls(*listed[1:])
    async with serve_list(listed) as rig:
        walk = rig.start_walk()
        async with aclosing(walk.map(worker, concurrency=5, ordered=False)) as results:
            found: list[str] = []
            waiting = asyncio.create_task(anext(results))
            while len(found) < 204:
                found.append(await waiting)
                waiting = asyncio.create_task(anext(results))
            await run_loop()
            assert not waiting.done()
            worker.release_calls("b0")
            found.append(await waiting)
        assert found == [*listed[1:205], "b0"]
        assert len(rig.list.asked) <= 4


@ORDERS
async def test_results_do_not_wait_for_a_slow_page(ordered: bool) -> None:
    """Finished results are delivered while the next page is still awaited."""
    async with serve_list(ALL, {2: replace_answer(hang())}) as rig:
        async with aclosing(rig.start_walk(page_size=5).map(Worker(), concurrency=10, ordered=ordered)) as results:
            found = [await anext(results) for _ in range(5)]
            await run_loop_until(lambda: len(rig.list.asked) == 2)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await anext(results)
        assert found == ALL[:5]
        assert rig.is_settled()


class OddError(Exception):
    """An exception of the caller's own."""


async def fail_on_item(item: Booking) -> str:
    await asyncio.sleep(0)
    if item.id == "b7":
        raise OddError
    return item.id or ""


@ORDERS
@pytest.mark.parametrize("concurrency", [1, 4, 50])
async def test_failing_function(concurrency: int, ordered: bool) -> None:
    """A failing function's exception is raised after all running work has ended, and its item is delivered again."""
    worker = Worker()
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=5)
        found: list[str] = []
        with pytest.raises(OddError):
            await take_into(walk.map(fail_on_item, concurrency=concurrency, ordered=ordered), found)
        assert rig.is_settled()
        assert found == ALL[:7]
        again = [name async for name in walk.map(worker, concurrency=concurrency, ordered=ordered)]
        assert sorted(found + again, key=ALL.index) == ALL


@ORDERS
async def test_collected_errors(ordered: bool) -> None:
    """With errors="collect" a failing function's exception takes the place of its result."""
    async with serve_list(ALL) as rig:
        found = [
            type(result) if isinstance(result, Exception) else result
            async for result in rig.start_walk(page_size=5).map(
                fail_on_item, concurrency=1, ordered=ordered, errors="collect"
            )
        ]
    assert found == [*ALL[:7], OddError, *ALL[8:]]


def return_no_awaitable(item: Booking) -> Any:
    """Return something that is not awaitable."""
    return item.id


async def test_function_that_raises_at_once() -> None:
    """A function that fails before it returns an awaitable, or returns none, fails like any other."""
    async with serve_list(ALL) as rig:
        with pytest.raises(TypeError):
            await anext(rig.start_walk().map(return_no_awaitable))
        results = [result async for result in rig.start_walk(limit=2).map(return_no_awaitable, errors="collect")]
    assert [type(result) for result in results] == [TypeError, TypeError]


async def test_error_of_the_library_in_the_function() -> None:
    """An error of this library that the function raises has the cursor before its item."""

    async def refuse_item(item: Booking) -> None:
        if item.id == "b7":
            raise ServerError

    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=5)
        with pytest.raises(ServerError) as caught:
            _ = [result async for result in walk.map(refuse_item, concurrency=6)]
        assert read_ids(await rig.bardge.resume(caught.value.cursor or "").collect()) == ALL[7:]


@pytest.mark.parametrize("collect", ["raise", "collect"])
async def test_function_that_is_cancelled(collect: Any) -> None:
    """A cancellation inside the function is raised, and its item counts as not delivered."""

    async def cancel_item(item: Booking) -> str:
        if item.id == "b2":
            raise asyncio.CancelledError
        return item.id or ""

    async with serve_list(ALL) as rig:
        walk = rig.start_walk()
        with pytest.raises(asyncio.CancelledError):
            _ = [name async for name in walk.map(cancel_item, errors=collect)]
        assert read_ids(await walk.collect()) == ALL[2:]


@ORDERS
@pytest.mark.parametrize("closing", [True, False])
@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("cut", [1, 4, 5, 6, 12, 22])
async def test_break_and_go_on(cut: int, wait: bool, closing: bool, ordered: bool) -> None:
    """After a break during processing the walk continues with what was not delivered: none lost, none repeated."""
    worker = Worker()
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=5)
        found: list[str | None] = []
        results = walk.map(worker, concurrency=7, ordered=ordered)
        async for name in results:
            found.append(name)
            if len(found) == cut:
                break
        if closing:
            await results.aclose()
            assert worker.running == 0
        del results
        if wait:
            await run_loop()
        text = walk.cursor
        rest = read_ids([item async for item in walk])
        assert sorted(found + rest, key=lambda name: ALL.index(name or "")) == ALL
        assert rest == sorted(rest, key=lambda name: ALL.index(name or ""))
        await run_loop_until(rig.is_settled)
        assert read_ids(await rig.bardge.resume(text).collect()) == rest


async def test_dropped_work_ends_first() -> None:
    """Abandoned work of a map has ended before the next iteration starts the same items again."""
    worker = Worker(at_once=False)
    worker.release_calls("b0")
    async with serve_list(ALL) as rig:
        walk = rig.start_walk()
        async for _ in walk.map(worker, concurrency=4):
            break
        running: list[int] = []

        async def record_running(item: Booking) -> str:
            running.append(worker.running)
            return item.id or ""

        assert [name async for name in walk.map(record_running)] == ALL[1:]
        assert set(running) == {0}


@ORDERS
@pytest.mark.parametrize("cut", range(1, 14))
async def test_cursor_in_mid_work(cut: int, ordered: bool) -> None:
    """The cursor during processing resumes exactly what was not delivered, even if later items finished first."""
    worker = Worker(at_once=False)
    turn = ["b3", "b0", "b5", "b1", "b2", "b9", "b6", "b8", "b4", "b7", "b10", "b12", "b11"]
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=4, limit=20)
        found: list[str | None] = []
        async with aclosing(walk.map(worker, concurrency=7, ordered=ordered)) as results:
            for name in sorted(turn, key=ALL.index) if ordered else turn:
                worker.release_calls(name)
                found.append(await anext(results))
                if len(found) == cut:
                    break
            wanted = [name for name in ALL[:20] if name not in found]
            assert read_ids(await rig.bardge.resume(walk.cursor).collect()) == wanted
        assert read_ids(await rig.bardge.resume(walk.cursor).collect()) == wanted
        assert read_ids(await walk.collect()) == wanted


async def test_passed_ids_do_not_pile_up() -> None:
    """Ids that a cursor lists as delivered are dropped once they are passed, over any number of resumes."""
    async with serve_list(make_ids(300)) as rig:
        text = rig.start_walk(page_size=10).cursor
        found: list[str] = []
        longest = 0
        while len(found) < 290:
            worker = Worker(at_once=False)
            worker.release_calls(*make_ids(300))
            worker._get_gate(f"b{len(found)}").clear()
            walk = rig.bardge.resume(text)
            async with aclosing(walk.map(worker, concurrency=3, ordered=False)) as results:
                found += [await anext(results) for _ in range(5)]
                worker.release_calls(*make_ids(300))
                found.append(await anext(results))
                text = walk.cursor
            longest = max(longest, len(text))
        found += [item.id for item in await rig.bardge.resume(text).collect()]
    assert sorted(found, key=make_ids(300).index) == make_ids(300)
    assert longest < 700


@ORDERS
@pytest.mark.parametrize("read_ahead", [0, 1, 4])
@pytest.mark.parametrize("page", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("play", "expected"),
    [(omit_member("data"), Exception), (EMPTY, PaginationError), (replace_answer(error(500)), ServerError)],
)
async def test_page_error(play: Play, expected: type[Exception], page: int, read_ahead: int, ordered: bool) -> None:
    """A page's error is raised after the results of all items before it, and the walk can continue."""
    async with serve_list(ALL, dict.fromkeys(range(page, page + 4), play)) as rig:
        walk = rig.start_walk(page_size=5, read_ahead=read_ahead)
        found: list[str] = []
        with pytest.raises(expected) as caught:
            await take_into(walk.map(Worker(), concurrency=8, ordered=ordered), found)
        assert sorted(found, key=ALL.index) == ALL[: 5 * (page - 1)]
        assert rig.is_settled()
        rig.list.plays.clear()
        text: str = getattr(caught.value, "cursor", "")
        assert read_ids(await rig.bardge.resume(text).collect()) == ALL[len(found) :]
        assert read_ids(await walk.collect()) == ALL[len(found) :]


@ORDERS
async def test_cancel_at_every_await(ordered: bool) -> None:
    """A map that is cancelled at any await leaves no task and no connection, and the walk continues with the rest."""
    async with serve_list(ALL[:9]) as rig:
        cancelled = True
        number = 0
        while cancelled:
            number += 1
            walk = rig.start_walk(page_size=3)
            found: list[Any] = []
            results = walk.map(Worker(), concurrency=4, ordered=ordered)
            cancelled = await cancel_at(take_into(results, found), number, again=True)
            assert rig.is_settled()
            found += await read_rest(walk)
            assert sorted(found, key=lambda name: ALL.index(name or "")) == ALL[:9]
        assert number > 5


async def test_cancelled_page() -> None:
    """Cancelling the wait for a page from outside cancels the map; the walk can continue."""
    async with serve_list(ALL, {2: replace_answer(hang())}) as rig:
        walk = rig.start_walk(page_size=5)
        results = walk.map(Worker(), concurrency=6)
        found = [await anext(results) for _ in range(5)]
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await anext(results)
        assert rig.is_settled()
        assert [*found, *await read_rest(walk)] == ALL


@ORDERS
async def test_items_without_id(ordered: bool) -> None:
    """Items without a cursor field are processed like others; only their position has no cursor."""
    page = HostileList([]).make_page(["a", None, "c"], more=False)
    async with serve_list([], {1: replace_answer(reply(200, page))}) as rig:
        walk = rig.start_walk()
        results = walk.map(Worker(), concurrency=1, ordered=ordered)
        assert [await anext(results), await anext(results)] == ["a", ""]
        with pytest.raises(PaginationError):
            _ = walk.cursor
        assert await anext(results) == "c"
        assert '"after":"c"' in walk.cursor
        await results.aclose()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "concurrency: expected a whole number, 1 or more, got 0"),
        ({"concurrency": True}, "concurrency: expected a whole number, 1 or more, got True"),
        ({"concurrency": None}, "concurrency: expected a whole number, 1 or more, got None"),
        ({"errors": "ignore"}, 'errors: expected "raise" or "collect", got \'ignore\''),
        ({"errors": None}, 'errors: expected "raise" or "collect", got None'),
    ],
)
async def test_wrong_values(options: dict[str, Any], message: str) -> None:
    """Wrong values are rejected immediately, with what is allowed."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk()
        with pytest.raises(InvalidArgumentError) as caught:
            walk.map(Worker(), **options)
    assert (str(caught.value), caught.value.cursor) == (message, walk.cursor)


async def test_unordered_over_several_resumes() -> None:
    """Items delivered out of order stay delivered over successive resumes, and over a deleted cursor."""
    async with serve_list(ALL[:12]) as rig:
        text = rig.start_walk(page_size=12).cursor
        found: list[str] = []
        for name in ("b4", "b6", "b2"):
            worker = Worker(at_once=False)
            worker.release_calls(name)
            walk = rig.bardge.resume(text)
            async with aclosing(walk.map(worker, concurrency=9, ordered=False)) as results:
                found.append(await anext(results))
                text = walk.cursor
        walk = rig.bardge.resume(text)
        head = await anext(aiter(walk))
        assert head.id == "b0"
        rig.list.listed.remove("b0")
        with pytest.raises(PaginationError) as caught:
            await rig.bardge.resume(walk.cursor).collect()
        assert read_ids(await rig.bardge.resume(caught.value.cursors[-1]).collect()) == [
            name for name in ALL[1:12] if name not in found
        ]


async def test_item_without_id_that_comes_first() -> None:
    """There is no cursor if an item without an id was delivered before an earlier one."""
    page = HostileList([]).make_page(["a", None, "c"], more=False)
    worker = Worker(at_once=False)
    worker.release_calls("")
    async with serve_list([], {1: replace_answer(reply(200, page))}) as rig:
        walk = rig.start_walk()
        async with aclosing(walk.map(worker, concurrency=3, ordered=False)) as results:
            assert await anext(results) == ""
            with pytest.raises(PaginationError):
                _ = walk.cursor
        assert read_ids(await walk.collect()) == ["a", "c"]
