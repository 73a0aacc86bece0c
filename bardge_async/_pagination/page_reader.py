"""Pages one after the other, with honest ends, and some of them ahead of the caller."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import attrs

from bardge_async._pagination.options import Source, Span
from bardge_async._runtime.tasks import end
from bardge_async.errors import APIError
from bardge_async.models import Page

T = TypeVar("T")

_ASK_AGAIN: Final = 3
_NOT_ABOUT_THE_CURSOR: Final = frozenset({401, 403, 407, 408, 425, 429})


@attrs.frozen(eq=False, repr=False)
class Position:
    """Where the next page begins.

    ``after`` is the id before it: None at the list's begin, empty where the item has none; ``ours`` tells that it came
    from an answer. ``known`` are ids delivered last, which may come again, ``ahead`` ids behind the position that were
    delivered already; ``wanted`` is how many items are still wanted.
    """

    after: str | None
    ours: bool
    wanted: int | None
    known: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()


@attrs.frozen(eq=False, repr=False)
class Stretch(Generic[T]):
    """A page's new items in the walk's order, and the positions before and behind; None when the list ends here."""

    page: Page[T]
    items: Sequence[T]
    start: Position
    behind: Position | None


class Reader(Generic[T]):
    """Fetch stretches from a position on; ``lasts`` are the last ids of the pages delivered before."""

    def __init__(self, source: Source[T], span: Span, position: Position, lasts: set[str]) -> None:
        self._source = source
        self._span = span
        self._lasts = lasts
        self._ahead_lasts: set[str] = set()
        self._next: Position | None = position
        self._given = 0
        # A CancelledError in line tells that somebody else ended the task.
        self._ready: asyncio.Queue[Stretch[T] | Exception | asyncio.CancelledError | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(0)
        self._task: asyncio.Task[None] | None = None

    async def next(self) -> Stretch[T] | None:
        """Return the next stretch; None at the list's end."""
        ahead = self._task is not None and not (self._task.done() and self._ready.empty())
        stretch = await (self._take() if ahead else self._fetch())
        if stretch is None:
            return None
        self._given += 1
        if self._given > 1 and self._task is None and self._span.read_ahead and self._next is not None:
            self._room = asyncio.Semaphore(self._span.read_ahead)
            self._task = asyncio.create_task(self._read_ahead())
        if self._task is not None:
            # One turn of the loop puts the next request on the wire, also for a caller that never awaits.
            await asyncio.sleep(0)
        return stretch

    async def aclose(self) -> None:
        """Stop reading ahead and give the connection back."""
        if self._task is not None:
            await end([self._task])

    async def _take(self) -> Stretch[T] | None:
        found = await self._ready.get()
        if isinstance(found, asyncio.CancelledError):
            self._task = None
            return await self._fetch()
        self._room.release()
        try:
            if isinstance(found, Exception):
                raise found
            return found
        finally:
            del found  # an exception keeps this frame alive

    async def _read_ahead(self) -> None:
        try:
            while self._next is not None:
                await self._room.acquire()
                self._ready.put_nowait(await self._fetch())
        except (Exception, asyncio.CancelledError) as error:
            self._ready.put_nowait(error)  # raised to the caller after all items before it
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _fetch(self) -> Stretch[T] | None:
        position = self._next
        if position is None or position.wanted == 0:
            return None
        if position.after == "":
            raise self._source.no_id()
        stretch = self._stretch(position, await self._page(position))
        self._next = stretch.behind
        return stretch

    async def _page(self, position: Position) -> Page[T]:
        """Fetch one page; an empty one with more to come is asked for again."""
        size = self._span.page_size
        if position.wanted is not None:
            size = min(size, position.wanted + len(position.ahead))
        side = "ending_before" if self._span.backward else "starting_after"
        page: Page[T] = Page()
        for again in range(_ASK_AGAIN + 1):
            if again:
                await self._source.pause(again)
            page = await self._one({"limit": size, side: position.after}, position)
            if page.items or not page.has_more:
                return page
        text = f"{_ASK_AGAIN + 1} empty pages in a row, although the server says that more follows"
        raise self._source.error(text, page.request_id)

    async def _one(self, query: dict[str, object], position: Position) -> Page[T]:
        try:
            return await self._source.fetch(query)
        except APIError as refused:
            if not position.ours or refused.status in _NOT_ABOUT_THE_CURSOR or not 400 <= refused.status < 500:  # noqa: PLR2004
                raise
            text = f"the server refuses the cursor {position.after!r}: {refused}"
            raise self._source.error(text, refused.request_id) from refused

    def _stretch(self, position: Position, page: Page[T]) -> Stretch[T]:
        items: Sequence[T] = page.items[::-1] if self._span.backward else page.items
        ids = self._source.ids_of(items)
        skip = {position.after, *position.known, *position.ahead}
        new = items if skip.isdisjoint(ids) else [item for item, id in zip(items, ids, strict=True) if id not in skip]
        last = ids[-1] if ids else ""
        self._check_round(last, position, page)
        wanted = None if position.wanted is None else max(0, position.wanted - len(new))
        if not page.has_more or wanted == 0:
            return Stretch(page, new[: position.wanted], position, None)
        self._ahead_lasts.add(last)
        ahead = tuple([id for id in position.ahead if id not in ids]) if position.ahead else ()
        return Stretch(page, new, position, Position(last, True, wanted, tuple(filter(None, ids)), ahead))

    def _check_round(self, last: str, position: Position, page: Page[T]) -> None:
        """Refuse a page that ends as one did before; the very end may repeat the item before it."""
        if not last or (last == position.after and not page.has_more):
            return
        if last == position.after or last in self._lasts or last in self._ahead_lasts:
            text = f"the list goes round: a page ends with {last!r}, as one did before"
            raise self._source.error(text, page.request_id)
