"""Pruning and erasing in PostgreSQL, in short transactions that lock no row for long."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from bardge_async._core.erasure import ClientMatcher
from bardge_async._journal.pieces import PAUSE_SECONDS, PieceSize
from bardge_async._journal.postgres_pages import EntryPosition
from bardge_async._journal.postgres_statements import IS_FREE
from bardge_async._journal.pruning import WHERE_EXPIRED, PruneTime
from bardge_async._runtime.clock import Clock

Fetch: TypeAlias = Callable[[str, Sequence[object] | Mapping[str, object]], Awaitable[Sequence[Any]]]

_SECONDS: Final = "extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.statement_timestamp())::float8"
"""What a statement has taken so far, without the way to the server."""
LIMITS: Final = ("wall_limit", "highest_limit", "now", "boot", "elapsed_limit")
_IS_EXPIRED: Final = WHERE_EXPIRED.replace("{0}", "%({})s").format(*LIMITS)
_IS_FINISHED: Final = "state IN ('done', 'refused') AND (body IS NOT NULL OR answer IS NOT NULL)"
_SET_NO_BODIES: Final = "UPDATE {schema}.entries SET body = NULL, answer = NULL"
_DELETE: Final = "DELETE FROM {schema}.entries"
_IN_OLD: Final = "WHERE ctid = ANY (ARRAY(SELECT ctid FROM old))"


def _select_old(condition: str) -> str:
    # By age, from where the last piece ended: what stays, and what is gone but not vacuumed, is not read again.
    return f"""WITH old AS MATERIALIZED (
    SELECT ctid, last_wall FROM {{schema}}.entries AS e
    WHERE {condition} AND {_IS_EXPIRED} AND last_wall >= %(start)s ORDER BY last_wall LIMIT %(rows)s FOR UPDATE SKIP LOCKED)"""


REMOVE_BODIES: Final = f"""
{_select_old(_IS_FINISHED)}, changed AS ({_SET_NO_BODIES} {_IN_OLD} RETURNING 1)
SELECT (SELECT pg_catalog.count(*) FROM changed), (SELECT pg_catalog.max(last_wall) FROM old), {_SECONDS}
"""

REMOVE_ENTRIES: Final = f"""
{_select_old(f"state <> 'sent' AND {IS_FREE}")}, changed AS ({_DELETE} {_IN_OLD} RETURNING last_wall),
noted AS (
    INSERT INTO {{schema}}.facts AS f SELECT 'forgotten', pg_catalog.max(last_wall) FROM changed
    HAVING pg_catalog.count(*) > 0 ON CONFLICT (name) DO UPDATE SET value = greatest(f.value, excluded.value))
SELECT (SELECT pg_catalog.count(*) FROM changed), (SELECT pg_catalog.max(last_wall) FROM old), {_SECONDS}
"""

REMOVE_ORPHANS: Final = f"""
WITH old AS MATERIALIZED (
    SELECT ctid FROM {{schema}}.entries
    WHERE state = 'held' AND lease_until < pg_catalog.clock_timestamp() - interval '1 hour'
    LIMIT %(rows)s FOR UPDATE SKIP LOCKED),
changed AS ({_DELETE} {_IN_OLD} RETURNING 1)
SELECT (SELECT pg_catalog.count(*) FROM changed), NULL, {_SECONDS}
"""

_MAY_CONTAIN: Final = " OR ".join(
    f"position(%(needle)s::bytea IN {content}) > 0 OR position('\\x{escape}'::bytea IN {content}) > 0"
    for content, escape in (("body", "5c"), ("answer", "5c"), ("pg_catalog.convert_to(url, 'UTF8')", "25"))
)
# Returns what may contain the client's id, and the last row of a full page.
_SEARCH: Final = f"""
WITH page AS MATERIALIZED (
    SELECT seq, key, base_url, account, state, url, fingerprint, body, answer FROM {{schema}}.entries
    WHERE state <> 'held' AND {{condition}} LIMIT %(rows)s),
examined AS (
    SELECT *, {_IS_FINISHED} AND ({_MAY_CONTAIN}) AS is_candidate,
        pg_catalog.row_number() OVER (ORDER BY seq, key, base_url, account) = %(rows)s AS is_last
    FROM page)
SELECT seq, key, base_url, account, fingerprint, is_candidate, is_last, url,
    CASE WHEN is_candidate THEN body END, CASE WHEN is_candidate THEN answer END, {_SECONDS}
FROM examined WHERE is_candidate OR is_last ORDER BY seq, key, base_url, account
"""

# Its fingerprint stands for URL and body: the key may have been freed and used for another request.
ERASE: Final = f"""
WITH old AS MATERIALIZED (
    SELECT e.ctid FROM {{schema}}.entries AS e
    JOIN unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS g(key, base_url, account, fingerprint)
        ON e.key = g.key AND e.base_url = g.base_url AND e.account = g.account AND e.fingerprint = g.fingerprint
    WHERE {_IS_FINISHED} ORDER BY e.key, e.base_url, e.account FOR UPDATE OF e),
changed AS ({_SET_NO_BODIES} {_IN_OLD} RETURNING 1)
SELECT (SELECT pg_catalog.count(*) FROM changed), NULL, {_SECONDS}
"""


def make_search(position: EntryPosition) -> str:
    """Return the statement that searches the rows after a position."""
    return _SEARCH.replace("{condition}", position.condition)


class JournalChores:
    """Remove what is past its retention, and a client's bodies, in pieces that adapt to what they take."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock

    async def prune(self, time: PruneTime, keep_bodies: float, keep_entries: float) -> int:
        """Remove what is past its retention; return the number of entries removed."""
        await self._remove_all(REMOVE_BODIES, time.limits(keep_bodies))
        await self._remove_all(REMOVE_ORPHANS, ())
        # 0 keeps them forever
        return await self._remove_all(REMOVE_ENTRIES, time.limits(keep_entries)) if keep_entries else 0

    async def _remove_all(self, statement: str, limits: Sequence[object]) -> int:
        """Repeat a statement until it finds fewer rows than it may; return the number of rows changed."""
        size, start, total = PieceSize(), -math.inf, 0
        count: int
        parameters = dict(zip(LIMITS, limits, strict=False))
        while True:
            [[count, end, seconds]] = await self._fetch(statement, {**parameters, "start": start, "rows": size.rows})
            total += count
            if count < size.rows:
                return total
            size.adapt(count, seconds)
            start = start if end is None else end
            await self._clock.sleep(PAUSE_SECONDS)

    async def erase_client(self, client_id: str) -> int:
        """Remove the bodies that name a client; return the number of entries changed."""
        matcher, size, erase_size, total = ClientMatcher(client_id), PieceSize(), PieceSize(), 0
        position: EntryPosition | None = EntryPosition()
        while position is not None:
            parameters = {**position.parameters, "needle": matcher.needle, "rows": size.rows}
            rows = await self._fetch(make_search(position), parameters)
            found = [
                (key, base_url, account, fingerprint)
                for _, key, base_url, account, fingerprint, is_candidate, _, url, body, answer, _ in rows
                if is_candidate and matcher.matches(base_url, url, body, answer)
            ]
            total += await self._erase_rows(found, erase_size)
            if not rows or not rows[-1][6]:
                position = position.next_kind()
                continue
            size.adapt(size.rows, rows[-1][-1])
            seq, key, base_url, account = rows[-1][:4]
            position = EntryPosition(seq, key, base_url, account, position.is_numbered)
            await self._clock.sleep(PAUSE_SECONDS if found else 0)
        return total

    async def _erase_rows(self, found: list[tuple[str, str, str, str]], size: PieceSize) -> int:
        total = 0
        while found:
            piece, found = found[: size.rows], found[size.rows :]
            [[count, _, seconds]] = await self._fetch(ERASE, [list(column) for column in zip(*piece, strict=True)])
            size.adapt(len(piece), seconds)
            total += count
        return total
