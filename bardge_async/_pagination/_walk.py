"""The walk: items, pages and work over them, from a place that survives errors, breaks and processes."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Generic, Literal, TypeVar, overload

import attrs

from bardge_async._pagination._cursor import CursorText
from bardge_async._pagination._reader import Position, Reader, Stretch
from bardge_async._pagination._source import Source, Span, check_whole
from bardge_async._pagination._work import Work
from bardge_async.errors import BardgeError, InvalidArgumentError, PaginationError
from bardge_async.models import Page

T = TypeVar("T")
R = TypeVar("R")

MOST_COLLECTED: Final = 10_000
_MOST_CURSORS: Final = 10
_NO_ID: Final = object()


@attrs.define
class _Place(Generic[T]):
    """Where a walk stands: ``index`` of ``items`` are delivered, ``before`` were so earlier."""

    after: object
    """Id of the item before ``items``; None at the list's begin."""
    ahead: tuple[str, ...]
    """Ids behind the place that were delivered already."""
    behind: Position | None
    """After ``items``; None at the list's end."""
    page: Page[T]
    items: Sequence[T] = ()
    index: int = 0
    before: int = 0


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
        start = _start(span) if text is None else _resumed(text)
        behind = None if text is not None and text.done else start
        before = 0 if text is None else text.delivered
        self._place: _Place[T] = _Place(start.after, start.ahead, behind, Page(), before=before)
        self._lasts: set[str] = set()
        self._work: Work[T] | None = None
        self._running: weakref.ref[AsyncGenerator[Any]] | None = None

    @property
    def cursor(self) -> str:
        """The place as text, for ``bardge.resume(cursor)`` or ``walk.resume(cursor)`` in a later process.

        Raises:
            PaginationError: The last delivered item has no id to go on from.
        """
        after, ahead = self._point()
        if after is not None and not isinstance(after, str):
            raise self._source.error(f"the last item has no {self._source.row.cursor}: its place cannot be told")
        return self._text(after, ahead, done=self._place.behind is None and not self._left() and not self._busy)

    def resume(self, cursor: str) -> Walk[T]:
        """Go on from a cursor of this very list with these arguments; for text that left your process.

        Raises:
            InvalidArgumentError: It is no cursor, or one of another list, other arguments or another limit.
        """
        text = CursorText.load(cursor)
        source, span = self._source, self._span
        query = {name: value for name, value in source.query.items() if value is not None}
        if (text.list, text.path, text.query) != (source.row.name, source.path, query):
            raise InvalidArgumentError(f"cursor: it belongs to {text.list} with other arguments, not to this walk")
        if span.limit not in {None, text.limit} or span.backward is not text.backward:
            raise InvalidArgumentError("cursor: it belongs to a walk with another limit or direction")
        return Walk(source, _span_of(text, span.read_ahead), text)

    def __aiter__(self) -> AsyncGenerator[T]:
        """Yield the items that follow, ``limit`` of them at most over all iterations."""
        return self._claim(self._items())

    def pages(self) -> AsyncGenerator[Page[T]]:
        """Yield the pages that follow; their ``items`` are what ``async for`` would yield, in its order."""
        return self._claim(self._pages())

    async def first(self) -> T | None:
        """Return the next item, asking for one only; None if there is none."""
        one = self._span if self._left() else attrs.evolve(self._span, page_size=1, read_ahead=0)
        iterator = self._claim(self._items(one))
        try:
            return await anext(iterator, None)
        finally:
            await iterator.aclose()

    async def collect(self, *, max_items: int | None = MOST_COLLECTED) -> list[T]:
        """Return all items that follow as a list; an error leaves the walk where it was before.

        Raises:
            PaginationError: There are more than ``max_items``; None allows any number.
        """
        before, lasts = attrs.evolve(self._place), set(self._lasts)
        items: list[T] = []
        try:
            async for page in self.pages():
                items += page.items
                self._check_bound(len(items), max_items)
        except BaseException as error:
            self._place, self._lasts = before, lasts
            if isinstance(error, BardgeError):
                self._mark(error)
            raise
        return items

    def _check_bound(self, count: int, most: int | None) -> None:
        if most is not None and count > most:
            raise self._source.error(f"more than {most} items; raise max_items, or iterate")

    async def count(self) -> int:
        """Walk to the end and return how many items followed."""
        return sum([len(page.items) async for page in self.pages()])

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
        check_whole("concurrency", concurrency, 1, None)
        if errors not in {"raise", "collect"}:
            raise InvalidArgumentError(f'errors: expected "raise" or "collect", got {errors!r:.40}')
        after, ahead = self._point()
        work: Work[T] = Work(concurrency, ordered=ordered, after=after, ahead=ahead)
        return self._claim(self._mapped(work, fn, collect=errors == "collect"))

    def _claim(self, iterator: AsyncGenerator[R]) -> AsyncGenerator[R]:
        """Let one iteration run at a time: a generator that was dropped or has ended runs no more."""
        running = self._running() if self._running is not None else None
        if getattr(running, "ag_frame", None) is not None:
            raise InvalidArgumentError("walk: it is being iterated; close that iteration first, or make another walk")
        self._running = weakref.ref(iterator)
        return iterator

    def _left(self) -> Sequence[T]:
        return self._place.items[self._place.index :]

    async def _items(self, span: Span | None = None) -> AsyncGenerator[T]:
        reader = self._reader(span)
        try:
            while await self._turn(reader):
                place = self._place
                for item in place.items[place.index :]:
                    place.index += 1
                    yield item
        finally:
            await reader.aclose()

    async def _pages(self) -> AsyncGenerator[Page[T]]:
        reader = self._reader()
        try:
            while await self._turn(reader):
                items = tuple(self._left())
                self._place.index = len(self._place.items)
                yield attrs.evolve(self._place.page, items=items)
        finally:
            await reader.aclose()

    async def _mapped(
        self, work: Work[T], fn: Callable[[T], Awaitable[R]], *, collect: bool
    ) -> AsyncGenerator[R | Exception]:
        reader = self._reader()
        self._work = work
        try:
            while await self._fill(reader, work, fn):
                entry = await work.finished()
                failure = None if entry.task.cancelled() else entry.task.exception()
                if failure is not None and not (collect and isinstance(failure, Exception)):
                    raise failure
                work.deliver(entry)
                yield entry.task.result() if failure is None else failure
        except BardgeError as error:
            self._mark(error)
            raise
        finally:
            await work.stop()
            await reader.aclose()
            self._put_back(work)

    async def _fill(self, reader: Reader[T], work: Work[T], fn: Callable[[T], Awaitable[Any]]) -> bool:
        """Start work on items while there is room; tell whether any work is left."""
        while work.room:
            try:
                if not await self._turn(reader):
                    break
            except BardgeError:
                # Its own place is after all items before it.
                if work.ledger:
                    break
                raise
            place = self._place
            for item in place.items[place.index : place.index + work.room]:
                place.index += 1
                work.start(item, self._id(item), fn)
        return bool(work.ledger)

    def _put_back(self, work: Work[T]) -> None:
        """Let what was taken but not delivered come again, in order."""
        self._work = None
        if work.ledger:
            place, undelivered = self._place, work.undelivered
            before = place.before + place.index - len(undelivered)
            items = [*undelivered, *self._left()]
            self._place = _Place(work.after, work.ahead, place.behind, place.page, items, before=before)

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
            if stretch is None:
                self._place.behind = None
                return False
            self._enter(stretch)
        return True

    def _enter(self, stretch: Stretch[T]) -> None:
        old, start = self._place, stretch.start
        if stretch.behind is not None and stretch.behind.after is not None:
            self._lasts.add(stretch.behind.after)
        before = old.before + old.index
        self._place = _Place(start.after, start.ahead, stretch.behind, stretch.page, stretch.items, before=before)

    def _id(self, item: T) -> object:
        value: object = getattr(item, self._source.row.cursor)
        return value if isinstance(value, str) else _NO_ID

    def _point(self) -> tuple[object, tuple[str, ...]]:
        """Return the id behind which the walk goes on, and ids that are not to be delivered again."""
        place = self._place
        if self._busy and self._work is not None:
            return self._work.after, self._work.ahead
        return self._id(place.items[place.index - 1]) if place.index else place.after, place.ahead

    @property
    def _busy(self) -> bool:
        """Tell whether items were taken for work and not yet delivered."""
        return self._work is not None and bool(self._work.ledger)

    @contextmanager
    def _marked(self) -> Generator[None]:
        try:
            yield
        except BardgeError as error:
            self._mark(error)
            raise

    def _mark(self, error: BardgeError) -> None:
        """Write the place on an error."""
        try:
            error.cursor = self.cursor
        except PaginationError:
            error.cursor = None
        if isinstance(error, PaginationError):
            error.cursors = tuple(self._earlier())

    def _earlier(self) -> Iterator[str]:
        """Places behind earlier items, latest first; what was delivered since then is not delivered again."""
        place = self._place
        known = place.behind.known if place.behind is not None else ()
        ids = list(known) or [id for item in place.items[: place.index] if isinstance(id := self._id(item), str)]
        for at in range(len(ids) - 1, max(-1, len(ids) - 1 - _MOST_CURSORS), -1):
            yield self._text(ids[at], tuple(ids[at + 1 :]), done=False)

    def _text(self, after: str | None, ahead: tuple[str, ...], *, done: bool) -> str:
        source, place = self._source, self._place
        undelivered = len(self._work.undelivered) if self._work is not None else 0
        return CursorText(
            list=source.row.name,
            path=source.path,
            query={name: value for name, value in source.query.items() if value is not None},
            backward=self._span.backward,
            after=after,
            ahead=ahead,
            delivered=place.before + place.index - undelivered,
            limit=self._span.limit,
            page_size=self._span.page_size,
            done=done,
        ).dump()


def _start(span: Span) -> Position:
    return Position(span.starting_after or span.ending_before, ours=False, wanted=span.limit)


def _resumed(text: CursorText) -> Position:
    wanted = None if text.limit is None else max(0, text.limit - text.delivered)
    return Position(text.after, ours=text.delivered > 0, wanted=wanted, ahead=text.ahead)


def _span_of(text: CursorText, read_ahead: int) -> Span:
    return Span(
        limit=text.limit,
        page_size=text.page_size,
        starting_after=None if text.backward else text.after,
        ending_before=text.after if text.backward else None,
        read_ahead=read_ahead,
    )


def resume(text: CursorText, source: Source[Any]) -> Walk[Any]:
    """Make the walk that a cursor says."""
    return Walk(source, _span_of(text, 1), text)
