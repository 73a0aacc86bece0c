"""Rewrite the rows of the journal in PostgreSQL that stand under another spelling of their base URL."""

from __future__ import annotations

from typing import Any, Final

from psycopg import AsyncConnection

from bardge_async._journal.spellings import find_respelled
from bardge_async._postgres.schema import begin_migration, fill_schema

_BATCH: Final = 500
"""Rows per transaction, so that a session's time limit loses little and no call waits long."""

# Rows that were never sent bind nothing; without them the index by URL finds the spellings and their rows.
_NEXT_SPELLING: Final = (
    "SELECT pg_catalog.min(base_url) FROM {schema}.entries WHERE base_url > %s AND last_at IS NOT NULL"
)
_SELECT_KEYS: Final = (
    f"SELECT account, key FROM {{schema}}.entries WHERE base_url = %s AND last_at IS NOT NULL LIMIT {_BATCH}"
)
_LOCK_TABLE: Final = "LOCK TABLE {schema}.entries IN SHARE ROW EXCLUSIVE MODE"


def _rank_row(name: str) -> str:
    """Return the order of one key's rows, the one that binds most last: see :func:`choose_binding_entry`."""
    return (
        f"ROW(CASE {name}.state WHEN 'done' THEN 3 WHEN 'sent' THEN 2 WHEN 'refused' THEN 1 ELSE 0 END, "
        f"{name}.state = 'sent' AND {name}.status IS NOT NULL, "
        f"CASE WHEN {name}.state = 'sent' THEN -coalesce({name}.first_wall, 0) ELSE coalesce({name}.last_wall, 0) END)"
    )


_IS_GIVEN: Final = "(e.account, e.key) IN (SELECT * FROM unnest(%(accounts)s::text[], %(keys)s::text[]))"
_DELETE_LOSERS: Final = f"""
DELETE FROM {{schema}}.entries AS e USING {{schema}}.entries AS o
WHERE {_IS_GIVEN} AND o.account = e.account AND o.key = e.key
    AND ((e.base_url = %(old)s AND o.base_url = %(new)s AND {_rank_row("e")} <= {_rank_row("o")})
        OR (e.base_url = %(new)s AND o.base_url = %(old)s AND {_rank_row("e")} < {_rank_row("o")}))
"""
_RESPELL: Final = f"""
UPDATE {{schema}}.entries AS e SET base_url = %(new)s,
    url = CASE WHEN pg_catalog.starts_with(url, %(old)s)
        THEN %(new)s || pg_catalog.substr(url, pg_catalog.length(%(old)s) + 1) ELSE url END,
    fingerprint = CASE WHEN position('@' IN fingerprint) > 0 THEN fingerprint ELSE fingerprint || '@' || %(old)s END
WHERE e.base_url = %(old)s AND {_IS_GIVEN}
"""


async def respell_rows(connection: AsyncConnection[Any], schema: str) -> None:
    """Rewrite the rows under other spellings; most tables have none, which one query for each base URL shows."""
    for old, new in find_respelled(await _list_spellings(connection, schema)).items():
        while await _respell_batch(connection, schema, old, new):
            pass


async def _list_spellings(connection: AsyncConnection[Any], schema: str) -> list[str]:
    found = [""]
    while True:
        cursor = await connection.execute(fill_schema(_NEXT_SPELLING, schema), (found[-1],))
        row = await cursor.fetchone()
        if row is None or row[0] is None:
            return found[1:]
        found.append(row[0])


async def _respell_batch(connection: AsyncConnection[Any], schema: str, old: str, new: str) -> bool:
    """Rewrite some rows of one spelling; return False if there were none."""
    async with begin_migration(connection):
        # No other process may claim a key under the new spelling meanwhile.
        await connection.execute(fill_schema(_LOCK_TABLE, schema))
        cursor = await connection.execute(fill_schema(_SELECT_KEYS, schema), (old,))
        rows = await cursor.fetchall()
        values = {"old": old, "new": new, "accounts": [row[0] for row in rows], "keys": [row[1] for row in rows]}
        await connection.execute(fill_schema(_DELETE_LOSERS, schema), values)
        await connection.execute(fill_schema(_RESPELL, schema), values)
    return bool(rows)
