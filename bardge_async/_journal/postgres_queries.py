"""Queries and housekeeping of the journal in PostgreSQL, on a connection of their own, so that no call waits for them."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
from psycopg import AsyncConnection

from bardge_async._core.entry import JournalEntry
from bardge_async._journal import postgres_statements as statements
from bardge_async._journal.pages import stream_pages
from bardge_async._journal.postgres_chores import JournalChores
from bardge_async._journal.postgres_pages import EntryPosition, read_page
from bardge_async._journal.pruning import PruneTime
from bardge_async._postgres.group_commit import GroupCommitQueue
from bardge_async._postgres.schema import fill_schema
from bardge_async._runtime.clock import Clock

_LOG: Final = logging.getLogger("bardge_async")

Query: TypeAlias = Callable[[AsyncConnection[Any]], Awaitable[Any]]


class JournalQueries:
    """Query the entries, and remove those past their retention."""

    def __init__(self, queue: GroupCommitQueue[Query, Any], schema: str, clock: Clock) -> None:
        self._queue = queue
        self._schema = schema
        self.chores = JournalChores(self.fetch_rows, clock)

    async def has_later_request(self, entry: JournalEntry) -> bool:
        """Return whether another key's POST to the same URL was sent later by the server's clock."""
        return bool(await self.fetch_rows(statements.LATER_REQUEST, {**entry.identity._asdict(), "url": entry.url}))

    async def list_unfinished(self, base_url: str, account: str) -> list[JournalEntry]:
        """Return the entries that are in doubt and whose key is not held, oldest first."""
        return await self._fetch_entries(statements.UNFINISHED, (base_url, account))

    async def list_sent_since(self, entry: JournalEntry, earliest: float) -> list[JournalEntry]:
        """Return the endpoint's other entries last sent at the wall time ``earliest`` or later."""
        base_url, account, key = entry.identity
        return await self._fetch_entries(statements.SENT_SINCE, (base_url, account, entry.endpoint, key, earliest))

    def stream_entries(self, *, unfinished: bool) -> AsyncGenerator[JournalEntry]:
        """Iterate over all entries, or all in doubt, in the order in which their keys were first claimed."""
        return stream_pages(EntryPosition(), lambda end: read_page(self.fetch_rows, end, unfinished=unfinished))

    async def read_forgotten_until(self) -> float:
        """Return the wall time up to which finished entries may have been pruned; 0 if none were."""
        found = await self.fetch_rows(statements.FORGOTTEN_UNTIL)
        return float(found[0][0]) if found else 0.0

    async def prune_if_due(self, time: PruneTime, keep_bodies: float, keep_entries: float) -> None:
        """Prune unless another process has within the hour; a failure is retried in the next one."""
        elected = await self.fetch_rows(statements.ELECT_PRUNER, (time.wall,))
        if elected:
            removed = await self.chores.prune(attrs.evolve(time, wall=elected[0][0]), keep_bodies, keep_entries)
            _LOG.debug("journal pruned: %d entries removed", removed)

    async def _fetch_entries(self, statement: str, parameters: Sequence[object] = ()) -> list[JournalEntry]:
        found = [statements.parse_entry(row) for row in await self.fetch_rows(statement, parameters)]
        return [entry for entry in found if entry is not None]

    async def fetch_rows(self, statement: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[Any]:
        """Execute a statement and return its rows."""

        async def run_query(connection: AsyncConnection[Any]) -> list[Any]:
            cursor = await connection.execute(fill_schema(statement, self._schema), parameters, binary=True)
            return await cursor.fetchall()

        rows_found: list[Any] = await self._queue.add_item(run_query)
        return rows_found
