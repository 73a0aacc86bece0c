"""Bounded work over items: the tasks of one ``walk.map``, delivered in order or as they finish."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import attrs

T = TypeVar("T")


@attrs.define(eq=False)
class Entry(Generic[T]):
    """An item under work; ``id`` is what pages go by, or not even text."""

    item: T
    id: object
    task: asyncio.Task[Any]
    delivered: bool = False


async def _call(fn: Callable[[T], Awaitable[Any]], item: T) -> Any:  # noqa: ANN401 - the caller's result
    return await fn(item)


class Work(Generic[T]):
    """Run a function over items, at most ``concurrency`` at once.

    ``ledger`` holds what was taken, in order, from the first undelivered item on; ``after`` is the id before it.
    """

    def __init__(self, concurrency: int, *, ordered: bool, after: object, ahead: tuple[str, ...]) -> None:
        self.ledger: deque[Entry[T]] = deque()
        self.after = after
        self.room = concurrency
        self._ordered = ordered
        self._ahead = ahead

    @property
    def ahead(self) -> tuple[str, ...]:
        """Ids of items that were delivered although one before them was not."""
        return (*(entry.id for entry in self.ledger if entry.delivered and isinstance(entry.id, str)), *self._ahead)

    @property
    def undelivered(self) -> list[T]:
        """Items that were taken and not delivered, in order."""
        return [entry.item for entry in self.ledger if not entry.delivered]

    def start(self, item: T, id: object, fn: Callable[[T], Awaitable[Any]]) -> None:
        """Begin work on an item."""
        self.room -= 1
        self.ledger.append(Entry(item, id, asyncio.create_task(_call(fn, item))))

    async def finished(self) -> Entry[T]:
        """Return the entry to deliver next, once it is done."""
        waiting = [entry for entry in self.ledger if not entry.delivered]
        if self._ordered:
            await asyncio.wait({waiting[0].task})
            return waiting[0]
        await asyncio.wait({entry.task for entry in waiting}, return_when=asyncio.FIRST_COMPLETED)
        return next(entry for entry in waiting if entry.task.done())

    def deliver(self, entry: Entry[T]) -> None:
        """Count an entry as delivered."""
        entry.delivered = True
        self.room += 1
        while self.ledger and self.ledger[0].delivered:
            self.after = self.ledger.popleft().id

    async def stop(self) -> None:
        """End what still runs."""
        tasks = {entry.task for entry in self.ledger if not entry.delivered}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()
