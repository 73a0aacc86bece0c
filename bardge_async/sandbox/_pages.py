"""Lists, one page at a time by keyset, so that the last page costs as much as the first (page: Pagination)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import attrs

from bardge_async.sandbox._errors import INVALID_REQUEST, VALIDATION_CODE, ErrorAnswer, validation_error
from bardge_async.sandbox._request import JSON, SandboxRequest
from bardge_async.sandbox._store import Row, Value

T = TypeVar("T")

_LIMIT: Final = re.compile(r"[1-9]\d?|100", re.ASCII)
_DEFAULT_LIMIT: Final = "10"


@attrs.frozen
class PageQuery:
    """The limit and cursor of a request; at most one of the cursors is set."""

    limit: int
    starting_after: str | None
    ending_before: str | None

    @property
    def cursor(self) -> tuple[str, str] | None:
        """Name and value of the cursor, or None."""
        if self.starting_after is not None:
            return "starting_after", self.starting_after
        return None if self.ending_before is None else ("ending_before", self.ending_before)


def read_page_query(request: SandboxRequest) -> PageQuery:
    """Read ``limit`` and the cursors of a request.

    Raises:
        ErrorAnswer: A limit other than a whole number from 1 to 100, or both cursors.
    """
    limit = request.query.get("limit", _DEFAULT_LIMIT)
    if not _LIMIT.fullmatch(limit):
        raise validation_error("limit", f"expected a whole number from 1 to 100, got {limit[:40]!r}")
    after, before = request.query.get("starting_after"), request.query.get("ending_before")
    if after is not None and before is not None:
        message = "starting_after and ending_before cannot be used together."
        raise ErrorAnswer(400, INVALID_REQUEST, VALIDATION_CODE, message)
    return PageQuery(int(limit), after, before)


@attrs.frozen
class Listing:
    """The source of a list: a table with ``seq`` and ``id``; ``scope`` is the SQL condition that selects its rows."""

    table: str
    scope: str = "1"
    columns: str = "*"

    def read_page(
        self, request: SandboxRequest, query: PageQuery, scope_values: Sequence[Value]
    ) -> tuple[list[Row], bool]:
        """Return one page, newest first, and whether more items follow in the cursor's direction."""
        if query.cursor is None:
            return self._read_rows(request, query, scope_values, "seq > ?", -1, newest_first=True)
        seq = self._find_cursor(request, query.cursor, scope_values)
        if query.starting_after is not None:
            return self._read_rows(request, query, scope_values, "seq < ?", seq, newest_first=True)
        rows, more = self._read_rows(request, query, scope_values, "seq > ?", seq, newest_first=False)
        # Read upwards from the cursor, but returned newest first like every page.
        return rows[::-1], more

    def _find_cursor(self, request: SandboxRequest, cursor: tuple[str, str], scope_values: Sequence[Value]) -> int:
        name, id = cursor
        sql = f"SELECT seq FROM {self.table} WHERE id = ? AND {self.scope}"  # noqa: S608 - names from this package only
        row = request.store.fetch_one(sql, id, *scope_values)
        if row is None:
            raise unknown_cursor_error(name, id)
        return int(row["seq"])

    def _read_rows(
        self,
        request: SandboxRequest,
        query: PageQuery,
        scope_values: Sequence[Value],
        condition: str,
        seq: int,
        *,
        newest_first: bool,
    ) -> tuple[list[Row], bool]:
        order = "DESC" if newest_first else "ASC"
        where = f"{self.scope} AND {condition} ORDER BY seq {order} LIMIT ?"
        sql = f"SELECT {self.columns} FROM {self.table} WHERE {where}"  # noqa: S608 - names from this package only
        # One row more than asked for says whether there is another page.
        rows = request.store.fetch_all(sql, *scope_values, seq, query.limit + 1)
        return rows[: query.limit], len(rows) > query.limit


def unknown_cursor_error(parameter: str, id: str) -> ErrorAnswer:
    """Return a 400 for a cursor that is not an item of the list."""
    return validation_error(parameter, f"no item of this list has the id {id[:80]!r}")


def wrap_items(request: SandboxRequest, items: list[JSON], *, more: bool, noun: str) -> JSON:
    """Return the list object around a page's items."""
    message = f"{noun} retrieved successfully"
    return {"object": "list", "data": items, "has_more": more, "url": request.url, "message": message}


def render_page(
    request: SandboxRequest, listing: Listing, render: Callable[[Row], JSON], *scope_values: Value, noun: str
) -> JSON:
    """Return one page of a list as JSON."""
    rows, more = listing.read_page(request, read_page_query(request), scope_values)
    return wrap_items(request, [render(row) for row in rows], more=more, noun=noun)


def slice_page(query: PageQuery, items: Sequence[T], id_of: Callable[[T], str]) -> tuple[Sequence[T], bool]:
    """Return one page of a list that was sorted in memory, such as by distance."""
    if query.cursor is None:
        return items[: query.limit], len(items) > query.limit
    name, id = query.cursor
    index = next((i for i, item in enumerate(items) if id_of(item) == id), None)
    if index is None:
        raise unknown_cursor_error(name, id)
    if name == "starting_after":
        rest = items[index + 1 :]
        return rest[: query.limit], len(rest) > query.limit
    start = max(0, index - query.limit)
    return items[start:index], start > 0
