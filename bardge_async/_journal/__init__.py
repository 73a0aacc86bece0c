"""Journals: stores of keys and their outcomes, so that a repeated operation is not executed twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol

from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity
from bardge_async._journal.memory import MemoryJournal
from bardge_async._runtime.clock import Clock

if TYPE_CHECKING:
    from bardge_async._journal.postgres import PostgresJournal
    from bardge_async._journal.sqlite import SQLiteJournal

__all__ = ["EntryState", "Journal", "JournalEntry", "KeyIdentity", "MemoryJournal", "PostgresJournal", "SQLiteJournal"]


def __getattr__(name: str) -> type[PostgresJournal | SQLiteJournal]:
    """Import the durable journals on first access: most programs need at most one of them."""
    if name == "SQLiteJournal":
        from bardge_async._journal import sqlite  # noqa: PLC0415

        return sqlite.SQLiteJournal
    if name == "PostgresJournal":
        from bardge_async._journal import postgres  # noqa: PLC0415

        return postgres.PostgresJournal
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Journal(Protocol):
    """Store an entry per key; pass your own as ``BardgeClient(journal=...)``. All stores follow the same rules.

    A key has one holder at a time, from ``claim`` to ``release``; a cancelled ``claim`` holds nothing. ``instant`` is
    true if ``put`` and ``remove`` never wait; ``highest`` is the highest wall time on record, in seconds, and
    ``forgotten`` the wall time up to which finished entries may have been pruned.

    A journal may also have ``walls``, a log of the highest wall times read, and ``record_reading(reading)``, which adds
    to it: with both, a window that a clock has closed stays closed for other processes, too. It may also have
    ``hold_fresh(identity) -> bool``: it claims, without waiting, a key that was generated just now and so cannot have an
    entry; if it returns False, ``claim`` is called. And ``put_later(entry)``, a ``put`` that goes on in the journal's
    own task after its caller was cancelled, with the key held until it has ended; and ``outage``, the cause for which
    writes wait, or None.
    """

    instant: bool

    @property
    def highest(self) -> float:
        """The highest wall time on record, in seconds."""
        ...

    @property
    def forgotten(self) -> float:
        """The wall time in seconds up to which finished entries may have been pruned; 0 if none were."""
        ...

    async def claim(self, identity: KeyIdentity, timeout: float, clock: Clock) -> JournalEntry | None:
        """Claim a key, waiting at most ``timeout`` seconds for its current holder; return its entry, if any.

        Raises:
            KeyInUseError: Another holder did not release the key in time.
            JournalError: The journal cannot be read.
        """
        ...

    def release(self, identity: KeyIdentity) -> None:
        """Release a key."""

    async def put(self, entry: JournalEntry) -> None:
        """Store an entry; it is durable once this returns.

        Raises:
            JournalError: The entry could not be stored.
        """

    async def remove(self, identity: KeyIdentity) -> None:
        """Remove an entry whose request never reached the server."""

    async def overtaken(self, entry: JournalEntry) -> bool:
        """Return whether a POST to the same endpoint and path was sent after this entry's, under another key."""
        ...

    async def unfinished(self, base_url: str, account: str) -> list[JournalEntry]:
        """Return the entries that were sent and have no outcome, oldest first, except those whose key is held."""
        ...

    def entries(self, *, unfinished: bool = False) -> AsyncIterator[JournalEntry]:
        """Iterate over the entries of all servers and accounts, oldest first; with ``unfinished``, over those in doubt.

        An entry that is there all the time comes exactly once; one that is added or removed meanwhile may come or not.
        Nothing is left open when the loop is left early.

        Raises:
            JournalError: The journal cannot be read.
        """
        ...

    async def since(self, entry: JournalEntry) -> list[JournalEntry]:
        """Return the endpoint's other entries last sent at most ten minutes before this one was first sent, or later."""
        ...
