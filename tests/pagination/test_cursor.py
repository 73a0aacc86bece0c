"""A walk's position as text: it continues in another process, and invalid cursors are rejected."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bardge_async import Booking, InvalidArgumentError, PaginationError, Walk
from tests.support.lists import (
    Asked,
    HostileList,
    ListRig,
    make_ids,
    read_ids,
    read_rest,
    read_some,
    replace_answer,
    serve_list,
    take_into,
)
from tests.support.server import Step, reply

ALL = make_ids(11)


@pytest.mark.parametrize("cut", range(12))
async def test_resume_in_another_client(cut: int) -> None:
    """A cursor continues with the next item in another client, from any position, even inside a page."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=4, read_ahead=0)
        found = await read_some(walk, cut) if cut else []
        text = json.loads(json.dumps({"place": walk.cursor}))["place"]
        asked = len(rig.list.asked)
        async with serve_list(rig.list) as other:
            resumed = other.bardge.resume(text)
            assert resumed.cursor == text
            assert len(rig.list.asked) == asked
            assert found + await read_rest(resumed) == ALL


async def test_finished_cursor() -> None:
    """The cursor of a finished walk delivers nothing and sends nothing."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk()
        await read_rest(walk)
        asked = len(rig.list.asked)
        assert await read_rest(rig.bardge.resume(walk.cursor)) == []
        assert await read_rest(walk) == []
        assert len(rig.list.asked) == asked


async def test_typed_resume() -> None:
    """A walk's own resume continues from a cursor of the same list."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=4)
        await read_some(walk, 5)
        assert await read_rest(rig.start_walk().resume(walk.cursor)) == ALL[5:]


async def test_typed_resume_refuses_others() -> None:
    """A walk's own resume rejects cursors of another list, client, location, limit, start or direction."""
    async with serve_list(ALL) as rig:
        bookings, providers = rig.bardge.bookings, rig.bardge.providers
        refused: list[tuple[Walk[Any], Walk[Any]]] = [
            (rig.start_walk(), bookings.list_for_client("c2")),
            (rig.start_walk(), providers.list()),
            (providers.list(lat=1, lon=2), providers.list(lat=1, lon=3)),
            (providers.list(lat=1, lon=2), providers.list()),
            (rig.start_walk(limit=5), rig.start_walk(limit=6)),
            (rig.start_walk(limit=5), rig.start_walk()),
            (rig.start_walk(starting_after="b1"), rig.start_walk(starting_after="b2")),
            (rig.start_walk(ending_before="b1"), rig.start_walk(ending_before="b2")),
            (rig.start_walk(), rig.start_walk(ending_before="b2")),
            (rig.start_walk(ending_before="b1"), rig.start_walk()),
        ]
        for own, other in refused:
            with pytest.raises(InvalidArgumentError, match="belongs to"):
                own.resume(other.cursor)
            assert own.resume(own.cursor).cursor == own.cursor
        assert not rig.list.asked


def make_damaged(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda good: json.dumps({**good, **changes})


def _truncate_text(good: dict[str, Any]) -> str:
    return json.dumps(good)[:-1]


def _double_text(good: dict[str, Any]) -> str:
    return json.dumps(good) * 2


def _drop_done(good: dict[str, Any]) -> str:
    return json.dumps({name: value for name, value in good.items() if name != "done"})


GARBAGE: dict[str, Any] = {
    "None": None,
    "bytes": b"{}",
    "number": 5,
    "empty": "",
    "word": "b5",
    "list": "[]",
    "null": "null",
    "empty object": "{}",
    "deep": "[" * 100_000,
    "digits": "1" * 10_000,
    "cut off": _truncate_text,
    "twice": _double_text,
    "more": make_damaged(more=1),
    "member missing": _drop_done,
    "version": make_damaged(v=99),
    "unknown list": make_damaged(list="nothing"),
    "no list": make_damaged(list="clients.get"),
    "list of lists": make_damaged(list=[]),
    "no path": make_damaged(path=[]),
    "other path": make_damaged(path=["c1", "c2"]),
    "path of numbers": make_damaged(path=[1]),
    "path that climbs": make_damaged(path=[".."]),
    "empty path": make_damaged(path=[""]),
    "path as text": make_damaged(path="c1"),
    "query as list": make_damaged(query=[]),
    "query unknown": make_damaged(query={"x": 1}),
    "after empty": make_damaged(after=""),
    "after number": make_damaged(after=5),
    "after half a character": make_damaged(after="\ud800"),
    "after lost": make_damaged(after=None),
    "known as text": make_damaged(known="b1"),
    "known of empty": make_damaged(known=[""]),
    "ahead of numbers": make_damaged(ahead=[1]),
    "ahead of more than delivered": make_damaged(ahead=["a"] * 9),
    "delivered below 0": make_damaged(delivered=-1),
    "delivered as text": make_damaged(delivered="5"),
    "delivered true": make_damaged(delivered=True),
    "limit below 0": make_damaged(limit=-1),
    "limit as text": make_damaged(limit="5"),
    "page_size 0": make_damaged(page_size=0),
    "page_size 101": make_damaged(page_size=101),
    "done as number": make_damaged(done=1),
    "backward without start": make_damaged(backward=True),
    "backward as text": make_damaged(backward="yes"),
}


@pytest.mark.parametrize("kind", GARBAGE)
async def test_garbage_is_refused(kind: str) -> None:
    """Both kinds of resume reject text that is no cursor, or a damaged one, and nothing is sent."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk()
        await read_some(walk, 3)
        garbage = GARBAGE[kind]
        text: Any = garbage(json.loads(walk.cursor)) if callable(garbage) else garbage
        asked = len(rig.list.asked)
        for go_on in (rig.bardge.resume, rig.start_walk().resume):
            with pytest.raises(InvalidArgumentError):
                go_on(text)
        assert len(rig.list.asked) == asked


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "true", '"1"', "null"])
async def test_query_of_a_cursor(number: str) -> None:
    """A cursor's query holds only finite numbers."""
    async with serve_list(ALL) as rig:
        good = rig.bardge.providers.list(lat=1.5, lon=2).cursor
        with pytest.raises(InvalidArgumentError):
            rig.bardge.resume(good.replace('"lat":1.5', f'"lat":{number}'))


async def test_query_is_kept() -> None:
    """A resumed walk sends the list's own query again."""
    async with serve_list(ALL) as rig:
        walk = rig.bardge.providers.list(lat=1.5, lon=2, page_size=2)
        await read_some(walk, 2)
        assert len(await read_rest(rig.bardge.resume(walk.cursor))) == 9
        assert all("lat=1.5&lon=2" in request.target for request in rig.server.requests)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("read_ahead", [0, 1, 4])
@pytest.mark.parametrize("page_size", [1, 2, 4])
@pytest.mark.parametrize("deleted", [1, 2])
async def test_deleted_cursor(deleted: int, page_size: int, read_ahead: int, backward: bool) -> None:
    """When the cursor's item is deleted, the error's cursors continue with what was not yet delivered."""
    wanted = ALL[9::-1] if backward else ALL

    def serve_page(asked: Asked) -> Step:
        if len(listed.asked) == 3:
            for name in wanted[2 * page_size - deleted : 2 * page_size]:
                listed.listed.remove(name)
        return listed.answer_honestly(asked)

    listed = HostileList(ALL, route=serve_page)
    async with serve_list(listed) as rig:
        start = "b10" if backward else None
        walk = rig.start_walk(page_size=page_size, read_ahead=read_ahead, limit=9, ending_before=start)
        taken: list[Booking] = []
        with pytest.raises(PaginationError, match="refuses the cursor") as caught:
            await take_into(walk, taken)
        found = read_ids(taken)
        assert found == wanted[: 2 * page_size]
        assert len(caught.value.cursors) == len(found)
        tails = [await _resume_or_none(rig, cursor) for cursor in caught.value.cursors]
        assert tails == [None] * (deleted - 1) + [wanted[len(found) : 9]] * (len(found) - deleted + 1)


async def _resume_or_none(rig: ListRig, cursor: str) -> list[str | None] | None:
    try:
        return await read_rest(rig.bardge.resume(cursor))
    except PaginationError:
        return None


async def test_deleted_first_item() -> None:
    """When the only delivered item is deleted, the position before it can be resumed from."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=1)
        assert await read_some(walk, 1) == ["b0"]
        rig.list.listed.remove("b0")
        with pytest.raises(PaginationError) as caught:
            await read_rest(walk)
        (cursor,) = caught.value.cursors
        assert await read_rest(rig.bardge.resume(cursor)) == ALL[1:]


async def test_item_that_comes_again_after_a_resume() -> None:
    """The last ids are in the cursor, so that overlapping pages are not delivered twice after a resume."""
    async with serve_list(ALL) as rig:
        walk = rig.start_walk(page_size=3)
        await read_some(walk, 6)
        page = rig.list.make_page(ALL[4:8], more=True)
        rig.list.plays[len(rig.list.asked) + 1] = replace_answer(reply(200, page))
        resumed = rig.bardge.resume(walk.cursor)
        assert await read_rest(resumed) == ALL[6:]


async def test_item_that_comes_again_at_the_end_of_a_page() -> None:
    """If a page ends with a repeated item, the next cursor is after that item, and so is the walk's."""
    pages = {None: ALL[:3], "b2": ["b3", "b1"], "b1": ALL[4:]}
    listed = HostileList(
        [], route=lambda asked: reply(200, listed.make_page(pages[asked.after], more=asked.after != "b1"))
    )
    async with serve_list(listed) as rig:
        walk = rig.start_walk(page_size=3, read_ahead=0)
        assert await read_some(walk, 5) == ALL[:5]
        assert await read_rest(walk) == ALL[5:]


async def test_place_gone_back_to_asks_for_enough() -> None:
    """From an earlier position one request fetches what is left of the limit, not one per item delivered already."""
    listed = HostileList(ALL)
    async with serve_list(listed) as rig:
        walk = rig.start_walk(page_size=6, limit=7, read_ahead=0)
        await read_some(walk, 6)
        listed.listed.remove("b5")
        with pytest.raises(PaginationError) as caught:
            await read_rest(walk)
        asked = len(listed.asked)
        assert await read_rest(rig.bardge.resume(caught.value.cursors[-1])) == ["b6"]
        assert len(listed.asked) == asked + 1
