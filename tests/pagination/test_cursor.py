"""A walk's place as text: it goes on in another process, and garbage is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bardge_async import Booking, InvalidArgumentError, PaginationError, Walk
from tests.support.lists import Asked, HostileList, ListRig, does, ids, names, rest, served, some, take
from tests.support.server import Step, reply

ALL = names(11)


@pytest.mark.parametrize("cut", range(12))
async def test_resume_in_another_client(cut: int) -> None:
    """A cursor goes on with the next item in another client, from any place, inside a page too."""
    async with served(ALL) as rig:
        walk = rig.walk(page_size=4, read_ahead=0)
        found = await some(walk, cut) if cut else []
        text = json.loads(json.dumps({"place": walk.cursor}))["place"]
        asked = len(rig.list.asked)
        async with served(rig.list) as other:
            resumed = other.bardge.resume(text)
            assert resumed.cursor == text
            assert len(rig.list.asked) == asked
            assert found + await rest(resumed) == ALL


async def test_finished_cursor() -> None:
    """The cursor of a finished walk goes on with nothing and sends nothing."""
    async with served(ALL) as rig:
        walk = rig.walk()
        await rest(walk)
        asked = len(rig.list.asked)
        assert await rest(rig.bardge.resume(walk.cursor)) == []
        assert await rest(walk) == []
        assert len(rig.list.asked) == asked


async def test_typed_resume() -> None:
    """A walk's own resume goes on from a cursor of the same list."""
    async with served(ALL) as rig:
        walk = rig.walk(page_size=4)
        await some(walk, 5)
        assert await rest(rig.walk().resume(walk.cursor)) == ALL[5:]


async def test_typed_resume_refuses_others() -> None:
    """A walk's own resume refuses cursors of another list, client, place, limit, start and direction."""
    async with served(ALL) as rig:
        bookings, providers = rig.bardge.bookings, rig.bardge.providers
        refused: list[tuple[Walk[Any], Walk[Any]]] = [
            (rig.walk(), bookings.list_for_client("c2")),
            (rig.walk(), providers.list()),
            (providers.list(lat=1, lon=2), providers.list(lat=1, lon=3)),
            (providers.list(lat=1, lon=2), providers.list()),
            (rig.walk(limit=5), rig.walk(limit=6)),
            (rig.walk(limit=5), rig.walk()),
            (rig.walk(starting_after="b1"), rig.walk(starting_after="b2")),
            (rig.walk(ending_before="b1"), rig.walk(ending_before="b2")),
            (rig.walk(), rig.walk(ending_before="b2")),
            (rig.walk(ending_before="b1"), rig.walk()),
        ]
        for own, other in refused:
            with pytest.raises(InvalidArgumentError, match="belongs to"):
                own.resume(other.cursor)
            assert own.resume(own.cursor).cursor == own.cursor
        assert not rig.list.asked


def damaged(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda good: json.dumps({**good, **changes})


def _cut_off(good: dict[str, Any]) -> str:
    return json.dumps(good)[:-1]


def _twice(good: dict[str, Any]) -> str:
    return json.dumps(good) * 2


def _without_done(good: dict[str, Any]) -> str:
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
    "cut off": _cut_off,
    "twice": _twice,
    "more": damaged(more=1),
    "member missing": _without_done,
    "version": damaged(v=99),
    "unknown list": damaged(list="nothing"),
    "no list": damaged(list="clients.get"),
    "list of lists": damaged(list=[]),
    "no path": damaged(path=[]),
    "other path": damaged(path=["c1", "c2"]),
    "path of numbers": damaged(path=[1]),
    "path that climbs": damaged(path=[".."]),
    "empty path": damaged(path=[""]),
    "path as text": damaged(path="c1"),
    "query as list": damaged(query=[]),
    "query unknown": damaged(query={"x": 1}),
    "after empty": damaged(after=""),
    "after number": damaged(after=5),
    "after half a character": damaged(after="\ud800"),
    "after lost": damaged(after=None),
    "known as text": damaged(known="b1"),
    "known of empty": damaged(known=[""]),
    "ahead of numbers": damaged(ahead=[1]),
    "ahead of more than delivered": damaged(ahead=["a"] * 9),
    "delivered below 0": damaged(delivered=-1),
    "delivered as text": damaged(delivered="5"),
    "delivered true": damaged(delivered=True),
    "limit below 0": damaged(limit=-1),
    "limit as text": damaged(limit="5"),
    "page_size 0": damaged(page_size=0),
    "page_size 101": damaged(page_size=101),
    "done as number": damaged(done=1),
    "backward without start": damaged(backward=True),
    "backward as text": damaged(backward="yes"),
}


@pytest.mark.parametrize("kind", GARBAGE)
async def test_garbage_is_refused(kind: str) -> None:
    """What is no cursor, or a damaged one, is refused by both kinds of resume, and nothing is sent."""
    async with served(ALL) as rig:
        walk = rig.walk()
        await some(walk, 3)
        garbage = GARBAGE[kind]
        text: Any = garbage(json.loads(walk.cursor)) if callable(garbage) else garbage
        asked = len(rig.list.asked)
        for go_on in (rig.bardge.resume, rig.walk().resume):
            with pytest.raises(InvalidArgumentError):
                go_on(text)
        assert len(rig.list.asked) == asked


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "true", '"1"', "null"])
async def test_query_of_a_cursor(number: str) -> None:
    """A cursor's query holds finite numbers."""
    async with served(ALL) as rig:
        good = rig.bardge.providers.list(lat=1.5, lon=2).cursor
        with pytest.raises(InvalidArgumentError):
            rig.bardge.resume(good.replace('"lat":1.5', f'"lat":{number}'))


async def test_query_is_kept() -> None:
    """A resumed walk sends the list's own query again."""
    async with served(ALL) as rig:
        walk = rig.bardge.providers.list(lat=1.5, lon=2, page_size=2)
        await some(walk, 2)
        assert len(await rest(rig.bardge.resume(walk.cursor))) == 9
        assert all("lat=1.5&lon=2" in request.target for request in rig.server.requests)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("read_ahead", [0, 1, 4])
@pytest.mark.parametrize("page_size", [1, 2, 4])
@pytest.mark.parametrize("deleted", [1, 2])
async def test_deleted_cursor(deleted: int, page_size: int, read_ahead: int, backward: bool) -> None:
    """When the cursor's item is deleted, the error's places go on with what was not yet delivered."""
    wanted = ALL[9::-1] if backward else ALL

    def route(asked: Asked) -> Step:
        if len(listed.asked) == 3:
            for name in wanted[2 * page_size - deleted : 2 * page_size]:
                listed.listed.remove(name)
        return listed.honest(asked)

    listed = HostileList(ALL, route=route)
    async with served(listed) as rig:
        start = "b10" if backward else None
        walk = rig.walk(page_size=page_size, read_ahead=read_ahead, limit=9, ending_before=start)
        taken: list[Booking] = []
        with pytest.raises(PaginationError, match="refuses the cursor") as caught:
            await take(walk, taken)
        found = ids(taken)
        assert found == wanted[: 2 * page_size]
        assert len(caught.value.cursors) == len(found)
        tails = [await _try(rig, cursor) for cursor in caught.value.cursors]
        assert tails == [None] * (deleted - 1) + [wanted[len(found) : 9]] * (len(found) - deleted + 1)


async def _try(rig: ListRig, cursor: str) -> list[str | None] | None:
    try:
        return await rest(rig.bardge.resume(cursor))
    except PaginationError:
        return None


async def test_deleted_first_item() -> None:
    """When the only delivered item is deleted, the place before it is one to go on from."""
    async with served(ALL) as rig:
        walk = rig.walk(page_size=1)
        assert await some(walk, 1) == ["b0"]
        rig.list.listed.remove("b0")
        with pytest.raises(PaginationError) as caught:
            await rest(walk)
        (cursor,) = caught.value.cursors
        assert await rest(rig.bardge.resume(cursor)) == ALL[1:]


async def test_item_that_comes_again_after_a_resume() -> None:
    """The last ids are in the cursor, so that an overlap of pages is not delivered twice after a resume."""
    async with served(ALL) as rig:
        walk = rig.walk(page_size=3)
        await some(walk, 6)
        page = rig.list.page(ALL[4:8], more=True)
        rig.list.plays[len(rig.list.asked) + 1] = does(reply(200, page))
        resumed = rig.bardge.resume(walk.cursor)
        assert await rest(resumed) == ALL[6:]


async def test_item_that_comes_again_at_the_end_of_a_page() -> None:
    """Where a page ends with an item that came before, the next cursor is behind that one, and so is the walk's."""
    pages = {None: ALL[:3], "b2": ["b3", "b1"], "b1": ALL[4:]}
    listed = HostileList([], route=lambda asked: reply(200, listed.page(pages[asked.after], more=asked.after != "b1")))
    async with served(listed) as rig:
        walk = rig.walk(page_size=3, read_ahead=0)
        assert await some(walk, 5) == ALL[:5]
        assert await rest(walk) == ALL[5:]


async def test_place_gone_back_to_asks_for_enough() -> None:
    """From an earlier place one request brings what is left of the limit, not one for each item delivered already."""
    listed = HostileList(ALL)
    async with served(listed) as rig:
        walk = rig.walk(page_size=6, limit=7, read_ahead=0)
        await some(walk, 6)
        listed.listed.remove("b5")
        with pytest.raises(PaginationError) as caught:
            await rest(walk)
        asked = len(listed.asked)
        assert await rest(rig.bardge.resume(caught.value.cursors[-1])) == ["b6"]
        assert len(listed.asked) == asked + 1
