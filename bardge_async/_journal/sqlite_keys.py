"""How a journal's file holds keys: chosen by the system, the environment or the caller."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

from bardge_async._core.entry import KeyIdentity
from bardge_async._journal.sqlite_locks import HAS_RANGE_LOCKS, LockFile, RangeLocks
from bardge_async._journal.sqlite_writer import SQLiteWriter, StartTimer
from bardge_async.errors import ConfigurationError

_VARIABLE: Final = "BARDGE_JOURNAL_LOCKS"
_WAYS: Final = ("auto", "portable")


class KeyHolds(Protocol):
    """Keys that this journal holds, against other processes and other journals of this one."""

    def lock_fresh(self, identity: KeyIdentity) -> bool:
        """Hold a key that was generated just now; return False if it is held."""
        ...

    async def lock(self, identity: KeyIdentity, start_timer: StartTimer) -> bool:
        """Hold a key; return False if another process or journal holds it."""
        ...

    def record(self, connection: sqlite3.Connection, identity: KeyIdentity) -> None:
        """Add to the transaction that writes a key's entry what shows others that the key is held."""

    async def find_held(self, identities: Iterable[KeyIdentity]) -> set[KeyIdentity]:
        """Return which keys are held by another process or journal."""
        ...

    def release(self, identity: KeyIdentity) -> None:
        """Free a key."""


class KeyBytes:
    """Hold keys by locked bytes of the lock file."""

    def __init__(self, locks: RangeLocks) -> None:
        self._locks = locks
        self.lock_fresh = locks.try_lock_key
        self.release = locks.release_key

    async def lock(self, identity: KeyIdentity, start_timer: StartTimer) -> bool:
        """Hold a key; return False if another process or journal holds it."""
        return self._locks.try_lock_key(identity)

    def record(self, connection: sqlite3.Connection, identity: KeyIdentity) -> None:
        """Add nothing: a locked byte is seen immediately."""

    async def find_held(self, identities: Iterable[KeyIdentity]) -> set[KeyIdentity]:
        """Return which keys are held by another process or journal."""
        return {identity for identity in identities if self._locks.is_key_held(identity)}


def choose_way(way: str) -> str:
    """Return how keys are held: ``auto`` follows the environment, else what the system has.

    Raises:
        ConfigurationError: The way is unknown.
    """
    source = "locks"
    if way == "auto":
        source, way = _VARIABLE, os.environ.get(_VARIABLE, "") or "auto"
    if way not in _WAYS:
        raise ConfigurationError(f'{source}: expected "auto" or "portable", got {way!r:.40}')
    return way


def open_locks(path: Path, way: str | None = None) -> LockFile:
    """Open a journal's lock file, in a way that was chosen before.

    Raises:
        ConfigurationError: The environment names an unknown way.
        JournalError: The file cannot be opened.
    """
    way = choose_way("auto") if way is None else way
    if way == "auto" and HAS_RANGE_LOCKS:
        return RangeLocks(path)
    from bardge_async._journal.sqlite_portable import PortableLocks  # noqa: PLC0415 - loads filelock, for a second way only

    return PortableLocks(path)


def make_key_holds(locks: LockFile, writer: SQLiteWriter) -> KeyHolds:
    """Return what holds keys in the way of a lock file."""
    if isinstance(locks, RangeLocks):
        return KeyBytes(locks)
    from bardge_async._journal.sqlite_portable import KeyRows, PortableLocks  # noqa: PLC0415 - the same

    assert isinstance(locks, PortableLocks)
    return KeyRows(locks, writer)
