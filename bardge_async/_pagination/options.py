"""A walk's input: the list with its arguments, and the options that select part of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final, Generic, TypeVar

import attrs

from bardge_async._core.arguments import check_int
from bardge_async.endpoints import Endpoint
from bardge_async.errors import InvalidArgumentError, PaginationError
from bardge_async.models import Page, Resource

T = TypeVar("T")

MAX_PAGE_SIZE: Final = 100
MAX_READ_AHEAD: Final = 4


@attrs.frozen
class WalkOptions:
    """Which part of a list to walk, the page size, and how many pages to read ahead."""

    limit: int | None = None
    page_size: int = MAX_PAGE_SIZE
    starting_after: str | None = None
    ending_before: str | None = None
    read_ahead: int = 1

    def __attrs_post_init__(self) -> None:
        check_int("page_size", self.page_size, 1, MAX_PAGE_SIZE)
        check_int("read_ahead", self.read_ahead, 0, MAX_READ_AHEAD)
        if self.limit is not None:
            check_int("limit", self.limit, 0, None)
        _check_id("starting_after", self.starting_after)
        _check_id("ending_before", self.ending_before)
        if self.starting_after is not None and self.ending_before is not None:
            raise InvalidArgumentError("starting_after, ending_before: pass one of the two, not both")

    @property
    def backward(self) -> bool:
        """Whether the walk goes towards the start of the list."""
        return self.ending_before is not None


def _check_id(name: str, value: object) -> None:
    if value is not None and not is_sendable_id(value):
        raise InvalidArgumentError(f"{name}: expected an item's id, got {value!r:.80}")


def is_sendable_id(value: object) -> bool:
    """Return whether a value can be an item's id in a query: a non-empty string without lone surrogates."""
    return isinstance(value, str) and value != "" and not any("\ud800" <= char <= "\udfff" for char in value)


def _read_id(item: object, field: str) -> str:
    value: object = getattr(item, field)
    if isinstance(value, str):
        return value
    if value is None and isinstance(item, Resource):
        value = item.extra.get(field)  # not text, so not in the field
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return ""
    try:
        return str(value)
    except ValueError:  # more digits than Python converts
        return ""


@attrs.frozen(eq=False, repr=False)
class PageSource(Generic[T]):
    """A list: its endpoint and arguments, how to fetch a page, and how to wait before a retry."""

    endpoint: Endpoint[None, Page[T]]
    path: tuple[str, ...]
    query: Mapping[str, float | None]
    fetch: Callable[[Mapping[str, object]], Awaitable[Page[T]]]
    pause: Callable[[int], Awaitable[None]]

    def ids_of(self, items: Sequence[T]) -> list[str]:
        """Return the ids used for paging; empty where an item has none. That of a number is its text."""
        field = self.endpoint.cursor
        return [_read_id(item, field) for item in items]

    def missing_id_error(self) -> PaginationError:
        """Make the error for a position that no id identifies."""
        return self.make_error(f"an item has no {self.endpoint.cursor}, so the items after it cannot be requested")

    def constant_query(self) -> dict[str, float]:
        """Return the query values that are sent for every page."""
        return {name: value for name, value in self.query.items() if value is not None}

    def make_error(self, text: str, request_id: str | None = None) -> PaginationError:
        """Make an error about this list."""
        error = PaginationError(f"{self.endpoint.name}: {text}")
        error.endpoint, error.sent, error.request_id = self.endpoint.name, True, request_id
        return error
