"""A walk's position in its list, and the cursors written for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Generic, TypeVar

import attrs

from bardge_async._pagination.cursor import Cursor
from bardge_async._pagination.options import PageSource, WalkOptions
from bardge_async._pagination.page_reader import PageSlice, PageStart
from bardge_async.models import Page

T = TypeVar("T")

TRAIL_LENGTH: Final = 10
"""How many of the last ids are remembered, to resume when the last item is deleted or repeated."""


@attrs.define
class Checkpoint(Generic[T]):
    """A position: ``index`` of ``items`` were delivered, and ``delivered_before`` items before those."""

    source: PageSource[T]
    options: WalkOptions
    after: str | None = None
    """Id of the item before ``items``."""
    next_start: PageStart | None = None
    """Where the page after ``items`` starts; None at the list's end."""
    trail: tuple[str, ...] = ()
    """Ids of the last items before ``items``, in order."""
    ahead: tuple[str, ...] = ()
    """Ids after this position that were already delivered (unordered map)."""
    page: Page[T] = attrs.field(factory=Page)
    items: Sequence[T] = ()
    index: int = 0
    delivered_before: int = 0

    def move_to_start(self) -> Checkpoint[T]:
        """Return the checkpoint before the first item."""
        next_start = PageStart(self.start_id, from_response=False, wanted=self.options.limit)
        return attrs.evolve(self, after=self.start_id, next_start=next_start)

    def move_to_cursor(self, cursor: Cursor) -> Checkpoint[T]:
        """Return the checkpoint that a cursor describes."""
        wanted = None if cursor.limit is None else max(0, cursor.limit - cursor.delivered)
        next_start = PageStart(
            cursor.after, cursor.delivered > 0 and cursor.after is not None, wanted, cursor.known, cursor.ahead
        )
        return attrs.evolve(
            self,
            after=cursor.after,
            next_start=None if cursor.done else next_start,
            trail=cursor.known[-TRAIL_LENGTH:],
            ahead=cursor.ahead,
            delivered_before=cursor.delivered,
        )

    @property
    def start_id(self) -> str | None:
        """The id that the walk started from."""
        return self.options.starting_after or self.options.ending_before

    @property
    def remaining_items(self) -> Sequence[T]:
        """Items that were fetched and not yet delivered."""
        return self.items[self.index :]

    @property
    def delivered_count(self) -> int:
        """Number of items delivered in total."""
        return self.delivered_before + self.index

    @property
    def last_id(self) -> str | None:
        """The id after which the walk continues; empty if the last item has none."""
        return self.source.ids_of(self.items[self.index - 1 : self.index])[0] if self.index else self.after

    def recent_ids(self) -> tuple[str, ...]:
        """Return the ids delivered last, in order, back to the first item without an id."""
        ids = self.source.ids_of(self.items[max(0, self.index - TRAIL_LENGTH) : self.index])
        if "" in ids:
            return tuple(ids[len(ids) - ids[::-1].index("") :])
        return (*self.trail, *ids)[-TRAIL_LENGTH:]

    def move_to_slice(self, page_slice: PageSlice[T] | None) -> Checkpoint[T]:
        """Return the checkpoint before a page's items, with all earlier ones delivered; None means the list's end."""
        if page_slice is None:
            return attrs.evolve(self, next_start=None)
        return Checkpoint(
            source=self.source,
            options=self.options,
            after=page_slice.start.after,
            next_start=page_slice.next_start,
            trail=self.recent_ids(),
            ahead=page_slice.start.ahead,
            page=page_slice.page,
            items=page_slice.items,
            delivered_before=self.delivered_count,
        )

    def dump_cursor(self) -> str:
        """Return the cursor for this position.

        Raises:
            PaginationError: The last delivered item has no id to continue from.
        """
        last_id = self.last_id
        if last_id == "":
            raise self.source.missing_id_error()
        return self._dump_cursor_at(
            last_id, self.recent_ids(), self.ahead, done=self.next_start is None and not self.remaining_items
        )

    def earlier_cursors(self) -> Iterator[str]:
        """Yield cursors after earlier items, latest first; items delivered since are not repeated."""
        ids = self.recent_ids()
        for at in range(len(ids) - 1, 0, -1):
            yield self._dump_cursor_at(ids[at - 1], ids[:at], ids[at:] + self.ahead, done=False)
        if ids and len(ids) == self.delivered_count - len(self.ahead):
            yield self._dump_cursor_at(self.start_id, (), ids + self.ahead, done=False)

    def _dump_cursor_at(self, after: str | None, known: tuple[str, ...], ahead: tuple[str, ...], *, done: bool) -> str:
        return Cursor(
            list=self.source.endpoint.name,
            path=self.source.path,
            query=self.source.constant_query(),
            backward=self.options.backward,
            start=self.start_id,
            after=after,
            known=known,
            ahead=ahead,
            delivered=self.delivered_count,
            limit=self.options.limit,
            page_size=self.options.page_size,
            done=done,
        ).dump()
