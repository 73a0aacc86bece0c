"""Shared by the tables of journal and limiter: the migration of a schema, and its name in a statement."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from psycopg import AsyncConnection

_MIGRATION_LOCK: Final = 0x42415244_4A524E4C  # "BARDJRNL"
_NAMESPACE_QUERY: Final = b"SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s"
_TABLE_QUERY: Final = b"""
SELECT FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
# Operators and types, too, are those of pg_catalog then. A crash takes no part of a migration back.
_BEGIN_MIGRATION: Final = (
    b"SELECT pg_catalog.set_config('search_path', 'pg_catalog', true), "
    b"pg_catalog.set_config('synchronous_commit', 'on', true), pg_catalog.pg_advisory_xact_lock(%s)"
)


@asynccontextmanager
async def begin_migration(connection: AsyncConnection[Any]) -> AsyncGenerator[None]:
    """Open a transaction that no other process's migration overlaps."""
    async with connection.transaction():
        await connection.execute(_BEGIN_MIGRATION, (_MIGRATION_LOCK,))
        yield


async def schema_exists(connection: AsyncConnection[Any], schema: str) -> bool:
    """Return whether a schema exists: creating one needs a privilege that many database users lack."""
    cursor = await connection.execute(_NAMESPACE_QUERY, (schema,))
    return await cursor.fetchone() is not None


async def table_exists(connection: AsyncConnection[Any], schema: str, table: str) -> bool:
    """Return whether a table exists, by the catalogue itself: to_regclass() may answer from an older cache."""
    cursor = await connection.execute(_TABLE_QUERY, (schema, table))
    return await cursor.fetchone() is not None


def fill_schema(statement: str, schema: str) -> bytes:
    """Insert the schema's name, which was validated, into a statement; quoted, since it may be an SQL keyword."""
    return statement.replace("{schema}", f'"{schema}"').encode()
