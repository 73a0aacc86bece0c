"""Lists: one page by keyset, so that the last page costs what the first one does (page: Pagination)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import attrs

from bardge_async.sandbox._errors import INVALID, VALIDATION, Refusal, invalid
from bardge_async.sandbox._request import JSON, Call
from bardge_async.sandbox._store import Row, Value

T = TypeVar("T")

_LIMIT: Final = re.compile(r"[1-9]\d?|100", re.ASCII)
_DEFAULT_LIMIT: Final = "10"


@attrs.frozen
class Window:
    """Which items a request asks for; at most one of the cursors is set."""

    limit: int
    starting_after: str | None
    ending_before: str | None

    @property
    def cursor(self) -> tuple[str, str] | None:
        """Name and value of the cursor, if one was given."""
        if self.starting_after is not None:
            return "starting_after", self.starting_after
        return None if self.ending_before is None else ("ending_before", self.ending_before)


def window_of(call: Call) -> Window:
    """Read ``limit`` and the cursors.

    Raises:
        Refusal: A limit that is no whole number from 1 to 100, or both cursors.
    """
    limit = call.query.get("limit", _DEFAULT_LIMIT)
    if not _LIMIT.fullmatch(limit):
        raise invalid("limit", f"expected a whole number from 1 to 100, got {limit[:40]!r}")
    after, before = call.query.get("starting_after"), call.query.get("ending_before")
    if after is not None and before is not None:
        message = "starting_after and ending_before cannot be used together."
        raise Refusal(400, INVALID, VALIDATION, message)
    return Window(int(limit), after, before)


@attrs.frozen
class Listing:
    """Where a list comes from: rows with ``seq`` and ``id``; ``scope`` is SQL that bounds it."""

    table: str
    scope: str = "1"
    columns: str = "*"

    def rows(self, call: Call, window: Window, bounds: Sequence[Value]) -> tuple[list[Row], bool]:
        """Read one page, newest first, and whether more follow in the direction of the cursor."""
        if window.cursor is None:
            return self._read(call, window, bounds, "seq > ?", -1, newest_first=True)
        seq = self._place(call, window.cursor, bounds)
        if window.starting_after is not None:
            return self._read(call, window, bounds, "seq < ?", seq, newest_first=True)
        rows, more = self._read(call, window, bounds, "seq > ?", seq, newest_first=False)
        return rows[::-1], more

    def _place(self, call: Call, cursor: tuple[str, str], bounds: Sequence[Value]) -> int:
        name, id = cursor
        sql = f"SELECT seq FROM {self.table} WHERE id = ? AND {self.scope}"  # noqa: S608 - names from this package only
        row = call.store.one(sql, id, *bounds)
        if row is None:
            raise no_such_item(name, id)
        return int(row["seq"])

    def _read(
        self, call: Call, window: Window, bounds: Sequence[Value], edge: str, seq: int, *, newest_first: bool
    ) -> tuple[list[Row], bool]:
        order = "DESC" if newest_first else "ASC"
        where = f"{self.scope} AND {edge} ORDER BY seq {order} LIMIT ?"
        sql = f"SELECT {self.columns} FROM {self.table} WHERE {where}"  # noqa: S608 - names from this package only
        rows = call.store.all(sql, *bounds, seq, window.limit + 1)
        return rows[: window.limit], len(rows) > window.limit


def no_such_item(parameter: str, id: str) -> Refusal:
    """Refuse a cursor that names no item of the list."""
    return invalid(parameter, f"no item of this list has the id {id[:80]!r}")


def envelope(call: Call, items: list[JSON], *, more: bool, noun: str) -> JSON:
    """Wrap a page's items."""
    message = f"{noun} retrieved successfully"
    return {"object": "list", "data": items, "has_more": more, "url": call.url, "message": message}


def page(call: Call, listing: Listing, render: Callable[[Row], JSON], *bounds: Value, noun: str) -> JSON:
    """Answer with one page of a list."""
    rows, more = listing.rows(call, window_of(call), bounds)
    return envelope(call, [render(row) for row in rows], more=more, noun=noun)


def slice_of(window: Window, items: Sequence[T], id_of: Callable[[T], str]) -> tuple[Sequence[T], bool]:
    """Cut one page out of a list that is sorted by the request itself, such as by distance."""
    if window.cursor is None:
        return items[: window.limit], len(items) > window.limit
    name, id = window.cursor
    place = next((i for i, item in enumerate(items) if id_of(item) == id), None)
    if place is None:
        raise no_such_item(name, id)
    if name == "starting_after":
        rest = items[place + 1 :]
        return rest[: window.limit], len(rest) > window.limit
    start = max(0, place - window.limit)
    return items[start:place], start > 0
