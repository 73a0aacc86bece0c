"""The journals that the tests in this folder run on; a new store adds its line here."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from bardge_async import (
    ClockReading,
    EntryState,
    Journal,
    JournalEntry,
    KeyIdentity,
    MemoryJournal,
    PostgresJournal,
    RecordedResponse,
    SQLiteJournal,
)

Opener: TypeAlias = Callable[[], AbstractAsyncContextManager[Journal]]
"""Open one more journal over the same store, as another client or process would."""

WALL: Final = 1_780_000_000.0
ELAPSED: Final = 1000.0
BASE: Final = "https://api.example/v3"
KEY: Final = KeyIdentity(BASE, "", "order-1")


def _open_memory(_: Path) -> Opener:
    journal = MemoryJournal()

    @asynccontextmanager
    async def open_journal() -> AsyncGenerator[Journal]:
        yield journal

    return open_journal


def _open_sqlite(folder: Path) -> Opener:
    @asynccontextmanager
    async def open_journal() -> AsyncGenerator[Journal]:
        with SQLiteJournal(folder / "journal.db") as journal:
            yield journal

    return open_journal


def open_on_postgres(dsn: str) -> Opener:
    """Open journals over a database's tables, each with its own connections."""

    @asynccontextmanager
    async def open_journal() -> AsyncGenerator[Journal]:
        async with PostgresJournal(dsn) as journal:
            yield journal

    return open_journal


FACTORIES: Final[Mapping[str, Callable[[Path], Opener]]] = {"memory": _open_memory, "sqlite": _open_sqlite}


def make_reading(seconds: float) -> ClockReading:
    """Return the instant a number of seconds after the tests' start."""
    return ClockReading(WALL + seconds, ELAPSED + seconds, WALL + seconds)


def make_sent(
    identity: KeyIdentity = KEY, *, second: float = 0.0, path: str = "/p", given: bool = True
) -> JournalEntry:
    """Make an entry for a POST that was sent and not answered."""
    return JournalEntry(
        identity=identity,
        endpoint="passes.update_expiry",
        url=identity.base_url + path,
        fingerprint="v1:1",
        body=b'{"a":1}',
        given=given,
        state=EntryState.SENT,
        first_sent=make_reading(second),
        last_sent=make_reading(second),
    )


def make_done(record: JournalEntry, *, second: float = 0.0, state: EntryState = EntryState.DONE) -> JournalEntry:
    """Return the same entry, answered."""
    answer = RecordedResponse(201, b'{"balance":5}', "req_1") if state is EntryState.DONE else None
    return attrs.evolve(record, state=state, last_sent=make_reading(second), answer=answer)


def make_identity(key: str) -> KeyIdentity:
    """Return another key of the same account."""
    return KEY._replace(key=key)
