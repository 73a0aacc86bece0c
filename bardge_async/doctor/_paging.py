"""The rules of pagination, compared with what short pages of a list hold."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, Final, Protocol, cast

from bardge_async.errors import APIError, BardgeError, InvalidRequestError, NotFoundError

WHOLE_PAGE: Final = 100
"""The largest ``limit`` (page: Pagination)."""
_SHORT_PAGE: Final = 2
_LAGOS: Final = {"lat": 6.45, "lon": 3.4}
_METHOD_NOT_ALLOWED: Final = 405


class Ask(Protocol):
    """Send the GET of one list with query values; return plain JSON."""

    def __call__(self, **query: str | float | None) -> Awaitable[object]:
        """Send it."""
        ...


def read_list(answer: object) -> list[object]:
    """Return the items of a list as they are, whatever they are."""
    data: object = cast("dict[str, Any]", answer).get("data") if isinstance(answer, dict) else answer
    return cast("list[object]", data) if isinstance(data, list) else []


def read_items(answer: object) -> list[dict[str, Any]]:
    """Return the items of a list that are objects."""
    return [cast("dict[str, Any]", item) for item in read_list(answer) if isinstance(item, dict)]


def read_id(item: dict[str, Any], name: str) -> str | None:
    """Return an id as text; None if it is neither text nor a whole number."""
    value = item.get(name)
    if isinstance(value, str):
        return value
    try:
        return str(value) if type(value) is int else None
    except ValueError:
        # Too many digits to be printed.
        return None


def says_wrong(error: APIError) -> bool:
    """Return whether an error says that the request is not one of the API, and not that it failed for now."""
    return isinstance(error, InvalidRequestError | NotFoundError) or error.status == _METHOD_NOT_ALLOWED


async def find_broken_rules(ask: Ask, cursor: str, whole: object) -> tuple[str, ...]:
    """Compare short pages with the long one; once more if they differ, since the list may have changed meanwhile."""
    try:
        broken = await _compare_pages(ask, cursor, whole)
        return broken and await _compare_pages(ask, cursor, await ask(limit=WHOLE_PAGE))
    except APIError as error:
        return (f"a page with limit and starting_after is refused ({error.status})",) if says_wrong(error) else ()
    except BardgeError:
        return ()


async def _compare_pages(ask: Ask, cursor: str, whole: object) -> tuple[str, ...]:
    items = read_items(whole)
    ids = _read_ids(whole, cursor)
    broken = [*_check_whole_page(whole, ids), *_check_newest_first(items)]
    if not _SHORT_PAGE <= len(ids) <= WHOLE_PAGE or None in ids or len(set(ids)) < len(ids):
        return tuple(broken)
    short = await ask(limit=_SHORT_PAGE)
    short_ids = _read_ids(short, cursor)
    following = _read_ids(await ask(limit=_SHORT_PAGE, starting_after=ids[0]), cursor)
    if len(short_ids) > _SHORT_PAGE:
        broken.append(f"limit={_SHORT_PAGE} returned {len(short_ids)} items")
    elif short_ids != ids[:_SHORT_PAGE]:
        broken.append(f"limit={_SHORT_PAGE} does not return the first items of the list")
    elif len(ids) > _SHORT_PAGE and isinstance(short, dict) and cast("dict[str, Any]", short).get("has_more") is False:
        broken.append("has_more is false although more items follow")
    if following[:_SHORT_PAGE] != ids[1 : 1 + _SHORT_PAGE]:
        broken.append("starting_after does not return the items after the cursor")
    return tuple(broken)


def _read_ids(answer: object, cursor: str) -> list[str | None]:
    return [read_id(item, cursor) for item in read_items(answer)]


def _check_whole_page(whole: object, ids: Sequence[str | None]) -> Iterator[str]:
    count = len(read_list(whole))
    if count > WHOLE_PAGE:
        yield f"limit={WHOLE_PAGE} returned {count} items"
    known = [id for id in ids if id is not None]
    if len(set(known)) < len(known):
        yield "the list has an id twice"


def _check_newest_first(items: Sequence[dict[str, Any]]) -> Iterator[str]:
    times = [item.get("created") for item in items]
    if all(type(time) is int for time in times) and times != sorted(cast("list[int]", times), reverse=True):
        yield "the list is not newest first"


async def find_near(ask: Ask) -> tuple[list[object], tuple[str, ...]]:
    """Ask for what is near a place; return the items and the rules that they break."""
    try:
        near = await ask(limit=WHOLE_PAGE, **_LAGOS)
    except APIError as error:
        return [], (f"lat and lon are refused ({error.status})",) if says_wrong(error) else ()
    except BardgeError:
        return [], ()
    distances: list[Any] = [item.get("distance") for item in read_items(near)]
    numbers = not any(isinstance(one, str | bool | None | list | dict) for one in distances)
    broken = numbers and distances != sorted(distances)
    return read_list(near), ("with lat and lon, the list is not nearest first",) if broken else ()
