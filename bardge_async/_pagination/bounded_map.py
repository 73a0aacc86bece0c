"""Bounded work over items: the tasks of one ``walk.map``, delivered in order or as they finish."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

import attrs

from bardge_async._pagination.checkpoint import TRAIL, Place
from bardge_async._pagination.options import LARGEST_PAGE
from bardge_async._pagination.page_reader import Stretch
from bardge_async._runtime.tasks import end

T = TypeVar("T")

_MOST_BEHIND: Final = 2 * LARGEST_PAGE
"""So far may items that finish earlier get ahead of one that does not: their ids must be kept, and go into cursors."""


@attrs.define(eq=False)
class Entry(Generic[T]):
    """An item under work; once delivered only its ``id`` is kept. ``ahead`` is that of the item's page."""

    item: T | None
    id: str
    ahead: tuple[str, ...]
    task: asyncio.Task[Any] | None

    @property
    def delivered(self) -> bool:
        """Tell whether its result was delivered."""
        return self.task is None

    @property
    def done(self) -> bool:
        """Tell whether it is finished and not yet delivered."""
        return self.task is not None and self.task.done()


async def _call(fn: Callable[[T], Awaitable[Any]], item: T) -> Any:  # noqa: ANN401 - the caller's result
    return await fn(item)


class Work(Generic[T]):
    """Run a function over items, at most ``concurrency`` of them taken and not delivered.

    The ledger holds what was taken, in order, from the first undelivered item on.
    """

    def __init__(self, place: Place[T], concurrency: int, *, ordered: bool) -> None:
        self.page: asyncio.Task[Stretch[T] | None] | None = None
        self._ledger: deque[Entry[T]] = deque()
        self._after = place.point
        self._trail = deque(place.recent(), maxlen=TRAIL)
        self._concurrency = concurrency
        self._ordered = ordered
        self._taken = 0
        self._finished: deque[Entry[T]] = deque()
        self._changed = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Tell whether an item was taken and not delivered."""
        return bool(self._ledger)

    @property
    def room(self) -> int:
        """How many items may be taken now."""
        return min(self._concurrency - self._taken, self._concurrency + _MOST_BEHIND - len(self._ledger))

    @property
    def due(self) -> Entry[T] | None:
        """Return the entry to deliver next, if it is done."""
        if self._ordered:
            return self._ledger[0] if self._ledger and self._ledger[0].done else None
        return self._finished[0] if self._finished else None

    async def changed(self) -> None:
        """Wait until an item or the page is done."""
        await self._changed.wait()
        self._changed.clear()

    def fetch(self, page: Coroutine[Any, Any, Stretch[T] | None]) -> None:
        """Begin to wait for a page."""
        self.page = asyncio.create_task(page)
        self.page.add_done_callback(lambda _: self._changed.set())

    def start(self, place: Place[T], item: T, fn: Callable[[T], Awaitable[Any]]) -> None:
        """Begin work on an item."""
        task = asyncio.create_task(_call(fn, item))
        entry = Entry(item, place.source.ids_of([item])[0], place.ahead, task)
        task.add_done_callback(lambda _: self._finish(entry))
        self._taken += 1
        self._ledger.append(entry)

    def _finish(self, entry: Entry[T]) -> None:
        if not self._ordered:
            self._finished.append(entry)
        self._changed.set()

    def deliver(self, entry: Entry[T]) -> None:
        """Count an entry as delivered."""
        entry.item = entry.task = None
        self._taken -= 1
        if not self._ordered:
            self._finished.popleft()
        while self._ledger and self._ledger[0].delivered:
            self._after = self._ledger.popleft().id
            if self._after:
                self._trail.append(self._after)
            else:
                self._trail.clear()

    def returned(self, place: Place[T]) -> Place[T]:
        """Return the place as if what was taken and not delivered had not been taken."""
        if not self._ledger:
            return place
        undelivered: list[Any] = [entry.item for entry in self._ledger if not entry.delivered]
        passed = [entry.id for entry in self._ledger if entry.delivered]
        return attrs.evolve(
            place,
            # The place cannot be told if an item was passed that has no id.
            after="" if "" in passed else self._after,
            trail=tuple(self._trail),
            ahead=(*passed, *self._ledger[0].ahead),
            items=[*undelivered, *place.left],
            index=0,
            before=place.delivered - len(undelivered),
        )

    async def aclose(self) -> None:
        """End what still runs."""
        tasks = [entry.task for entry in self._ledger if entry.task is not None]
        await end(tasks if self.page is None else [*tasks, self.page])
