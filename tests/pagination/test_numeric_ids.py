"""Lists whose ids are numbers: the text of an id is the cursor."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest

from bardge_async import BardgeClient, PaginationError, Walk, WireRequest, WireResponse
from bardge_async.testing import FakeTransport
from bardge_async.testing import json_response as make_json

LISTS: Final[dict[str, tuple[str, Callable[[BardgeClient], Walk[Any]]]]] = {
    "providers": ("id", lambda bardge: bardge.providers.list(page_size=2)),
    "passes": ("id", lambda bardge: bardge.passes.list(page_size=2)),
    "bookings": ("id", lambda bardge: bardge.bookings.list_for_client("c1", page_size=2)),
    "copay": ("copay_package_id", lambda bardge: bardge.copay.list_gym_options("e1", page_size=2)),
}


class NumberedList:
    """Serve items with these ids, as the JSON texts say, one page of two at a time."""

    def __init__(self, ids: Sequence[str], field: str = "id") -> None:
        self.ids = list(ids)
        self.after: list[str | None] = []
        self._field = field

    def __call__(self, request: WireRequest) -> WireResponse:
        query = parse_qs(urlsplit(request.url).query)
        after = query.get("starting_after", [None])[0]
        self.after.append(after)
        begin = 0 if after is None else self.ids.index(after) + 1
        items = ",".join(f'{{"object":"x","{self._field}":{id}}}' for id in self.ids[begin : begin + 2])
        more = json.dumps(begin + 2 < len(self.ids))
        return WireResponse(200, make_json({}).headers, f'{{"data":[{items}],"has_more":{more}}}'.encode())


def _open_client(served: NumberedList) -> BardgeClient:
    return BardgeClient("key", "https://api.example/v3", transport=FakeTransport(*[served] * 10))


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    "ids",
    [
        ["5", "0", "7", "8"],
        ["1", "-2", "3"],
        ["9007199254740993", "9007199254740992", "1"],
        ["18446744073709551616", "18446744073709551617", "2"],
        ["1.10", "1.1", "3"],
    ],
)
async def test_walk_over_numbers(ids: list[str], name: str) -> None:
    """A list whose ids are numbers is walked to its end, each page after the text of the last id."""
    field, start_walk = LISTS[name]
    served = NumberedList(ids, field)
    async with _open_client(served) as bardge:
        found = [item async for item in start_walk(bardge)]
    assert [str(item.extra[field]) for item in found] == ids
    assert served.after == [None, *ids[1:-1:2]]


async def test_cursor_of_a_number() -> None:
    """A walk over numbers is resumed from its cursor after the last item delivered."""
    served = NumberedList(["1", "2", "3", "4", "5"])
    async with _open_client(served) as bardge:
        walk = bardge.providers.list(page_size=2)
        items = aiter(walk)
        first = [(await anext(items)).extra["id"] for _ in range(3)]
        rest: list[Any] = [item.extra["id"] async for item in bardge.resume(walk.cursor)]
    assert (first, rest) == ([1, 2, 3], [4, 5])


@pytest.mark.parametrize("wrong", ["true", '{"a":1}', "[1]", '""', "null"])
async def test_neither_text_nor_number(wrong: str) -> None:
    """An id that is neither text nor a number cannot be continued after."""
    async with _open_client(NumberedList(["1", wrong, "3"])) as bardge:
        with pytest.raises(PaginationError, match="has no id"):
            await bardge.providers.list(page_size=2).collect()


async def test_mixed_spellings_of_one_list() -> None:
    """An id repeated by the next page as a text instead of a number is delivered once."""
    pages = ['{"data":[{"id":1},{"id":2}],"has_more":true}', '{"data":[{"id":"2"},{"id":3}],"has_more":false}']
    served = [WireResponse(200, make_json({}).headers, page.encode()) for page in pages]
    async with BardgeClient("key", "https://api.example/v3", transport=FakeTransport(*served)) as bardge:
        found = [item.id or item.extra["id"] async for item in bardge.providers.list()]
    assert found == [1, 2, 3]
