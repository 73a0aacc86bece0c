"""The table of rates in PostgreSQL, and the one statement that takes slots from a rate."""

from __future__ import annotations

from typing import Any, Final

import attrs
from psycopg import AsyncConnection

from bardge_async._core.secret import Secret
from bardge_async._limits.permits import PermitGrant, PermitRequest, StoreUnavailableError
from bardge_async._postgres.connection import ConnectionRefusedByServerError, PostgresConnection, UnreachableError
from bardge_async._postgres.schema import begin_migration, fill_schema, schema_exists, table_exists
from bardge_async._runtime.clock import Clock
from bardge_async.errors import JournalError, ThrottledError

_TIMEOUT: Final = 5.0

# Each update creates a row version: with free space in the page, PostgreSQL removes the old ones as it goes (HOT).
_CREATE_TABLE: Final = """
CREATE TABLE IF NOT EXISTS {schema}.rates (
    name text COLLATE "C" PRIMARY KEY, first_at timestamptz NOT NULL, next_at timestamptz NOT NULL,
    held_until timestamptz NOT NULL, asked_at timestamptz NOT NULL
) WITH (fillfactor = 10)
"""

# Generic cell rate algorithm: the next free slot, or now, or the end of a hold, whichever is latest. The clock is read
# once the row is locked. If it was set back by more than a second, the slots are moved back with it.
# `synchronous_commit` is off: a crash can lose at most 0.5 s of slots, and restarting takes longer than that.
TAKE_SLOTS: Final = """
INSERT INTO {schema}.rates AS r (name, first_at, next_at, held_until, asked_at)
SELECT %(name)s, now + wait, now + wait + span, now + hold, now FROM (
    SELECT pg_catalog.clock_timestamp() AS now, pg_catalog.make_interval(secs => %(span)s) AS span,
        pg_catalog.make_interval(secs => %(hold)s) AS hold, pg_catalog.make_interval(secs => greatest(%(hold)s, %(lead)s)) AS wait,
        pg_catalog.set_config('synchronous_commit', 'off', true)) AS g
ON CONFLICT (name) DO UPDATE SET (first_at, next_at, held_until, asked_at) = (
    SELECT first, CASE WHEN first - now <= pg_catalog.make_interval(secs => %(timeout)s)
        THEN first + pg_catalog.make_interval(secs => %(span)s) ELSE first END, held, now
    FROM (SELECT now, held, greatest(now + pg_catalog.make_interval(secs => %(lead)s), held, r.next_at - back) AS first
    FROM (SELECT now, back, greatest(r.held_until - back, now + pg_catalog.make_interval(secs => %(hold)s)) AS held
    FROM (SELECT now, CASE WHEN r.asked_at > now + interval '1 second' THEN r.asked_at - now ELSE interval '0' END AS back
    FROM (SELECT pg_catalog.clock_timestamp() AS now) AS a) AS b) AS c) AS d)
RETURNING extract(epoch FROM first_at)::float8, next_at > first_at,
    extract(epoch FROM held_until)::float8, extract(epoch FROM asked_at)::float8
"""


@attrs.frozen
class RateSettings:
    """The rate, and the table that holds it."""

    dsn: Secret
    schema: str
    name: str
    per_second: float
    clock: Clock


class RateTable:
    """One loop's connection to the row of a rate."""

    def __init__(self, settings: RateSettings) -> None:
        self._settings = settings
        self._connection = PostgresConnection(
            settings.dsn, self._prepare_table, settings.clock, _TIMEOUT, "the limiter's database"
        )

    async def _prepare_table(self, connection: AsyncConnection[Any]) -> None:
        await create_table(connection, self._settings.schema)

    async def take_slots(self, request: PermitRequest) -> PermitGrant:
        """Take slots and report a hold, in one transaction.

        Raises:
            StoreUnavailableError: The server cannot be reached for now.
            ThrottledError: The server reported an error.
        """
        settings = self._settings
        parameters = {**attrs.asdict(request), "name": settings.name, "span": request.count / settings.per_second}

        async def run_statement(connection: AsyncConnection[Any]) -> PermitGrant:
            cursor = await connection.execute(fill_schema(TAKE_SLOTS, settings.schema), parameters, binary=True)
            row = await cursor.fetchone()
            assert row is not None
            return PermitGrant(*row)

        try:
            return await self._connection.run(run_statement)
        except UnreachableError as error:
            raise StoreUnavailableError(str(error)) from None
        except (ConnectionRefusedByServerError, JournalError) as error:
            raise ThrottledError(f"the limiter granted no permit: {error}") from None

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.close()


async def create_table(connection: AsyncConnection[Any], schema: str) -> None:
    """Create the table if it is missing; safe from concurrent processes and alongside the journal's migration."""
    if await table_exists(connection, schema, "rates"):
        return
    async with begin_migration(connection):
        if not await schema_exists(connection, schema):
            await connection.execute(fill_schema("CREATE SCHEMA {schema}", schema))
        await connection.execute(fill_schema(_CREATE_TABLE, schema))
