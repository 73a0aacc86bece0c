"""Fetch pages in sequence, some ahead of the caller, and detect lists that do not end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import attrs

from bardge_async._pagination.options import PageSource, WalkOptions
from bardge_async._runtime.tasks import cancel_and_wait
from bardge_async.errors import APIError
from bardge_async.models import Page

T = TypeVar("T")

_EMPTY_PAGE_RETRIES: Final = 3
_UNRELATED_TO_CURSOR: Final = frozenset({401, 403, 407, 408, 425, 429})
"""The 4xx statuses that say nothing about the cursor that was sent."""


@attrs.frozen(eq=False, repr=False)
class PageStart:
    """Where the next page starts.

    ``after`` is the id before it: None at the start of the list, empty if that item has none; ``from_response``: the
    server sent this id, the caller did not. ``known``: ids just delivered, which the next page may repeat. ``ahead``:
    later ids already delivered (unordered map). ``wanted``: items still to deliver, or None without a limit.
    """

    after: str | None
    from_response: bool
    wanted: int | None
    known: tuple[str, ...] = ()
    ahead: tuple[str, ...] = ()


@attrs.frozen(eq=False, repr=False)
class PageSlice(Generic[T]):
    """A page's new items in the walk's order, and where this page and the next one start; None at the list's end."""

    page: Page[T]
    items: Sequence[T]
    start: PageStart
    next_start: PageStart | None


class PageReader(Generic[T]):
    """Fetch page slices from a position onward; ``last_ids`` are the last ids of the pages delivered before."""

    def __init__(self, source: PageSource[T], options: WalkOptions, start: PageStart, last_ids: set[str]) -> None:
        self._source = source
        self._options = options
        self._last_ids = last_ids
        self._fetched_last_ids: set[str] = set()
        self._next_start: PageStart | None = start
        self._slice_count = 0
        # A CancelledError in the queue means that something other than this reader cancelled the task.
        self._slices: asyncio.Queue[PageSlice[T] | Exception | asyncio.CancelledError | None] = asyncio.Queue()
        self._free_slots = asyncio.Semaphore(0)
        self._task: asyncio.Task[None] | None = None

    async def next_slice(self) -> PageSlice[T] | None:
        """Return the next slice; None at the list's end."""
        ahead = self._task is not None and not (self._task.done() and self._slices.empty())
        page_slice = await (self._take_read_ahead() if ahead else self._fetch_slice())
        if page_slice is None:
            return None
        self._slice_count += 1
        # Read ahead from the second page on: a caller that needs only one page sends only one request.
        if self._slice_count > 1 and self._task is None and self._options.read_ahead and self._next_start is not None:
            self._free_slots = asyncio.Semaphore(self._options.read_ahead)
            self._task = asyncio.create_task(self._read_ahead())
        if self._task is not None:
            # One loop iteration starts the next request, even if the caller never awaits anything.
            await asyncio.sleep(0)
        return page_slice

    async def aclose(self) -> None:
        """Stop reading ahead and release the connection."""
        if self._task is not None:
            await cancel_and_wait([self._task])

    async def _take_read_ahead(self) -> PageSlice[T] | None:
        found = await self._slices.get()
        if isinstance(found, asyncio.CancelledError):
            self._task = None
            return await self._fetch_slice()
        self._free_slots.release()
        try:
            if isinstance(found, Exception):
                raise found
            return found
        finally:
            del found  # an exception keeps this frame alive

    async def _read_ahead(self) -> None:
        try:
            while self._next_start is not None:
                await self._free_slots.acquire()
                self._slices.put_nowait(await self._fetch_slice())
        except (Exception, asyncio.CancelledError) as error:
            self._slices.put_nowait(error)  # raised to the caller after all items before it
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _fetch_slice(self) -> PageSlice[T] | None:
        start = self._next_start
        if start is None or start.wanted == 0:
            return None
        if start.after == "":
            raise self._source.missing_id_error()
        page_slice = self._make_slice(start, await self._fetch_page(start))
        self._next_start = page_slice.next_start
        return page_slice

    async def _fetch_page(self, start: PageStart) -> Page[T]:
        """Fetch one page; retry one that is empty although more follows."""
        size = self._options.page_size
        if start.wanted is not None:
            # The page may repeat items that an unordered map already delivered.
            size = min(size, start.wanted + len(start.ahead))
        side = "ending_before" if self._options.backward else "starting_after"
        page: Page[T] = Page()
        for retry in range(_EMPTY_PAGE_RETRIES + 1):
            if retry:
                await self._source.pause(retry)
            page = await self._request_page({"limit": size, side: start.after}, start)
            if page.items or not page.has_more:
                return page
        text = f"{_EMPTY_PAGE_RETRIES + 1} empty pages in a row, although the server says that more follows"
        raise self._source.make_error(text, page.request_id)

    async def _request_page(self, query: dict[str, object], start: PageStart) -> Page[T]:
        try:
            return await self._source.fetch(query)
        except APIError as refused:
            if not start.from_response or refused.status in _UNRELATED_TO_CURSOR or not 400 <= refused.status < 500:  # noqa: PLR2004
                raise
            # The server itself sent this id, so the caller's arguments are not at fault.
            text = f"the server refuses the cursor {start.after!r}: {refused}"
            raise self._source.make_error(text, refused.request_id) from refused

    def _make_slice(self, start: PageStart, page: Page[T]) -> PageSlice[T]:
        items: Sequence[T] = page.items[::-1] if self._options.backward else page.items
        ids = self._source.ids_of(items)
        skip = {start.after, *start.known, *start.ahead}
        new = items if skip.isdisjoint(ids) else [item for item, id in zip(items, ids, strict=True) if id not in skip]
        last = ids[-1] if ids else ""
        self._check_cycle(last, start, page)
        wanted = None if start.wanted is None else max(0, start.wanted - len(new))
        if not page.has_more or wanted == 0:
            return PageSlice(page, new[: start.wanted], start, None)
        self._fetched_last_ids.add(last)
        ahead = tuple([id for id in start.ahead if id not in ids]) if start.ahead else ()
        return PageSlice(page, new, start, PageStart(last, True, wanted, tuple(filter(None, ids)), ahead))

    def _check_cycle(self, last: str, start: PageStart, page: Page[T]) -> None:
        """Reject a page that ends like an earlier one; the list's last page may repeat the item before it."""
        if not last or (last == start.after and not page.has_more):
            return
        if last == start.after or last in self._last_ids or last in self._fetched_last_ids:
            text = f"the list goes round: a page ends with {last!r}, as one did before"
            raise self._source.make_error(text, page.request_id)
