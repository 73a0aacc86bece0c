"""Shared by the tables of journal and limiter: the migration lock, and the schema's name in a statement."""

from __future__ import annotations

from typing import Any, Final

from psycopg import AsyncConnection

MIGRATION_LOCK: Final = 0x42415244_4A524E4C  # "BARDJRNL"
NAMESPACE_QUERY: Final = b"SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s"


async def exists_in_catalog(connection: AsyncConnection[Any], query: bytes, schema: str) -> bool:
    # Query the catalogue itself: to_regclass() may answer from a cache that is older than the lock.
    cursor = await connection.execute(query, (schema,))
    return await cursor.fetchone() is not None


def fill_schema(statement: str, schema: str) -> bytes:
    """Insert the schema's name, which was validated, into a statement."""
    return statement.replace("{schema}", schema).encode()
