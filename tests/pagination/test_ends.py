"""A walk ends where the list ends, or with the right error."""

from __future__ import annotations

from typing import Any

import pytest

from bardge_async import (
    BardgeError,
    CopayOption,
    DecodeError,
    InvalidRequestError,
    NoAnswerError,
    PaginationError,
    RateLimitError,
    ServerError,
)
from tests.support.lists import (
    EMPTY,
    HostileList,
    ListRig,
    Play,
    answer_in_circle,
    change_page,
    make_ids,
    omit_member,
    read_ids,
    replace_answer,
    serve_list,
)
from tests.support.loop import run_loop, run_loop_until
from tests.support.server import cut, error, reply

READ_AHEAD = pytest.mark.parametrize("read_ahead", range(5))


async def walk_to_its_end(walk: Any) -> tuple[list[str | None], BardgeError | None]:
    """Walk until the end or an error."""
    found: list[str | None] = []
    try:
        async for item in walk:
            found += read_ids([item])
    except BardgeError as failure:
        return found, failure
    return found, None


@READ_AHEAD
@pytest.mark.parametrize("length", [1, 2, 7])
async def test_circle(length: int, read_ahead: int) -> None:
    """A list that loops ends in an error after each of its items was delivered once."""
    pages = [make_ids(3, f"p{number}_") for number in range(length)]
    async with serve_list(HostileList([], route=answer_in_circle(*pages))) as rig:
        found, failure = await walk_to_its_end(rig.start_walk(page_size=3, read_ahead=read_ahead))
    assert found == [name for page in pages for name in page]
    assert isinstance(failure, PaginationError)
    assert len(rig.list.asked) == length + 1


@READ_AHEAD
async def test_circle_ahead_of_the_caller(read_ahead: int) -> None:
    """A list that starts to loop among pages read ahead ends in the same error after the same items."""
    pages = {None: ["a"], "a": ["b"], "b": ["c"], "c": ["d"], "d": ["c"]}
    listed = HostileList([], route=lambda asked: reply(200, listed.make_page(pages[asked.after], more=True)))
    async with serve_list(listed) as rig:
        items = aiter(rig.start_walk(page_size=1, read_ahead=read_ahead))
        found = read_ids([await anext(items), await anext(items)])
        await run_loop_until(lambda: len(rig.list.asked) == min(5, 2 + read_ahead))
        await run_loop()
        rest, failure = await walk_to_its_end(items)
    assert found + rest == ["a", "b", "c", "d"]
    assert isinstance(failure, PaginationError)
    assert len(rig.list.asked) == 5


async def test_circle_over_several_iterations() -> None:
    """A loop is detected even if every page is taken by a separate iteration."""
    async with serve_list(HostileList([], route=answer_in_circle(["a"], ["b"], ["c"]))) as rig:
        walk = rig.start_walk(page_size=1)
        assert [getattr(await walk.first(), "id", None) for _ in range(3)] == ["a", "b", "c"]
        with pytest.raises(PaginationError, match="goes round"):
            await walk.first()


async def test_circle_is_no_page_under_a_limit() -> None:
    """A page with the same last item as an earlier page is rejected even if it would fill the limit."""
    async with serve_list(HostileList([], route=answer_in_circle(["a", "b"], ["c", "d"]))) as rig:
        found, failure = await walk_to_its_end(rig.start_walk(limit=6, page_size=2))
    assert found == ["a", "b", "c", "d"]
    assert isinstance(failure, PaginationError)


async def test_last_page_of_an_earlier_one() -> None:
    """A last page with the same last item as an earlier page is rejected: its items would be repeated."""
    page = HostileList([]).make_page(["a", "b"], more=False)
    async with serve_list(
        HostileList([], {3: replace_answer(reply(200, page))}, route=answer_in_circle(["a", "b"], ["c", "d"]))
    ) as rig:
        found, failure = await walk_to_its_end(rig.start_walk(page_size=2))
    assert found == ["a", "b", "c", "d"]
    assert isinstance(failure, PaginationError)


async def test_last_page_repeats_the_cursor() -> None:
    """A last page that only repeats the item before it is the end, not a loop."""
    page = HostileList([]).make_page(["b1"], more=False)
    async with serve_list(
        HostileList(make_ids(2), {1: change_page(has_more=True), 2: replace_answer(reply(200, page))})
    ) as rig:
        assert await walk_to_its_end(rig.start_walk(page_size=2)) == (["b0", "b1"], None)


@READ_AHEAD
@pytest.mark.parametrize("times", [1, 3])
async def test_empty_page_is_asked_for_again(times: int, read_ahead: int) -> None:
    """An empty page with more to follow is requested again, with backoff, and nothing is lost."""
    plays = dict.fromkeys(range(2, 2 + times), EMPTY)
    async with serve_list(make_ids(7), plays) as rig:
        assert await walk_to_its_end(rig.start_walk(page_size=3, read_ahead=read_ahead)) == (make_ids(7), None)
    assert len(rig.list.asked) == 3 + times
    assert len(set(rig.list.asked[1 : 2 + times])) == 1
    assert len(rig.clock.sleeps) == times


@READ_AHEAD
async def test_empty_pages_for_ever(read_ahead: int) -> None:
    """The fourth consecutive empty page is an error after all items before it, and the walk can continue later."""
    async with serve_list(make_ids(7), dict.fromkeys(range(3, 7), EMPTY)) as rig:
        walk = rig.start_walk(page_size=3, read_ahead=read_ahead)
        found, failure = await walk_to_its_end(walk)
        assert found == make_ids(6)
        assert isinstance(failure, PaginationError)
        assert len(rig.list.asked) == 6
        assert await walk_to_its_end(walk) == (["b6"], None)


async def test_empty_pages_from_the_begin() -> None:
    """A list that is always empty and always has more is an error, even on its first page."""
    async with serve_list([], dict.fromkeys(range(1, 5), EMPTY)) as rig:
        found, failure = await walk_to_its_end(rig.start_walk())
    assert (found, len(rig.list.asked)) == ([], 4)
    assert isinstance(failure, PaginationError)


async def test_empty_last_page() -> None:
    """An empty page without more to follow is the end."""
    async with serve_list(make_ids(3), {1: change_page(has_more=True)}) as rig:
        assert await walk_to_its_end(rig.start_walk(page_size=3)) == (make_ids(3), None)
    assert len(rig.list.asked) == 2


async def test_empty_list() -> None:
    """An empty list has no items and takes one request."""
    async with serve_list([]) as rig:
        assert await walk_to_its_end(rig.start_walk()) == ([], None)
    assert len(rig.list.asked) == 1


async def test_too_long_page() -> None:
    """A page of 150 items for a limit of 100 is delivered whole, and the next page starts after it."""
    data = [{"id": name} for name in make_ids(150)]
    async with serve_list(make_ids(200), {1: change_page(data=data)}) as rig:
        assert await walk_to_its_end(rig.start_walk()) == (make_ids(200), None)
    assert [asked.after for asked in rig.list.asked] == [None, "b149"]


async def test_too_long_page_under_a_limit() -> None:
    """A page longer than requested does not deliver more than the walk's limit."""
    data = [{"id": name} for name in make_ids(150)]
    async with serve_list(make_ids(200), {1: change_page(data=data)}) as rig:
        assert await walk_to_its_end(rig.start_walk(limit=100)) == (make_ids(100), None)
    assert len(rig.list.asked) == 1


@READ_AHEAD
async def test_ids_of_the_page_before(read_ahead: int) -> None:
    """Items that the next page repeats are delivered once."""
    data = [{"id": name} for name in ("b1", "b2", "b3", "b4")]
    async with serve_list(make_ids(9), {2: change_page(data=data)}) as rig:
        walk = rig.start_walk(page_size=3, limit=8, read_ahead=read_ahead)
        assert await walk_to_its_end(walk) == (make_ids(8), None)


async def test_page_of_known_ids_only() -> None:
    """A page with nothing new but a different last id is skipped."""
    data = [{"id": name} for name in ("b0", "b1")]
    plays: dict[int, Play] = {
        2: change_page(data=data, has_more=True),
        3: change_page(data=[{"id": "b3"}, {"id": "b4"}]),
    }
    async with serve_list(make_ids(5), plays) as rig:
        assert await walk_to_its_end(rig.start_walk(page_size=3)) == (make_ids(5), None)


async def test_inclusive_cursor() -> None:
    """A server whose page starts with the cursor's own item delivers it once."""
    pages = {None: make_ids(3), "b2": ["b2", "b3", "b4"], "b4": ["b4", "b5"]}
    route = HostileList(
        [], route=lambda asked: reply(200, route.make_page(pages[asked.after], more=asked.after != "b4"))
    )
    async with serve_list(route) as rig:
        assert await walk_to_its_end(rig.start_walk(page_size=3)) == (make_ids(6), None)


KINDS: dict[str, tuple[Play, type[BardgeError], int]] = {
    "5xx page": (replace_answer(reply(502, body=b"<html>")), NoAnswerError, 4),
    "5xx": (replace_answer(error(500)), ServerError, 4),
    "429": (replace_answer(error(429)), RateLimitError, 4),
    "cut": (replace_answer(cut()), NoAnswerError, 4),
    "4xx": (replace_answer(error(400, "invalid_request_error", "resource_missing")), PaginationError, 1),
    "404": (replace_answer(error(404, "invalid_request_error")), PaginationError, 1),
    "410": (replace_answer(error(410, "invalid_request_error")), PaginationError, 1),
    "has_more missing": (omit_member("has_more"), DecodeError, 1),
    "has_more null": (change_page(has_more=None), DecodeError, 1),
    "has_more text": (change_page(has_more="true"), DecodeError, 1),
    "data no list": (change_page(data={}), DecodeError, 1),
    "data missing": (omit_member("data"), DecodeError, 1),
}


@pytest.mark.parametrize("read_ahead", [0, 1, 4])
@pytest.mark.parametrize("page", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
async def test_error_on_a_page(kind: str, page: int, read_ahead: int) -> None:
    """An error on any page is raised after all items before it, with the cursor, and the same walk can continue."""
    play, expected, attempts = KINDS[kind]
    if page == 1 and expected is PaginationError:
        expected = BardgeError
    async with serve_list(make_ids(11), dict.fromkeys(range(page, page + attempts), play)) as rig:
        walk = rig.start_walk(page_size=3, read_ahead=read_ahead)
        found, failure = await walk_to_its_end(walk)
        assert isinstance(failure, expected)
        assert found == make_ids(3 * (page - 1))
        assert read_ids(await rig.bardge.resume(failure.cursor or "").collect()) == make_ids(11)[len(found) :]
        assert await walk_to_its_end(walk) == (make_ids(11)[len(found) :], None)
        assert rig.is_settled()


@pytest.mark.parametrize(
    ("play", "problem"),
    [
        (omit_member("has_more"), "$.has_more: "),
        (change_page(data=7), "$.data: "),
        (change_page(data=[3]), "$.data[0]: "),
    ],
)
async def test_decode_error_names_the_path(play: Play, problem: str) -> None:
    """A page of another shape is an error that names the path."""
    async with serve_list(make_ids(2), {1: play}) as rig:
        _, failure = await walk_to_its_end(rig.start_walk())
    assert isinstance(failure, DecodeError)
    assert failure.problems[0].startswith(problem)


async def test_refused_start_is_the_callers() -> None:
    """A cursor that the caller gave is the caller's fault if it is rejected, not the list's."""
    async with serve_list(make_ids(2)) as rig:
        _, failure = await walk_to_its_end(rig.start_walk(starting_after="gone"))
    assert isinstance(failure, InvalidRequestError)
    assert failure.cursor


@pytest.mark.parametrize("status", [401, 403])
async def test_refusals_that_are_not_about_the_cursor(status: int) -> None:
    """A key that is rejected during a walk is reported as such."""
    async with serve_list(make_ids(4), {2: replace_answer(error(status, "authentication_error"))}) as rig:
        found, failure = await walk_to_its_end(rig.start_walk(page_size=2))
    assert found == make_ids(2)
    assert getattr(failure, "status", None) == status


async def walk_copay(rig: ListRig, **options: Any) -> tuple[list[str | None], BardgeError | None]:
    return await walk_to_its_end(rig.bardge.copay.list_gym_options("branch", **options))


async def test_cursor_field_of_the_row() -> None:
    """Pages follow the endpoint's own cursor field."""
    async with serve_list(HostileList(make_ids(5), field="copay_package_id")) as rig:
        assert await walk_copay(rig, page_size=2) == (make_ids(5), None)
    assert [asked.after for asked in rig.list.asked] == [None, "b1", "b3"]


@READ_AHEAD
async def test_item_without_id(read_ahead: int) -> None:
    """Items without a cursor field are delivered; the error comes when the next page is needed."""
    listed = HostileList([], field="copay_package_id")
    plays: dict[int, Play] = {
        1: replace_answer(reply(200, listed.make_page(["a", "b"], more=True))),
        2: replace_answer(reply(200, listed.make_page(["c", None], more=True))),
    }
    async with serve_list(HostileList([], plays)) as rig:
        found, failure = await walk_copay(rig, page_size=2, read_ahead=read_ahead)
    assert found == ["a", "b", "c", None]
    assert isinstance(failure, PaginationError)
    assert (len(rig.list.asked), failure.cursor) == (2, None)


async def test_last_item_without_id() -> None:
    """An item without a cursor field on the last page is no error."""
    page = HostileList([], field="copay_package_id").make_page([None, "b", None], more=False)
    async with serve_list([], {1: replace_answer(reply(200, page))}) as rig:
        assert await walk_copay(rig) == ([None, "b", None], None)


async def test_place_of_an_item_without_id() -> None:
    """After an item without a cursor field there is no cursor; after the next item there is."""
    page = HostileList([], field="copay_package_id").make_page([None, "b"], more=False)
    async with serve_list([], {1: replace_answer(reply(200, page))}) as rig:
        walk = rig.bardge.copay.list_gym_options("branch")
        items = aiter(walk)
        assert isinstance(await anext(items), CopayOption)
        with pytest.raises(PaginationError, match="copay_package_id"):
            _ = walk.cursor
        await anext(items)
        assert '"after":"b"' in walk.cursor
        await items.aclose()
