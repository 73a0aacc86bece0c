"""The walk: items, pages and work over them, from a place that survives errors, breaks and processes."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Final, Generic, Literal, TypeVar, overload

import attrs

from bardge_async._core.arguments import check_whole
from bardge_async._pagination.bounded_map import Entry, Work
from bardge_async._pagination.checkpoint import Place
from bardge_async._pagination.cursor import CursorText
from bardge_async._pagination.options import Source, Span
from bardge_async._pagination.page_reader import Position, Reader, Stretch
from bardge_async.errors import BardgeError, InvalidArgumentError, PaginationError
from bardge_async.models import Page

T = TypeVar("T")
R = TypeVar("R")

MOST_COLLECTED: Final = 10_000


class Walk(Generic[T]):
    """Walk a list over all its pages: ``async for item in walk``; nothing is sent before.

    The walk keeps its place: after an error or a ``break``, iterating again goes on behind the last delivered item.
    With ``ending_before`` it goes backward, the item nearest to the given one first. While rows come and go, what was
    there all along is delivered once; what appears in front of the place, or goes before it is reached, is not seen.

    Raises:
        PaginationError: The list cannot be walked on (``error.cursors`` are places to go on from).
        InvalidArgumentError: It is iterated already.
        BardgeError: What a page's call came to, with the place as ``error.cursor``.
    """

    def __init__(self, source: Source[T], span: Span, text: CursorText | None = None) -> None:
        self._source = source
        self._span = span
        place: Place[T] = Place(source, span)
        self._place = place.begin() if text is None else place.read(text)
        self._lasts: set[str] = set()
        self._work: Work[T] | None = None
        self._former: Work[T] | None = None
        self._running: weakref.ref[AsyncGenerator[Any]] | None = None

    @property
    def cursor(self) -> str:
        """The place as text, for ``bardge.resume(cursor)`` or ``walk.resume(cursor)`` in a later process.

        Raises:
            PaginationError: The last delivered item has no id to go on from.
        """
        return self._here().text()

    def resume(self, cursor: str) -> Walk[T]:
        """Go on from a cursor of this very list with these arguments; for text that left your process.

        Raises:
            InvalidArgumentError: It is no cursor, or one of another list, other arguments or another limit.
        """
        text = CursorText.load(cursor)
        source, span = self._source, self._span
        if (text.list, text.path, text.query) != (source.row.name, source.path, source.again()):
            raise InvalidArgumentError(f"cursor: it belongs to {text.list} with other arguments, not to this walk")
        start = span.starting_after or span.ending_before
        if (
            span.limit not in {None, text.limit}
            or start not in {None, text.start}
            or span.backward is not text.backward
        ):
            raise InvalidArgumentError("cursor: it belongs to a walk with another limit, start or direction")
        return Walk(source, _span_of(text, span.read_ahead), text)

    def __aiter__(self) -> AsyncGenerator[T]:
        """Yield the items that follow, ``limit`` of them at most over all iterations."""
        return self._claim(self._items())

    def pages(self) -> AsyncGenerator[Page[T]]:
        """Yield the pages that follow; their ``items`` are what ``async for`` would yield, in its order."""
        return self._claim(self._pages())

    async def first(self) -> T | None:
        """Return the next item, asking for one only; None if there is none."""
        one = self._span if self._here().left else attrs.evolve(self._span, page_size=1, read_ahead=0)
        async with aclosing(self._claim(self._items(one))) as items:
            return await anext(items, None)

    async def collect(self, *, max_items: int | None = MOST_COLLECTED) -> list[T]:
        """Return all items that follow as a list; an error leaves the walk where it was before.

        Raises:
            PaginationError: There are more than ``max_items``; None allows any number.
        """
        with self._marked():
            if max_items is not None:
                check_whole("max_items", max_items, 0, None)
        items: list[T] = []
        async with self._all_or_nothing() as pages:
            async for page in pages:
                items += page.items
                if max_items is not None and len(items) > max_items:
                    raise self._source.error(f"more than {max_items} items; raise max_items, or iterate")
        return items

    async def count(self) -> int:
        """Walk to the end and return how many items followed; an error leaves the walk where it was before."""
        count = 0
        async with self._all_or_nothing() as pages:
            async for page in pages:
                count += len(page.items)
        return count

    @asynccontextmanager
    async def _all_or_nothing(self) -> AsyncGenerator[AsyncGenerator[Page[T]]]:
        """Give the pages; an error puts the walk back to where it was."""
        pages = self.pages()
        before, lasts = attrs.evolve(self._place), set(self._lasts)
        try:
            async with aclosing(pages):
                yield pages
        except BaseException as error:
            self._place, self._lasts = before, lasts
            if isinstance(error, BardgeError):
                self._mark(error)
            raise

    @overload
    def map(
        self,
        fn: Callable[[T], Awaitable[R]],
        *,
        concurrency: int = 10,
        ordered: bool = True,
        errors: Literal["raise"] = "raise",
    ) -> AsyncGenerator[R]: ...

    @overload
    def map(
        self,
        fn: Callable[[T], Awaitable[R]],
        *,
        concurrency: int = 10,
        ordered: bool = True,
        errors: Literal["collect"],
    ) -> AsyncGenerator[R | Exception]: ...

    def map(
        self,
        fn: Callable[[T], Awaitable[R]],
        *,
        concurrency: int = 10,
        ordered: bool = True,
        errors: Literal["raise", "collect"] = "raise",
    ) -> AsyncGenerator[R | Exception]:
        """Yield ``await fn(item)`` for the items that follow, at most ``concurrency`` of them running.

        An item counts as delivered when its result is yielded. A failing ``fn`` ends the work with its exception, or
        with ``errors="collect"`` its exception is yielded in its place.

        Raises:
            InvalidArgumentError: ``concurrency`` below 1, or another ``errors``.
        """
        with self._marked():
            check_whole("concurrency", concurrency, 1, None)
            if errors not in {"raise", "collect"}:
                raise InvalidArgumentError(f'errors: expected "raise" or "collect", got {errors!r:.40}')
        return self._claim(self._mapped(fn, concurrency, ordered=ordered, collect=errors == "collect"))

    def _claim(self, iterator: AsyncGenerator[R]) -> AsyncGenerator[R]:
        """Let one iteration run at a time: a generator that was dropped or has ended runs no more."""
        if self._is_running():
            with self._marked():
                raise InvalidArgumentError("walk: it is being iterated; close that iteration, or make another walk")
        if self._work is not None:
            # Dropped without being closed: the event loop will close it, but only later.
            self._former = self._work
            self._put_back(self._work)
        self._running = weakref.ref(iterator)
        return iterator

    def _is_running(self) -> bool:
        # Apart from _claim, whose frame an exception keeps alive: the generator would be kept with it.
        running = self._running() if self._running is not None else None
        return getattr(running, "ag_frame", None) is not None

    async def _settled(self) -> None:
        """Let the work of a dropped iteration end before another one begins."""
        if self._former is not None:
            await self._former.aclose()
            self._former = None

    async def _items(self, span: Span | None = None) -> AsyncGenerator[T]:
        await self._settled()
        reader = self._reader(span)
        try:
            while await self._turn(reader):
                place = self._place
                for item in place.left:
                    place.index += 1
                    yield item
        finally:
            await reader.aclose()

    async def _pages(self) -> AsyncGenerator[Page[T]]:
        await self._settled()
        reader = self._reader()
        try:
            while await self._turn(reader):
                items = tuple(self._place.left)
                self._place.index = len(self._place.items)
                yield attrs.evolve(self._place.page, items=items)
        finally:
            await reader.aclose()

    async def _mapped(
        self, fn: Callable[[T], Awaitable[R]], concurrency: int, *, ordered: bool, collect: bool
    ) -> AsyncGenerator[R | Exception]:
        await self._settled()
        reader = self._reader()
        work = self._work = Work(self._place, concurrency, ordered=ordered)
        try:
            while (entry := await self._finished(work, reader, fn)) is not None:
                result = _result(entry, collect=collect)
                work.deliver(entry)
                yield result
        except BardgeError as error:
            self._put_back(work)
            if error.cursor is None:
                self._mark(error)
            raise
        finally:
            self._put_back(work)
            try:
                await work.aclose()
            finally:
                await reader.aclose()

    async def _finished(self, work: Work[T], reader: Reader[T], fn: Callable[[T], Awaitable[Any]]) -> Entry[T] | None:
        """Keep the work going until a result is due; None at the end."""
        while True:
            self._take(work, reader, fn)
            if work.due is not None or not (work.busy or work.page):
                return work.due
            if not work.busy and work.page is not None and work.page.done():
                # It failed; its own place is after all items before it.
                work.page.result()
            await work.changed()

    def _take(self, work: Work[T], reader: Reader[T], fn: Callable[[T], Awaitable[Any]]) -> None:
        """Start work on items while there is room; ask for the next page when they have run out."""
        while work.room > 0:
            place = self._place
            for item in place.left[: work.room]:
                place.index += 1
                work.start(place, item, fn)
            if place.left or work.room <= 0:
                return
            if work.page is None and place.behind is not None:
                work.fetch(reader.next())
            if work.page is None or not work.page.done() or work.page.cancelled() or work.page.exception():
                return
            self._enter(work.page.result())
            work.page = None

    def _put_back(self, work: Work[T]) -> None:
        """Let what was taken but not delivered come again, in order."""
        if self._work is work:
            self._place = work.returned(self._place)
            self._work = None

    def _here(self) -> Place[T]:
        return self._place if self._work is None else self._work.returned(self._place)

    def _reader(self, span: Span | None = None) -> Reader[T]:
        behind = self._place.behind or Position(None, ours=False, wanted=0)
        return Reader(self._source, span or self._span, behind, self._lasts)

    async def _turn(self, reader: Reader[T]) -> bool:
        """See to it that items are left to deliver; False at the end."""
        while self._place.index >= len(self._place.items):
            if self._place.behind is None:
                return False
            with self._marked():
                stretch = await reader.next()
            self._enter(stretch)
        return True

    def _enter(self, stretch: Stretch[T] | None) -> None:
        if stretch is not None and stretch.behind is not None and stretch.behind.after:
            self._lasts.add(stretch.behind.after)
        self._place = self._place.entered(stretch)

    @contextmanager
    def _marked(self) -> Generator[None]:
        try:
            yield
        except BardgeError as error:
            self._mark(error)
            raise

    def _mark(self, error: BardgeError) -> None:
        """Write the place on an error."""
        here = self._here()
        try:
            error.cursor = here.text()
        except PaginationError:
            error.cursor = None
        if isinstance(error, PaginationError):
            error.cursors = tuple(here.earlier())


def _result(entry: Entry[Any], *, collect: bool) -> Any:  # noqa: ANN401 - the caller's
    """Return what came of an item, or raise it."""
    assert entry.task is not None  # noqa: S101 - it is due
    failure = None if entry.task.cancelled() else entry.task.exception()
    return failure if collect and isinstance(failure, Exception) else entry.task.result()


def _span_of(text: CursorText, read_ahead: int) -> Span:
    return Span(
        limit=text.limit,
        page_size=text.page_size,
        starting_after=None if text.backward else text.start,
        ending_before=text.start if text.backward else None,
        read_ahead=read_ahead,
    )


def resume(text: CursorText, source: Source[Any]) -> Walk[Any]:
    """Make the walk that a cursor says."""
    return Walk(source, _span_of(text, 1), text)
