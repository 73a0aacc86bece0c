"""The order of the entries in PostgreSQL, and reading them by it, a page at a time.

An entry keeps its number ``seq`` as long as it exists, so one that is there all the time is read exactly once, whatever
happens to it meanwhile. Those from before the number was introduced all have 0; they come first, by their keys.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from bardge_async._core.entry import JournalEntry
from bardge_async._journal.pages import PAGE_BYTES, PAGE_ROWS
from bardge_async._journal.postgres_statements import COLUMNS, parse_entry

_UNNUMBERED: Final = (
    "seq = 0 AND (key, base_url, account) > (%(key)s, %(base_url)s, %(account)s) ORDER BY key, base_url, account"
)
_NUMBERED: Final = "seq > %(seq)s ORDER BY seq"
_BYTES: Final = "coalesce(pg_catalog.octet_length(body), 0) + coalesce(pg_catalog.octet_length(answer), 0)"
_PAGE: Final = f"""
SELECT {COLUMNS}, seq FROM (
    SELECT *, pg_catalog.sum({_BYTES}) OVER (ORDER BY seq, key, base_url, account) - ({_BYTES}) AS bytes_before
    FROM (SELECT {COLUMNS}, seq FROM {{schema}}.entries WHERE {{condition}} LIMIT {PAGE_ROWS}) AS rows) AS sized
WHERE bytes_before <= {PAGE_BYTES} ORDER BY seq, key, base_url, account
"""


@attrs.frozen
class EntryPosition:
    """A position among the entries; without a number they are ordered by key."""

    seq: int = 0
    key: str = ""
    base_url: str = ""
    account: str = ""
    is_numbered: bool = False

    @property
    def condition(self) -> str:
        """The condition of a query for what comes after it, and its order; see ``parameters``."""
        return _NUMBERED if self.is_numbered else _UNNUMBERED

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of ``condition``."""
        return attrs.asdict(self)

    def next_kind(self) -> EntryPosition | None:
        """Return the position at which the numbered entries begin; None if it is one of them already."""
        return None if self.is_numbered else EntryPosition(is_numbered=True)


def make_statement(position: EntryPosition, *, unfinished: bool = False) -> str:
    """Return the statement that reads the page after a position."""
    state = "state = 'sent'" if unfinished else "state <> 'held'"
    # Not str.format: the schema's name is filled in later.
    return _PAGE.replace("{condition}", f"{state} AND {position.condition}")


async def read_page(
    fetch: Callable[[str, Mapping[str, object]], Awaitable[Sequence[Any]]], position: EntryPosition, *, unfinished: bool
) -> tuple[list[JournalEntry], EntryPosition | None]:
    """Return the entries of the page after a position, and its end; None after the last."""
    rows = await fetch(make_statement(position, unfinished=unfinished), position.parameters)
    if not rows:
        return [], position.next_kind()
    entries = [entry for row in rows if (entry := parse_entry(row)) is not None]
    base_url, account, key = rows[-1][:3]
    return entries, attrs.evolve(position, seq=rows[-1][-1], key=key, base_url=base_url, account=account)
