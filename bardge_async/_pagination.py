"""Walks over paginated lists."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Final, Generic, TypeVar

import attrs

from bardge_async.errors import InvalidArgumentError
from bardge_async.models import Page

T = TypeVar("T")

LARGEST_PAGE: Final = 100


@attrs.frozen(kw_only=True)
class Span:
    """Which part of a list is wanted, and in pages of which size."""

    limit: int | None = None
    page_size: int = LARGEST_PAGE
    starting_after: str | None = None
    ending_before: str | None = None

    def __attrs_post_init__(self) -> None:
        if not _whole(self.page_size) or not 1 <= self.page_size <= LARGEST_PAGE:
            raise InvalidArgumentError(f"page_size: expected 1 to {LARGEST_PAGE}, got {self.page_size!r:.40}")
        if self.limit is not None and (not _whole(self.limit) or self.limit < 0):
            raise InvalidArgumentError(f"limit: expected a whole number of items from 0, got {self.limit!r:.40}")
        for name in ("starting_after", "ending_before"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise InvalidArgumentError(f"{name}: expected an item's id, got {value!r:.80}")
        if self.starting_after is not None and self.ending_before is not None:
            raise InvalidArgumentError("starting_after, ending_before: give one of the two, never both")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class Walk(Generic[T]):
    """Walk a list item by item, over all its pages: ``async for item in walk``."""

    def __init__(self, fetch: Callable[[Mapping[str, object]], Awaitable[Page[T]]], span: Span, cursor: str) -> None:
        self._fetch = fetch
        self._span = span
        self._cursor = cursor

    async def __aiter__(self) -> AsyncGenerator[T]:
        """Yield the items, page after page, ``limit`` of them at most."""
        span = self._span
        wanted = span.limit
        after, before = span.starting_after, span.ending_before
        while wanted is None or wanted > 0:
            size = span.page_size if wanted is None else min(span.page_size, wanted)
            page = await self._fetch({"limit": size, "starting_after": after, "ending_before": before})
            for item in page.items[:wanted]:
                yield item
            if wanted is not None:
                wanted -= len(page.items)
            if not page.has_more or not page.items:
                return
            if before is None:
                after = getattr(page.items[-1], self._cursor)
            else:
                before = getattr(page.items[0], self._cursor)
