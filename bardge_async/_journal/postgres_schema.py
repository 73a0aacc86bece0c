"""The journal's tables in PostgreSQL: create, check and migrate them, safely from concurrent processes."""

from __future__ import annotations

from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.errors import InvalidSchemaName, UndefinedTable

from bardge_async._postgres.schema import MIGRATION_LOCK, NAMESPACE_QUERY, exists_in_catalog, fill_schema
from bardge_async.errors import JournalError

# One step per version. Text is compared bytewise (COLLATE "C"): faster, and no upgrade of the C library can corrupt an
# index. A row in state "held" is a key that is claimed and has no entry yet.
_STEPS: Final = (
    """
    CREATE TABLE {schema}.entries (
        base_url text COLLATE "C" NOT NULL, account text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
        endpoint text COLLATE "C", url text COLLATE "C", fingerprint text COLLATE "C",
        body bytea, given boolean, state text COLLATE "C" NOT NULL,
        first_wall float8, first_elapsed float8, first_highest float8, first_boot text,
        last_wall float8, last_elapsed float8, last_highest float8, last_boot text,
        status integer, answer bytea, request_id text,
        first_at timestamptz, last_at timestamptz,
        owner text, lease_until timestamptz, writer text,
        PRIMARY KEY (key, base_url, account)
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_analyze_scale_factor = 0.02);
    CREATE INDEX entries_by_url ON {schema}.entries (base_url, account, url, last_at) WHERE last_at IS NOT NULL;
    CREATE INDEX entries_by_time ON {schema}.entries (last_wall) WHERE last_wall IS NOT NULL;
    CREATE INDEX entries_with_bodies ON {schema}.entries (last_wall)
        WHERE state IN ('done', 'refused') AND (body IS NOT NULL OR answer IS NOT NULL);
    CREATE INDEX entries_unfinished ON {schema}.entries (base_url, account, first_at) WHERE state = 'sent';
    CREATE INDEX entries_held ON {schema}.entries (lease_until) WHERE state = 'held';
    """,
    "ALTER TABLE {schema}.entries ADD COLUMN first_server float8",
    "ALTER TABLE {schema}.entries ADD COLUMN key_honoured boolean",
)
VERSION: Final = len(_STEPS)
_VERSION_QUERY: Final = "SELECT value FROM {schema}.facts WHERE name = 'version'"
_FACTS_TABLE_QUERY: Final = b"""
SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = 'facts'
"""


async def migrate_tables(connection: AsyncConnection[Any], schema: str) -> None:
    """Create or migrate the tables in one transaction; write nothing if they are current.

    Raises:
        JournalError: A newer version of this library created them.
    """
    if await _is_current(connection, schema):
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        version = await _read_version(connection, schema)
        if version is None:
            await _create_schema(connection, schema)
        for step in _STEPS[version or 0 :]:
            for statement in filter(str.strip, step.split(";")):
                await connection.execute(fill_schema(statement, schema))
        await connection.execute(
            fill_schema("UPDATE {schema}.facts SET value = %s WHERE name = 'version'", schema), (VERSION,)
        )


async def _is_current(connection: AsyncConnection[Any], schema: str) -> bool:
    """Return whether the tables are current, in one query: the usual case."""
    try:
        cursor = await connection.execute(fill_schema(_VERSION_QUERY, schema))
    except (UndefinedTable, InvalidSchemaName):
        return False
    return await cursor.fetchone() == (VERSION,)


async def _read_version(connection: AsyncConnection[Any], schema: str) -> int | None:
    """Return the version of the tables; None if there are none."""
    if not await exists_in_catalog(connection, _FACTS_TABLE_QUERY, schema):
        return None
    cursor = await connection.execute(fill_schema(_VERSION_QUERY, schema))
    row = await cursor.fetchone()
    version = 0 if row is None else int(row[0])
    if version > VERSION:
        raise JournalError(
            f"the journal's tables were created by a newer version of this library (form {version}, known {VERSION}); "
            "upgrade bardge-async"
        )
    return version


async def _create_schema(connection: AsyncConnection[Any], schema: str) -> None:
    # Creating a schema needs a privilege that many database users lack, so do it only if it is missing.
    if not await exists_in_catalog(connection, NAMESPACE_QUERY, schema):
        await connection.execute(fill_schema("CREATE SCHEMA {schema}", schema))
    await connection.execute(
        fill_schema("CREATE TABLE {schema}.facts (name text PRIMARY KEY, value float8 NOT NULL)", schema)
    )
    await connection.execute(fill_schema("INSERT INTO {schema}.facts VALUES ('version', 0)", schema))
