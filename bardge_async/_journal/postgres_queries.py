"""Queries and housekeeping of the journal in PostgreSQL, on a connection of their own, so that no call waits for them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
from psycopg import AsyncConnection

from bardge_async._core.entry import JournalEntry
from bardge_async._journal import postgres_statements as statements
from bardge_async._journal.pruning import PruneTime
from bardge_async._postgres.group_commit import GroupCommitQueue
from bardge_async._postgres.schema import fill_schema

_LOG: Final = logging.getLogger("bardge_async")

Query: TypeAlias = Callable[[AsyncConnection[Any]], Awaitable[Any]]


class JournalQueries:
    """Query the entries, and remove those past their retention."""

    def __init__(self, queue: GroupCommitQueue[Query, Any], schema: str) -> None:
        self._queue = queue
        self._schema = schema

    async def has_later_request(self, entry: JournalEntry) -> bool:
        """Return whether another key's POST to the same URL was sent later by the server's clock."""
        return bool(await self._fetch_rows(statements.LATER_REQUEST, {**entry.identity._asdict(), "url": entry.url}))

    async def list_unfinished(self, base_url: str, account: str) -> list[JournalEntry]:
        """Return the entries that are in doubt and whose key is not held, oldest first."""
        return await self._fetch_entries(statements.UNFINISHED, (base_url, account))

    async def list_sent_since(self, entry: JournalEntry, earliest: float) -> list[JournalEntry]:
        """Return the endpoint's other entries last sent at the wall time ``earliest`` or later."""
        base_url, account, key = entry.identity
        return await self._fetch_entries(statements.SENT_SINCE, (base_url, account, entry.endpoint, key, earliest))

    async def list_entries(self, *, unfinished: bool) -> list[JournalEntry]:
        """Return all entries, or all in doubt, oldest first."""
        return await self._fetch_entries(statements.ALL_UNFINISHED if unfinished else statements.ALL_ENTRIES)

    async def read_forgotten_until(self) -> float:
        """Return the wall time up to which finished entries may have been pruned; 0 if none were."""
        found = await self._fetch_rows(statements.FORGOTTEN_UNTIL)
        return float(found[0][0]) if found else 0.0

    async def erase_client(self, client_id: str) -> int:
        """Remove the bodies that contain a client's id; return the number of entries changed."""
        return await self._count_changed(statements.ERASE, {"text": client_id.encode(), "id": client_id})

    async def prune(self, time: PruneTime, keep_bodies: float, keep_entries: float) -> int:
        """Remove what is past its retention; return the number of entries removed."""
        while await self._count_changed(statements.REMOVE_BODIES, time.limits(keep_bodies)):
            pass
        await self._count_changed(statements.REMOVE_ORPHANS, ())
        removed = 0
        while keep_entries:  # 0 keeps them forever
            [[count]] = await self._fetch_rows(statements.REMOVE_ENTRIES, time.limits(keep_entries))
            removed += count
            if not count:
                break
        return removed

    async def prune_if_due(self, time: PruneTime, keep_bodies: float, keep_entries: float) -> None:
        """Prune unless another process has within the hour; a failure is retried in the next one."""
        elected = await self._fetch_rows(statements.ELECT_PRUNER, (time.wall,))
        if elected:
            removed = await self.prune(attrs.evolve(time, wall=elected[0][0]), keep_bodies, keep_entries)
            _LOG.debug("journal pruned: %d entries removed", removed)

    async def _fetch_entries(self, statement: str, parameters: Sequence[object] = ()) -> list[JournalEntry]:
        found = [statements.parse_entry(row) for row in await self._fetch_rows(statement, parameters)]
        return [entry for entry in found if entry is not None]

    async def _fetch_rows(self, statement: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[Any]:
        async def run_query(connection: AsyncConnection[Any]) -> list[Any]:
            cursor = await connection.execute(fill_schema(statement, self._schema), parameters, binary=True)
            return await cursor.fetchall()

        rows_found: list[Any] = await self._queue.add_item(run_query)
        return rows_found

    async def _count_changed(self, statement: str, parameters: Sequence[object] | Mapping[str, object]) -> int:
        async def run_statement(connection: AsyncConnection[Any]) -> int:
            return (await connection.execute(fill_schema(statement, self._schema), parameters)).rowcount

        count: int = await self._queue.add_item(run_statement)
        return count
