"""The walk: iterate a list's items or pages, or map over them; its position survives errors, breaks and restarts."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, Final, Generic, Literal, TypeVar, overload

import attrs

from bardge_async._core.arguments import check_bool, check_int
from bardge_async._pagination.bounded_map import BoundedMap, MapItem
from bardge_async._pagination.checkpoint import Checkpoint
from bardge_async._pagination.cursor import Cursor
from bardge_async._pagination.options import PageSource, WalkOptions
from bardge_async._pagination.page_reader import PageReader, PageSlice, PageStart
from bardge_async.errors import BardgeError, InvalidArgumentError, PaginationError
from bardge_async.models import Page

T = TypeVar("T")
R = TypeVar("R")

MAX_COLLECTED: Final = 10_000


class Walk(Generic[T]):
    """Walk a list across all its pages: ``async for item in walk``; nothing is sent until you iterate.

    The walk keeps its position: after an error or a ``break``, iterating again continues after the last delivered item.
    With ``ending_before`` it goes backward, starting with the item nearest to the given one. If the list changes during
    the walk, items present throughout are delivered exactly once. Items inserted before the current position, or
    deleted before it reaches them, are not delivered.

    Every list method takes these options, by keyword:

    * ``limit``: maximum number of items; None, the default, for the whole list.
    * ``page_size``: items per request, 1 to 100 (default 100; page: Pagination).
    * ``starting_after``: start after the item with this id.
    * ``ending_before``: walk backward from the item with this id; the item itself is excluded.
    * ``read_ahead``: pages fetched ahead while you process one, 0 to 4 (default 1).

    Raises:
        PaginationError: The list cannot be continued (``error.cursors`` are earlier positions to resume from).
        InvalidArgumentError: It is already being iterated.
        BardgeError: The request for a page failed; ``error.cursor`` is the position.
    """

    def __init__(self, source: PageSource[T], options: WalkOptions, cursor: Cursor | None = None) -> None:
        self._source = source
        self._options = options
        checkpoint: Checkpoint[T] = Checkpoint(source, options)
        self._checkpoint = checkpoint.move_to_start() if cursor is None else checkpoint.move_to_cursor(cursor)
        self._last_ids: set[str] = set()
        self._running_map: BoundedMap[T] | None = None
        self._abandoned_map: BoundedMap[T] | None = None
        self._running_iterator: weakref.ref[AsyncGenerator[Any]] | None = None

    @property
    def cursor(self) -> str:
        """The position as text, for ``bardge.resume(cursor)`` or ``walk.resume(cursor)`` in a later process.

        Raises:
            PaginationError: The last delivered item has no id to continue from.
        """
        return self._current_checkpoint().dump_cursor()

    def resume(self, cursor: str) -> Walk[T]:
        """Continue from a cursor of this list with these arguments; for cursors that left your process.

        Raises:
            InvalidArgumentError: It is not a cursor, or belongs to another list, other arguments or another limit.
        """
        parsed = Cursor.load(cursor)
        source, options = self._source, self._options
        if (parsed.list, parsed.path, parsed.query) != (source.endpoint.name, source.path, source.constant_query()):
            raise InvalidArgumentError(
                f"cursor: it belongs to {parsed.list} with other arguments; resume a walk made with the same ones"
            )
        start = options.starting_after or options.ending_before
        if (
            options.limit not in {None, parsed.limit}
            or start not in {None, parsed.start}
            or options.backward is not parsed.backward
        ):
            raise InvalidArgumentError(
                "cursor: it belongs to a walk with another limit, start or direction; resume a walk made with the same"
            )
        return Walk(source, _options_from_cursor(parsed, options.read_ahead), parsed)

    def __aiter__(self) -> AsyncGenerator[T]:
        """Yield the remaining items, at most ``limit`` over all iterations."""
        return self._claim_iteration(self._iterate_items())

    def pages(self) -> AsyncGenerator[Page[T]]:
        """Yield the remaining pages; their ``items`` are what ``async for`` would yield, in its order."""
        return self._claim_iteration(self._iterate_pages())

    async def first(self) -> T | None:
        """Return the next item, requesting only one; None if there is none."""
        options = (
            self._options
            if self._current_checkpoint().remaining_items
            else attrs.evolve(self._options, page_size=1, read_ahead=0)
        )
        async with aclosing(self._claim_iteration(self._iterate_items(options))) as items:
            return await anext(items, None)

    async def collect(self, *, max_items: int | None = MAX_COLLECTED) -> list[T]:
        """Return all remaining items as a list; after an error the walk is where it was before.

        Raises:
            PaginationError: There are more than ``max_items``; None allows any number.
        """
        with self._attach_cursor_on_error():
            if max_items is not None:
                check_int("max_items", max_items, 0, None)
        items: list[T] = []
        async with self._all_or_nothing() as pages:
            async for page in pages:
                items += page.items
                if max_items is not None and len(items) > max_items:
                    raise self._source.make_error(f"more than {max_items} items; raise max_items, or iterate")
        return items

    async def count(self) -> int:
        """Walk to the end and return the number of remaining items; after an error the walk is where it was before."""
        count = 0
        async with self._all_or_nothing() as pages:
            async for page in pages:
                count += len(page.items)
        return count

    @asynccontextmanager
    async def _all_or_nothing(self) -> AsyncGenerator[AsyncGenerator[Page[T]]]:
        """Yield the pages; an error restores the walk's earlier position."""
        pages = self.pages()
        checkpoint, last_ids = attrs.evolve(self._checkpoint), set(self._last_ids)
        try:
            async with aclosing(pages):
                yield pages
        except BaseException as error:
            self._checkpoint, self._last_ids = checkpoint, last_ids
            if isinstance(error, BardgeError):
                self._attach_cursor(error)
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
        """Yield ``await fn(item)`` for the remaining items, running at most ``concurrency`` calls concurrently.

        An item counts as delivered when its result is yielded. If ``fn`` fails, its exception ends the iteration; with
        ``errors="collect"`` the exception is yielded in place of the result.

        Raises:
            InvalidArgumentError: An argument has a wrong type, ``concurrency`` is below 1, or ``errors`` is neither
                "raise" nor "collect".
        """
        with self._attach_cursor_on_error():
            if not callable(fn):
                raise InvalidArgumentError(f"fn: expected an async function, got {fn!r:.40}")
            check_int("concurrency", concurrency, 1, None)
            check_bool("ordered", ordered)
            if errors not in ("raise", "collect"):
                raise InvalidArgumentError(f'errors: expected "raise" or "collect", got {errors!r:.40}')
        return self._claim_iteration(
            self._iterate_results(fn, concurrency, ordered=ordered, collect=errors == "collect")
        )

    def _claim_iteration(self, iterator: AsyncGenerator[R]) -> AsyncGenerator[R]:
        """Allow one iteration at a time; a generator that was dropped or has ended does not count."""
        if self._is_running():
            with self._attach_cursor_on_error():
                raise InvalidArgumentError("walk: it is being iterated; close that iteration, or make another walk")
        if self._running_map is not None:
            # Dropped without being closed: the event loop will close it, but only later.
            self._abandoned_map = self._running_map
            self._put_back(self._running_map)
        self._running_iterator = weakref.ref(iterator)
        return iterator

    def _is_running(self) -> bool:
        # Not inlined into _claim_iteration: an exception keeps that frame alive, and the generator with it.
        running = self._running_iterator() if self._running_iterator is not None else None
        return getattr(running, "ag_frame", None) is not None

    async def _close_abandoned_map(self) -> None:
        """Wait for the tasks of a dropped iteration to end before another one starts."""
        if self._abandoned_map is not None:
            await self._abandoned_map.aclose()
            self._abandoned_map = None

    async def _iterate_items(self, options: WalkOptions | None = None) -> AsyncGenerator[T]:
        await self._close_abandoned_map()
        reader = self._make_reader(options)
        try:
            while await self._ensure_items(reader):
                checkpoint = self._checkpoint
                for item in checkpoint.remaining_items:
                    checkpoint.index += 1
                    yield item
        finally:
            await reader.aclose()

    async def _iterate_pages(self) -> AsyncGenerator[Page[T]]:
        await self._close_abandoned_map()
        reader = self._make_reader()
        try:
            while await self._ensure_items(reader):
                items = tuple(self._checkpoint.remaining_items)
                self._checkpoint.index = len(self._checkpoint.items)
                yield attrs.evolve(self._checkpoint.page, items=items)
        finally:
            await reader.aclose()

    async def _iterate_results(
        self, fn: Callable[[T], Awaitable[R]], concurrency: int, *, ordered: bool, collect: bool
    ) -> AsyncGenerator[R | Exception]:
        await self._close_abandoned_map()
        reader = self._make_reader()
        bounded_map = self._running_map = BoundedMap(self._checkpoint, concurrency, ordered=ordered)
        try:
            while (map_item := await self._next_finished(bounded_map, reader, fn)) is not None:
                result = _unwrap_result(map_item, collect=collect)
                bounded_map.mark_delivered(map_item)
                yield result
        except BardgeError as error:
            self._put_back(bounded_map)
            if error.cursor is None:
                self._attach_cursor(error)
            raise
        finally:
            self._put_back(bounded_map)
            try:
                await bounded_map.aclose()
            finally:
                await reader.aclose()

    async def _next_finished(
        self, bounded_map: BoundedMap[T], reader: PageReader[T], fn: Callable[[T], Awaitable[Any]]
    ) -> MapItem[T] | None:
        """Keep tasks running until a result can be delivered; None at the end."""
        while True:
            self._start_items(bounded_map, reader, fn)
            if bounded_map.next_finished is not None or not (bounded_map.is_busy or bounded_map.page_task):
                return bounded_map.next_finished
            if not bounded_map.is_busy and bounded_map.page_task is not None and bounded_map.page_task.done():
                # The page failed: raise it here, after all items before it were delivered.
                bounded_map.page_task.result()
            await bounded_map.wait_for_change()

    def _start_items(
        self, bounded_map: BoundedMap[T], reader: PageReader[T], fn: Callable[[T], Awaitable[Any]]
    ) -> None:
        """Start tasks while slots are free; fetch the next page when the items have run out."""
        while bounded_map.free_slots > 0:
            checkpoint = self._checkpoint
            for item in checkpoint.remaining_items[: bounded_map.free_slots]:
                checkpoint.index += 1
                bounded_map.start_item(checkpoint, item, fn)
            if checkpoint.remaining_items or bounded_map.free_slots <= 0:
                return
            if bounded_map.page_task is None and checkpoint.next_start is not None:
                bounded_map.fetch_page(reader.next_slice())
            if (
                bounded_map.page_task is None
                or not bounded_map.page_task.done()
                or bounded_map.page_task.cancelled()
                or bounded_map.page_task.exception()
            ):
                return
            self._enter_slice(bounded_map.page_task.result())
            bounded_map.page_task = None

    def _put_back(self, bounded_map: BoundedMap[T]) -> None:
        """Put the items that were taken but not delivered back into the walk, in order."""
        if self._running_map is bounded_map:
            self._checkpoint = bounded_map.rewind_checkpoint(self._checkpoint)
            self._running_map = None

    def _current_checkpoint(self) -> Checkpoint[T]:
        return self._checkpoint if self._running_map is None else self._running_map.rewind_checkpoint(self._checkpoint)

    def _make_reader(self, options: WalkOptions | None = None) -> PageReader[T]:
        start = self._checkpoint.next_start or PageStart(None, from_response=False, wanted=0)
        return PageReader(self._source, options or self._options, start, self._last_ids)

    async def _ensure_items(self, reader: PageReader[T]) -> bool:
        """Fetch pages until there are items to deliver; return False at the end."""
        while self._checkpoint.index >= len(self._checkpoint.items):
            if self._checkpoint.next_start is None:
                return False
            with self._attach_cursor_on_error():
                page_slice = await reader.next_slice()
            self._enter_slice(page_slice)
        return True

    def _enter_slice(self, page_slice: PageSlice[T] | None) -> None:
        if page_slice is not None and page_slice.next_start is not None and page_slice.next_start.after:
            self._last_ids.add(page_slice.next_start.after)
        self._checkpoint = self._checkpoint.move_to_slice(page_slice)

    @contextmanager
    def _attach_cursor_on_error(self) -> Generator[None]:
        try:
            yield
        except BardgeError as error:
            self._attach_cursor(error)
            raise

    def _attach_cursor(self, error: BardgeError) -> None:
        """Set an error's ``cursor`` to the current position."""
        checkpoint = self._current_checkpoint()
        try:
            error.cursor = checkpoint.dump_cursor()
        except PaginationError:
            error.cursor = None
        if isinstance(error, PaginationError):
            error.cursors = tuple(checkpoint.earlier_cursors())


def _unwrap_result(map_item: MapItem[Any], *, collect: bool) -> Any:  # noqa: ANN401 - the caller's
    """Return an item's result, or raise its exception."""
    assert map_item.task is not None
    failure = None if map_item.task.cancelled() else map_item.task.exception()
    return failure if collect and isinstance(failure, Exception) else map_item.task.result()


def _options_from_cursor(cursor: Cursor, read_ahead: int) -> WalkOptions:
    return WalkOptions(
        limit=cursor.limit,
        page_size=cursor.page_size,
        starting_after=None if cursor.backward else cursor.start,
        ending_before=cursor.start if cursor.backward else None,
        read_ahead=read_ahead,
    )


def resume_walk(cursor: Cursor, source: PageSource[Any]) -> Walk[Any]:
    """Return the walk that a cursor describes."""
    return Walk(source, _options_from_cursor(cursor, 1), cursor)
