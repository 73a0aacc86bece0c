"""Pages one after the other, with honest ends, and some of them ahead of the caller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import attrs

from bardge_async._pagination._source import Source, Span
from bardge_async.errors import InvalidRequestError, NotFoundError
from bardge_async.models import Page

T = TypeVar("T")

_ASK_AGAIN: Final = 3


@attrs.frozen
class Position:
    """Where the next page begins.

    ``after`` is the cursor, ``ours`` whether it came from an answer; ``known`` are the ids of the page before, which
    may come again, and ``ahead`` ids behind the position that were delivered already; ``wanted`` is how many items are
    still wanted.
    """

    after: str | None
    ours: bool
    wanted: int | None
    known: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()


@attrs.frozen
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
        self._ready: asyncio.Queue[Stretch[T] | Exception | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(span.read_ahead)
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def next(self) -> Stretch[T] | None:
        """Return the next stretch; None at the list's end. After an error only that error comes."""
        if self._failure is not None:
            raise self._failure
        try:
            stretch = await (self._fetch() if self._task is None else self._take())
        except Exception as error:
            self._failure = error
            raise
        if stretch is None:
            return None
        self._given += 1
        if self._given > 1 and self._task is None and self._span.read_ahead and self._next is not None:
            self._task = asyncio.create_task(self._read_ahead())
        if self._task is not None:
            # One turn of the loop puts the next request on the wire, also for a caller that never awaits.
            await asyncio.sleep(0)
        return stretch

    async def aclose(self) -> None:
        """Stop reading ahead and give the connection back."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({self._task})

    async def _take(self) -> Stretch[T] | None:
        found = await self._ready.get()
        self._room.release()
        if isinstance(found, Exception):
            raise found
        return found

    async def _read_ahead(self) -> None:
        found: Stretch[T] | Exception | None = None
        while not isinstance(found, Exception):
            await self._room.acquire()
            try:
                found = await self._fetch()
            except Exception as error:  # noqa: BLE001 - raised to the caller, after all items before it
                found = error
            self._ready.put_nowait(found)
            if found is None:
                return

    async def _fetch(self) -> Stretch[T] | None:
        position = self._next
        if position is None or position.wanted == 0:
            return None
        page = await self._page(position)
        stretch = self._stretch(position, page)
        self._next = stretch.behind
        return stretch

    async def _page(self, position: Position) -> Page[T]:
        """Fetch one page; an empty one with more to come is asked for again."""
        span = self._span
        size = span.page_size if position.wanted is None else min(span.page_size, position.wanted)
        side = "ending_before" if span.backward else "starting_after"
        for again in range(_ASK_AGAIN + 1):
            try:
                page = await self._source.fetch({"limit": size, side: position.after})
            except (InvalidRequestError, NotFoundError) as refused:
                if not position.ours:
                    raise
                error = self._source.error(f"the server refuses the cursor {position.after!r}: {refused}")
                raise error from refused
            if page.items or not page.has_more:
                return page
            if again < _ASK_AGAIN:
                await self._source.pause(again + 1)
        raise self._source.error(f"{_ASK_AGAIN + 1} empty pages in a row, although the server says that more follows")

    def _stretch(self, position: Position, page: Page[T]) -> Stretch[T]:
        items: Sequence[T] = page.items[::-1] if self._span.backward else page.items
        ids = [getattr(item, self._source.row.cursor) for item in items]
        known = {*position.known, *position.ahead}
        new = [item for item, id in zip(items, ids, strict=True) if id not in known] if known else items
        wanted = None if position.wanted is None else max(0, position.wanted - len(new))
        if not page.has_more or wanted == 0:
            return Stretch(page, new[: position.wanted], position, None)
        last = self._source.cursor_of(items[-1])
        if last in self._lasts or last in self._ahead_lasts or last == position.after:
            raise self._source.error(f"the list goes round: a page ends with {last!r}, as one did before")
        self._ahead_lasts.add(last)
        behind = Position(
            last,
            ours=True,
            wanted=wanted,
            known=tuple([id for id in ids if isinstance(id, str)]),
            ahead=tuple([id for id in position.ahead if id not in ids]) if position.ahead else (),
        )
        return Stretch(page, new, position, behind)
