"""Where a walk stands in its list, and how that is written down."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Generic, TypeVar

import attrs

from bardge_async._pagination.cursor import CursorText
from bardge_async._pagination.options import Source, Span
from bardge_async._pagination.page_reader import Position, Stretch
from bardge_async.models import Page

T = TypeVar("T")

TRAIL: Final = 10
"""So many of the last ids are remembered, for going on when the very last item is deleted or comes again."""


@attrs.define
class Place(Generic[T]):
    """``index`` of ``items`` are delivered, ``before`` were so earlier; positions are as in :class:`Position`."""

    source: Source[T]
    span: Span
    after: str | None = None
    """Id of the item before ``items``."""
    behind: Position | None = None
    """After ``items``; None at the list's end."""
    trail: tuple[str, ...] = ()
    """Ids of the last items before ``items``, in order."""
    ahead: tuple[str, ...] = ()
    """Ids behind the place that were delivered already."""
    page: Page[T] = attrs.field(factory=Page)
    items: Sequence[T] = ()
    index: int = 0
    before: int = 0

    def begin(self) -> Place[T]:
        """Return the place before the first item."""
        behind = Position(self.start, ours=False, wanted=self.span.limit)
        return attrs.evolve(self, after=self.start, behind=behind)

    def read(self, text: CursorText) -> Place[T]:
        """Return the place that a cursor says."""
        wanted = None if text.limit is None else max(0, text.limit - text.delivered)
        behind = Position(text.after, text.delivered > 0 and text.after is not None, wanted, text.known, text.ahead)
        return attrs.evolve(
            self,
            after=text.after,
            behind=None if text.done else behind,
            trail=text.known[-TRAIL:],
            ahead=text.ahead,
            before=text.delivered,
        )

    @property
    def start(self) -> str | None:
        """Return the id that the walk began at."""
        return self.span.starting_after or self.span.ending_before

    @property
    def left(self) -> Sequence[T]:
        """Items that were fetched and not delivered."""
        return self.items[self.index :]

    @property
    def delivered(self) -> int:
        """How many items were delivered in all."""
        return self.before + self.index

    @property
    def point(self) -> str | None:
        """Return the id behind which the walk goes on; empty where the last item has none."""
        return self.source.ids_of(self.items[self.index - 1 : self.index])[0] if self.index else self.after

    def recent(self) -> tuple[str, ...]:
        """Return the last delivered ids in order, as far back as every item has one."""
        ids = self.source.ids_of(self.items[max(0, self.index - TRAIL) : self.index])
        if "" in ids:
            return tuple(ids[len(ids) - ids[::-1].index("") :])
        return (*self.trail, *ids)[-TRAIL:]

    def entered(self, stretch: Stretch[T] | None) -> Place[T]:
        """Return the place before a page's items, all items before it being delivered; None is the list's end."""
        if stretch is None:
            return attrs.evolve(self, behind=None)
        return Place(
            source=self.source,
            span=self.span,
            after=stretch.start.after,
            behind=stretch.behind,
            trail=self.recent(),
            ahead=stretch.start.ahead,
            page=stretch.page,
            items=stretch.items,
            before=self.delivered,
        )

    def text(self) -> str:
        """Write the place down.

        Raises:
            PaginationError: The last delivered item has no id to go on from.
        """
        point = self.point
        if point == "":
            raise self.source.no_id()
        return self._text(point, self.recent(), self.ahead, done=self.behind is None and not self.left)

    def earlier(self) -> Iterator[str]:
        """Write down the places behind earlier items, latest first; what was delivered since then comes no more."""
        ids = self.recent()
        for at in range(len(ids) - 1, 0, -1):
            yield self._text(ids[at - 1], ids[:at], ids[at:] + self.ahead, done=False)
        if ids and len(ids) == self.delivered - len(self.ahead):
            yield self._text(self.start, (), ids + self.ahead, done=False)

    def _text(self, after: str | None, known: tuple[str, ...], ahead: tuple[str, ...], *, done: bool) -> str:
        return CursorText(
            list=self.source.row.name,
            path=self.source.path,
            query=self.source.again(),
            backward=self.span.backward,
            start=self.start,
            after=after,
            known=known,
            ahead=ahead,
            delivered=self.delivered,
            limit=self.span.limit,
            page_size=self.span.page_size,
            done=done,
        ).dump()
