"""The bounded concurrency behind ``walk.map``: one task per item, results in order or as they finish."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

import attrs

from bardge_async._pagination.checkpoint import TRAIL_LENGTH, Checkpoint
from bardge_async._pagination.options import MAX_PAGE_SIZE
from bardge_async._pagination.page_reader import PageSlice
from bardge_async._runtime.loops import find_running_loop
from bardge_async._runtime.tasks import cancel_and_wait

T = TypeVar("T")

_MAX_OUT_OF_ORDER: Final = 2 * MAX_PAGE_SIZE
"""How many items may finish ahead of one that does not: their ids are kept in memory and go into cursors."""


@attrs.define(eq=False)
class MapItem(Generic[T]):
    """An item that is being processed; after delivery only its ``id`` is kept. ``ahead`` is that of the item's page."""

    item: T | None
    id: str
    ahead: tuple[str, ...]
    task: asyncio.Task[Any] | None

    @property
    def is_delivered(self) -> bool:
        """Return whether its result was delivered."""
        return self.task is None

    @property
    def is_done(self) -> bool:
        """Return whether it has finished and was not yet delivered."""
        return self.task is not None and self.task.done()


async def _call_function(fn: Callable[[T], Awaitable[Any]], item: T) -> Any:  # noqa: ANN401 - the caller's result
    return await fn(item)


class BoundedMap(Generic[T]):
    """Run a function over items, with at most ``concurrency`` of them taken and not yet delivered."""

    def __init__(self, checkpoint: Checkpoint[T], concurrency: int, *, ordered: bool) -> None:
        find_running_loop()
        self.page_task: asyncio.Task[PageSlice[T] | None] | None = None
        # The items taken, in list order, from the first undelivered one.
        self._items: deque[MapItem[T]] = deque()
        self._after = checkpoint.last_id
        self._trail = deque(checkpoint.recent_ids(), maxlen=TRAIL_LENGTH)
        self._concurrency = concurrency
        self._ordered = ordered
        self._undelivered = 0
        self._finished: deque[MapItem[T]] = deque()
        self._changed = asyncio.Event()

    @property
    def is_busy(self) -> bool:
        """Return whether an item was taken and not yet delivered."""
        return bool(self._items)

    @property
    def free_slots(self) -> int:
        """Number of items that may be taken now."""
        return min(self._concurrency - self._undelivered, self._concurrency + _MAX_OUT_OF_ORDER - len(self._items))

    @property
    def next_finished(self) -> MapItem[T] | None:
        """The item to deliver next, or None if it has not finished."""
        if self._ordered:
            return self._items[0] if self._items and self._items[0].is_done else None
        return self._finished[0] if self._finished else None

    async def wait_for_change(self) -> None:
        """Wait until an item or the page has finished."""
        await self._changed.wait()
        self._changed.clear()

    def fetch_page(self, page: Coroutine[Any, Any, PageSlice[T] | None]) -> None:
        """Start fetching a page."""
        self.page_task = asyncio.create_task(page)
        self.page_task.add_done_callback(lambda _: self._changed.set())

    def start_item(self, checkpoint: Checkpoint[T], item: T, fn: Callable[[T], Awaitable[Any]]) -> None:
        """Start processing an item."""
        task = asyncio.create_task(_call_function(fn, item))
        map_item = MapItem(item, checkpoint.source.ids_of([item])[0], checkpoint.ahead, task)
        task.add_done_callback(lambda _: self._on_item_done(map_item))
        self._undelivered += 1
        self._items.append(map_item)

    def _on_item_done(self, map_item: MapItem[T]) -> None:
        if not self._ordered:
            self._finished.append(map_item)
        self._changed.set()

    def mark_delivered(self, map_item: MapItem[T]) -> None:
        """Mark an item as delivered, and advance the position past the delivered ones."""
        map_item.item = map_item.task = None
        self._undelivered -= 1
        if not self._ordered:
            self._finished.popleft()
        while self._items and self._items[0].is_delivered:
            self._after = self._items.popleft().id
            if self._after:
                self._trail.append(self._after)
            else:
                self._trail.clear()

    def rewind_checkpoint(self, checkpoint: Checkpoint[T]) -> Checkpoint[T]:
        """Return the checkpoint as if the undelivered items had not been taken."""
        if not self._items:
            return checkpoint
        undelivered: list[Any] = [entry.item for entry in self._items if not entry.is_delivered]
        passed = [entry.id for entry in self._items if entry.is_delivered]
        return attrs.evolve(
            checkpoint,
            # An item without an id was passed: no cursor can be written for this position.
            after="" if "" in passed else self._after,
            trail=tuple(self._trail),
            ahead=(*passed, *self._items[0].ahead),
            items=[*undelivered, *checkpoint.remaining_items],
            index=0,
            delivered_before=checkpoint.delivered_count - len(undelivered),
        )

    async def aclose(self) -> None:
        """Cancel the tasks that are still running, and wait for them."""
        tasks = [entry.task for entry in self._items if entry.task is not None]
        await cancel_and_wait(tasks if self.page_task is None else [*tasks, self.page_task])
