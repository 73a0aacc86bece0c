"""What the tables of journal and limiter have in common: their lock, their schema's name in a statement."""

from __future__ import annotations

from typing import Any, Final

from psycopg import AsyncConnection

LOCK: Final = 0x42415244_4A524E4C  # "BARDJRNL"
_NAMESPACE: Final = b"SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s"


async def _known(connection: AsyncConnection[Any], question: bytes, schema: str) -> bool:
    # Asked of the catalogue itself: what to_regclass() remembers of before the lock may be out of date.
    found = await connection.execute(question, (schema,))
    return await found.fetchone() is not None


def filled(statement: str, schema: str) -> bytes:
    """Put the schema's name, which was checked, into a statement."""
    return statement.replace("{schema}", schema).encode()
