"""What a walk is over: a list with its arguments, and the part of it that is wanted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import attrs

from bardge_async._core.arguments import check_int
from bardge_async.endpoints import Endpoint
from bardge_async.errors import InvalidArgumentError, PaginationError
from bardge_async.models import Page

T = TypeVar("T")

MAX_PAGE_SIZE: Final = 100
MAX_READ_AHEAD: Final = 4


@attrs.frozen(kw_only=True)
class WalkOptions:
    """Which part of a list is wanted, in pages of which size, and how many of them are read ahead."""

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
            raise InvalidArgumentError("starting_after, ending_before: give one of the two, never both")

    @property
    def backward(self) -> bool:
        """Tell whether the walk goes towards the list's begin."""
        return self.ending_before is not None


def _check_id(name: str, value: object) -> None:
    if value is not None and not is_sendable_id(value):
        raise InvalidArgumentError(f"{name}: expected an item's id, got {value!r:.80}")


def is_sendable_id(value: object) -> bool:
    """Tell whether a value can be an item's id in a query: text that is not empty and has no half characters."""
    return isinstance(value, str) and value != "" and not any("\ud800" <= char <= "\udfff" for char in value)


@attrs.frozen(eq=False, repr=False)
class PageSource(Generic[T]):
    """A list: its row and arguments, how to fetch a page, and how to wait before asking for one again."""

    endpoint: Endpoint[None, Page[T]]
    path: tuple[str, ...]
    query: Mapping[str, float | None]
    fetch: Callable[[Mapping[str, object]], Awaitable[Page[T]]]
    pause: Callable[[int], Awaitable[None]]

    def ids_of(self, items: Sequence[T]) -> list[str]:
        """Return the ids that pages go by; empty where an item has none."""
        field = self.endpoint.cursor
        return [getattr(item, field) or "" for item in items]

    def missing_id_error(self) -> PaginationError:
        """Make the error of a place that no id stands for."""
        return self.make_error(
            f"an item has no {self.endpoint.cursor}, so that the list cannot be asked for what follows it"
        )

    def constant_query(self) -> dict[str, float]:
        """Return the query's values that are sent with every page."""
        return {name: value for name, value in self.query.items() if value is not None}

    def make_error(self, text: str, request_id: str | None = None) -> PaginationError:
        """Make an error of this list."""
        error = PaginationError(f"{self.endpoint.name}: {text}")
        error.endpoint, error.sent, error.request_id = self.endpoint.name, True, request_id
        return error
