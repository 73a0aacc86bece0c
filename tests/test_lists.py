"""Plain iteration over lists: the right items, in the server's order, in pages of the requested size."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

import pytest

from bardge_async import BardgeClient, Pass, errors
from bardge_async.sandbox import Sandbox
from tests.support.rig import Rig, open_rig
from tests.support.server import Step, cut, reply


def reply_page(*ids: str, more: bool = False, key: str = "id") -> Step:
    return reply(200, {"object": "list", "data": [{key: i} for i in ids], "has_more": more})


def list_queries(it: Rig) -> list[dict[str, str]]:
    return [dict(parse_qsl(r.target.partition("?")[2])) for r in it.server.requests]


async def collect_ids(bardge: BardgeClient, **span: Any) -> list[str | None]:
    return [item.id async for item in bardge.passes.list(**span)]


async def test_all_pages() -> None:
    """A list is walked over all its pages, each requested by the last id of the one before."""
    async with open_rig(reply_page("a", "b", more=True), reply_page("c", "d", more=True), reply_page("e")) as it:
        assert await collect_ids(it.bardge) == ["a", "b", "c", "d", "e"]
    sent = list_queries(it)
    assert [query.get("starting_after") for query in sent] == [None, "b", "d"]
    assert {query["limit"] for query in sent} == {"100"}


async def test_empty_list() -> None:
    """A list without items takes one request and yields nothing."""
    async with open_rig(reply_page()) as it:
        assert await collect_ids(it.bardge) == []
    assert it.request_count == 1


async def test_nothing_is_sent_before_iteration() -> None:
    """Creating a walk sends nothing."""
    async with open_rig(reply_page("a")) as it:
        it.bardge.passes.list(limit=5)
    assert it.request_count == 0


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 4, 99])
async def test_limit_counts_items(limit: int) -> None:
    """``limit`` is the number of items in total; no request asks for more than is still needed."""
    async with open_rig(reply_page("a", "b", more=True), reply_page("c", "d")) as it:
        assert await collect_ids(it.bardge, limit=limit, page_size=2) == ["a", "b", "c", "d"][:limit]
    wanted = {0: [], 1: ["1"], 2: ["2"], 3: ["2", "1"]}.get(limit, ["2", "2"])
    assert [query["limit"] for query in list_queries(it)] == wanted


async def test_starting_after() -> None:
    """The walk starts after the given id."""
    async with open_rig(reply_page("c", more=True), reply_page("d")) as it:
        assert await collect_ids(it.bardge, starting_after="b/ü") == ["c", "d"]
    assert [query["starting_after"] for query in list_queries(it)] == ["b/ü", "c"]


async def test_ending_before() -> None:
    """A walk backward requests what is before its id, and sends no other cursor."""
    async with open_rig(reply_page("a", "b")) as it:
        assert sorted(map(str, await collect_ids(it.bardge, ending_before="c"))) == ["a", "b"]
    (query,) = list_queries(it)
    assert (query["ending_before"], "starting_after" in query) == ("c", False)


async def test_place_goes_with_every_page() -> None:
    """Latitude and longitude are sent with each page."""
    async with open_rig(reply_page("a", more=True), reply_page("b")) as it:
        _ = [item async for item in it.bardge.providers.list(lat=6.45, lon=-3.4)]
    assert [(query["lat"], query["lon"]) for query in list_queries(it)] == [("6.45", "-3.4")] * 2


async def test_own_cursor_field() -> None:
    """Co-pay options, which have no ``id``, are walked by their own field."""
    async with open_rig(
        reply_page("o1", more=True, key="copay_package_id"), reply_page("o2", key="copay_package_id")
    ) as it:
        found = [item.copay_package_id async for item in it.bardge.copay.list_gym_options("branch/1")]
    assert (found, list_queries(it)[1]["starting_after"]) == (["o1", "o2"], "o1")
    assert it.server.requests[0].path == "/providers/branch%2F1/gym-copay-options"


async def test_plain_list() -> None:
    """A bare list ends after its items."""
    async with open_rig(reply(200, body=json.dumps([{"id": "yoga"}]).encode())) as it:
        assert [item.id async for item in it.bardge.classes.list_categories()] == ["yoga"]
    assert it.request_count == 1


async def test_page_is_repeated_like_any_get() -> None:
    """A page without a usable response is requested again; no item is lost or repeated."""
    async with open_rig(reply_page("a", more=True), cut(), reply(502, body=b"<html>"), reply_page("b")) as it:
        assert await collect_ids(it.bardge) == ["a", "b"]
    assert [query.get("starting_after") for query in list_queries(it)] == [None, "a", "a", "a"]


async def test_leaving_early() -> None:
    """Leaving an ``async for`` early leaves the client usable."""
    async with open_rig(reply_page("a", "b", more=True), reply_page("c")) as it:
        async for item in it.bardge.passes.list(page_size=2, limit=2):
            assert item == Pass(id="a")
            break
        assert await collect_ids(it.bardge, limit=1) == ["c"]


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("limit", {"limit": -1}),
    ("limit", {"limit": 1.5}),
    ("limit", {"limit": True}),
    ("limit", {"limit": "5"}),
    ("page_size", {"page_size": 0}),
    ("page_size", {"page_size": 101}),
    ("page_size", {"page_size": None}),
    ("page_size", {"page_size": True}),
    ("starting_after", {"starting_after": ""}),
    ("starting_after", {"starting_after": 5}),
    ("ending_before", {"ending_before": ""}),
    ("ending_before", {"starting_after": "a", "ending_before": "b"}),
]


@pytest.mark.parametrize(("name", "span"), REFUSED)
async def test_refused_span(name: str, span: dict[str, Any]) -> None:
    """A wrong span is rejected by name before anything is sent."""
    async with open_rig(reply_page("a")) as it:
        with pytest.raises(errors.InvalidArgumentError, match=name):
            await collect_ids(it.bardge, **span)
    assert it.request_count == 0


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("lat", {"lat": 91, "lon": 0}),
        ("lon", {"lat": 0, "lon": -180.1}),
        ("lat", {"lat": float("nan"), "lon": 0}),
        ("lat", {"lat": "6.5", "lon": 0}),
        ("lat", {"lat": True, "lon": 0}),
        ("lon", {"lat": 6.5}),
        ("lat", {"lon": 3.4}),
    ],
)
async def test_refused_place(name: str, place: dict[str, Any]) -> None:
    """An invalid location is rejected by name before anything is sent."""
    async with open_rig(reply_page("a")) as it:
        with pytest.raises(errors.InvalidArgumentError, match=name):
            _ = [item async for item in it.bardge.providers.list_for_pass("pass_1", **place)]
    assert it.request_count == 0


@pytest.mark.parametrize("page_size", [1, 7, 100])
async def test_sandbox_list(page_size: int) -> None:
    """Over the sandbox any page size gives the same items, each once."""
    async with Sandbox() as sandbox, BardgeClient(sandbox.api_key, sandbox.base_url) as bardge:
        found = await collect_ids(bardge, page_size=page_size)
        half = len(found) // 2
        assert await collect_ids(bardge, page_size=page_size, limit=half) == found[:half]
        assert await collect_ids(bardge, page_size=page_size, starting_after=found[half - 1]) == found[half:]
        before = await collect_ids(bardge, page_size=page_size, ending_before=found[half])
    assert len(set(found)) == len(found) >= 10
    assert sorted(map(str, before)) == sorted(map(str, found[:half]))


async def test_unknown_cursor() -> None:
    """A cursor that names no item is an error, never a short list."""
    async with Sandbox() as sandbox, BardgeClient(sandbox.api_key, sandbox.base_url) as bardge:
        with pytest.raises(errors.BardgeError):
            await collect_ids(bardge, starting_after="pass_nobody")
