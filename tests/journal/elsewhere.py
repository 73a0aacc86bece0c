"""Journals as other machines have them: with connections and lines of their own over the same tables."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from bardge_async import EntryState, PostgresJournal
from tests.journal.factories import KEY
from tests.support.clock import ManualClock
from tests.support.postgres import Database


class Stalled(ManualClock):
    """A clock that stands still: whoever has it renews nothing."""

    def __init__(self) -> None:
        super().__init__(auto=False)


def elsewhere(database: Database, name: str = "elsewhere", **options: Any) -> PostgresJournal:
    """A journal of another machine's; its own name in the connection string keeps it apart within this process."""
    return PostgresJournal(f"{database.dsn}?application_name={name}", **options)


@asynccontextmanager
async def both(database: Database, **options: Any) -> AsyncGenerator[tuple[PostgresJournal, PostgresJournal]]:
    """A machine that renews nothing, and another one."""
    database.clear()
    async with elsewhere(database, "here", clock=Stalled(), **options) as here, elsewhere(database) as there:
        yield here, there


def expire(database: Database) -> None:
    """Let every lease run out now."""
    database.admin.execute("UPDATE bardge.entries SET lease_until = clock_timestamp() - interval '1 second'")


def on_record(database: Database) -> dict[str, EntryState | str]:
    """The state of every key."""
    found = database.admin.execute("SELECT key, state FROM bardge.entries ORDER BY key").fetchall()
    return {key: state if state == "held" else EntryState(state) for key, state in found}


async def taken_over(database: Database, there: PostgresJournal) -> None:
    """Let the lease run out and another machine take the key."""
    expire(database)
    await there.claim(KEY, 0, ManualClock())
