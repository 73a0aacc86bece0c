"""Journals: where keys and their outcomes are kept, so that an operation that is entered again is not done again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity
from bardge_async._journal.memory import MemoryJournal
from bardge_async._runtime.clock import Clock

if TYPE_CHECKING:
    from bardge_async._journal.postgres import PostgresJournal
    from bardge_async._journal.sqlite import SQLiteJournal

__all__ = ["EntryState", "Journal", "JournalEntry", "KeyIdentity", "MemoryJournal", "PostgresJournal", "SQLiteJournal"]


def __getattr__(name: str) -> type[PostgresJournal | SQLiteJournal]:
    """Import the journals of other stores when they are asked for: most programs need one of them at most."""
    if name == "SQLiteJournal":
        from bardge_async._journal import sqlite  # noqa: PLC0415

        return sqlite.SQLiteJournal
    if name == "PostgresJournal":
        from bardge_async._journal import postgres  # noqa: PLC0415

        return postgres.PostgresJournal
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Journal(Protocol):
    """Keep records of keys; give your own as ``BardgeClient(journal=...)``. All stores share one set of rules.

    A key has one holder at a time, from ``claim`` to ``release``; a cancelled ``claim`` holds nothing. ``instant`` says
    that ``put`` and ``remove`` never wait; ``highest`` is the highest wall time on record, in seconds, and ``forgotten``
    the wall time up to which finished entries may be gone.

    A journal may have ``hold_fresh(identity) -> bool`` besides: it takes hold, at once, of a key that was made just now
    and can be on no record; on False ``claim`` is asked.
    """

    instant: bool
    highest: float

    @property
    def forgotten(self) -> float:
        """The wall time in seconds up to which finished entries may be gone; 0 where none are."""
        ...

    async def claim(self, identity: KeyIdentity, timeout: float, clock: Clock) -> JournalEntry | None:
        """Take hold of a key, waiting for another holder for at most ``patience`` seconds; return its record.

        Raises:
            KeyInUseError: Another holder did not let go in time.
            JournalError: The journal cannot be read.
        """
        ...

    def release(self, identity: KeyIdentity) -> None:
        """Let go of a key."""

    async def put(self, entry: JournalEntry) -> None:
        """Keep a record, durably when this returns.

        Raises:
            JournalError: It could not be kept.
        """

    async def remove(self, identity: KeyIdentity) -> None:
        """Forget a record that never reached the server."""

    async def overtaken(self, entry: JournalEntry) -> bool:
        """Tell whether a POST to the same row and path was sent later than the record's, under another key."""
        ...

    async def unfinished(self, base_url: str, account: str) -> list[JournalEntry]:
        """Return the records that were sent and have no outcome, oldest first, without those that a holder works on."""
        ...

    async def since(self, entry: JournalEntry) -> list[JournalEntry]:
        """Return the other records of the same row that were sent at most ten minutes before a record's or later."""
        ...
