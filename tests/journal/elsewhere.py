"""Journals as on other machines: with their own connections and key locks over the same tables."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from bardge_async import EntryState, PostgresJournal
from bardge_async.testing import ManualClock
from tests.journal.factories import KEY
from tests.support.clock import PausedClock
from tests.support.postgres import Database


def connect_other_machine(database: Database, name: str = "elsewhere", **options: Any) -> PostgresJournal:
    """Open a journal as another machine would; its own application name keeps it separate within this process."""
    return PostgresJournal(f"{database.dsn}?application_name={name}", **options)


@asynccontextmanager
async def open_two_machines(
    database: Database, **options: Any
) -> AsyncGenerator[tuple[PostgresJournal, PostgresJournal]]:
    """Open a journal whose clock is paused, so that it never renews its leases, and one of another machine."""
    database.clear()
    async with (
        connect_other_machine(database, "here", clock=PausedClock(), **options) as here,
        connect_other_machine(database) as there,
    ):
        yield here, there


def expire_leases(database: Database) -> None:
    """Let every lease expire now."""
    database.admin.execute("UPDATE bardge.entries SET lease_until = clock_timestamp() - interval '1 second'")


def read_states(database: Database) -> dict[str, EntryState | str]:
    """Return the state of every key."""
    found = database.admin.execute("SELECT key, state FROM bardge.entries ORDER BY key").fetchall()
    return {key: state if state == "held" else EntryState(state) for key, state in found}


async def take_over(database: Database, there: PostgresJournal) -> None:
    """Let the lease expire and another machine take the key."""
    expire_leases(database)
    await there.claim(KEY, 0, ManualClock())
