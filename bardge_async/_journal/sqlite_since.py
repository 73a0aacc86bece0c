"""The entries sent since a doubt, read from a journal's file in pages, so that no call waits for them."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol, TypeAlias, TypeVar

from bardge_async._core.entry import COMPETING_SECONDS, JournalEntry
from bardge_async._journal.sqlite_rows import COLUMNS, parse_entry

T = TypeVar("T")
_Place: TypeAlias = tuple[float, int]
"""A last send's wall time, and the number of its entry."""

_PAGE_ROWS: Final = 1000
_LAST_PLACE: Final = (math.inf, 2**62)
_IS_WANTED: Final = "base_url = ? AND account = ? AND endpoint = ? AND key <> ?"
_DOUBTS: Final = f"SELECT {COLUMNS} FROM entries WHERE {_IS_WANTED} AND state = 'sent' AND last_wall >= ?"
# A page is a stretch of the index by age, which has the finished entries of all endpoints.
_IN_PAGE: Final = "FROM entries INDEXED BY entries_by_age WHERE state <> 'sent' AND (last_wall, seq) > (?, ?)"
_PAGE_END: Final = f"SELECT last_wall, seq {_IN_PAGE} ORDER BY last_wall, seq LIMIT 1 OFFSET {_PAGE_ROWS - 1}"
_FINISHED: Final = f"SELECT {COLUMNS} {_IN_PAGE} AND (last_wall, seq) <= (?, ?) AND {_IS_WANTED} AND state <> 'refused'"


class _TaskRunner(Protocol):
    async def __call__(self, work: Callable[[sqlite3.Connection], T], *, writes: bool) -> T: ...


async def list_sent_since(run: _TaskRunner, entry: JournalEntry) -> list[JournalEntry]:
    """Return the endpoint's other entries last sent at most ten minutes before this one was first sent, or later."""
    assert entry.first_sent is not None
    earliest = entry.first_sent.wall - COMPETING_SECONDS
    wanted = (*entry.identity[:2], entry.endpoint, entry.identity.key)
    # Doubts first: one that is answered meanwhile is then found among the finished.
    found = {one.identity: one for one in await run(partial(_select_doubts, wanted, earliest), writes=False)}
    start: _Place = (earliest, -1)
    while start != _LAST_PLACE:
        page, start = await run(partial(_select_finished, wanted, start), writes=False)
        found.update((one.identity, one) for one in page)
    return list(found.values())


def _select_doubts(wanted: tuple[str, ...], earliest: float, connection: sqlite3.Connection) -> list[JournalEntry]:
    return [parse_entry(row) for row in connection.execute(_DOUBTS, (*wanted, earliest))]


def _select_finished(
    wanted: tuple[str, ...], start: _Place, connection: sqlite3.Connection
) -> tuple[list[JournalEntry], _Place]:
    end: _Place = connection.execute(_PAGE_END, start).fetchone() or _LAST_PLACE
    rows = connection.execute(_FINISHED, (*start, *end, *wanted))
    return [parse_entry(row) for row in rows], end
