"""Questions to the journal in PostgreSQL, and its housekeeping: one at a time, beside the calls."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from psycopg import AsyncConnection

from bardge_async._core.entry import Record
from bardge_async._journal import postgres_statements as rows
from bardge_async._postgres.connection import Lane
from bardge_async._postgres.schema import filled

_LOG: Final = logging.getLogger("bardge_async")

Query: TypeAlias = Callable[[AsyncConnection[Any]], Awaitable[Any]]


class Reads:
    """Ask what is on record, and remove what is kept long enough."""

    def __init__(self, lane: Lane[Query, Any], schema: str) -> None:
        self._lane = lane
        self._schema = schema

    async def overtaken(self, record: Record) -> bool:
        """Tell whether another key's POST to the same URL was sent later, as the server's clock orders them."""
        return bool(await self._rows(rows.OVERTAKEN, {**record.identity._asdict(), "url": record.url}))

    async def unfinished(self, base_url: str, account: str) -> list[Record]:
        """Return what is in doubt and not under work, oldest first."""
        return await self._records(rows.UNFINISHED, (base_url, account))

    async def since(self, record: Record, earliest: float) -> list[Record]:
        """Return the other records of a row that were last sent at a wall time or later."""
        base_url, account, key = record.identity
        return await self._records(rows.SINCE, (base_url, account, record.endpoint, key, earliest))

    async def listed(self, *, unfinished: bool) -> list[Record]:
        """Return all records, or all in doubt, oldest first."""
        return await self._records(rows.DOUBTS if unfinished else rows.LISTED)

    async def forgotten(self) -> float:
        """Return the wall time up to which finished entries may be gone; 0 where none are."""
        found = await self._rows(rows.FORGOTTEN)
        return float(found[0][0]) if found else 0.0

    async def erase(self, client_id: str) -> int:
        """Remove the bodies that name a client; return how many entries did."""
        return await self._changed(rows.ERASE, {"text": client_id.encode(), "id": client_id})

    async def prune(self, now: float, keep_bodies: float, keep_entries: float) -> int:
        """Remove what is kept long enough; return how many entries were forgotten."""
        while await self._changed(rows.STRIP, (now - keep_bodies,)):
            pass
        await self._changed(rows.ORPHANS, ())
        gone = 0
        while keep_entries:
            [[some]] = await self._rows(rows.DROP, (now - keep_entries,))
            gone += some
            if not some:
                break
        return gone

    async def prune_by_the_way(self, now: float, keep_bodies: float, keep_entries: float) -> None:
        """Prune, if no other process has within the hour; what fails is tried again in the next one."""
        elected = await self._rows(rows.ELECT, (now,))
        if elected:
            gone = await self.prune(elected[0][0], keep_bodies, keep_entries)
            _LOG.debug("journal pruned: %d entries forgotten", gone)

    async def _records(self, statement: str, given: Sequence[object] = ()) -> list[Record]:
        found = [rows.record_of(row) for row in await self._rows(statement, given)]
        return [record for record in found if record is not None]

    async def _rows(self, statement: str, given: Sequence[object] | Mapping[str, object] = ()) -> list[Any]:
        async def work(connection: AsyncConnection[Any]) -> list[Any]:
            found = await connection.execute(filled(statement, self._schema), given, binary=True)
            return await found.fetchall()

        rows_found: list[Any] = await self._lane.add(work)
        return rows_found

    async def _changed(self, statement: str, given: Sequence[object] | Mapping[str, object]) -> int:
        async def work(connection: AsyncConnection[Any]) -> int:
            return (await connection.execute(filled(statement, self._schema), given)).rowcount

        count: int = await self._lane.add(work)
        return count
