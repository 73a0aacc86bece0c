"""Read single facts of a journal file without a journal: no key is locked and no entry is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

from bardge_async._core.entry import EntryState, KeyIdentity
from bardge_async._core.settings import normalize_base_url
from bardge_async._journal.sqlite_keys import open_locks
from bardge_async._journal.sqlite_locks import LockFile
from bardge_async._journal.sqlite_schema import list_spellings, open_read_only
from bardge_async._journal.sqlite_trust import check_trust
from bardge_async.errors import JournalError

T = TypeVar("T")

_TIMEOUT: Final = 10.0
_BINDING_ORDER: Final = (EntryState.DONE, EntryState.SENT, EntryState.REFUSED, EntryState.INTENT)


class KeyFacts(NamedTuple):
    """State of a key, the HTTP status of its outcome if one was recorded, and the fingerprint of its request."""

    state: EntryState
    status: int | None
    fingerprint: str


class JournalView:
    """A journal's file opened only to read it, under the same locks as a journal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._locks: LockFile | None = None
        self._connection: sqlite3.Connection | None = None

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a read; the first opens the file.

        Raises:
            JournalError: Another process kept the journal locked, or holds keys in another way.
            sqlite3.Error: The file cannot be read.
        """
        locks = self._locks = self._locks or open_locks(self._path)
        exclusive = self._connection is None
        locks.wait_to_lock(exclusive=exclusive, timeout=_TIMEOUT)
        try:
            if not exclusive and locks.read_record().is_busy:
                # A process died while it wrote: what SQLite repairs then no other may see.
                locks.unlock()
                locks.wait_to_lock(exclusive=True, timeout=_TIMEOUT)
            return work(self._connection or self._open(locks))
        finally:
            locks.unlock()

    def _open(self, locks: LockFile) -> sqlite3.Connection:
        locks.mark_open()
        self._connection = open_read_only(self._path, "mode=ro")
        return self._connection

    def close(self) -> None:
        """Close the file; the log stays, whether or not others have it open."""
        if self._connection is not None:
            self._connection.close()
        if self._locks is not None:
            self._locks.close()


class JournalReader:
    """Look up keys in a journal file; a file that does not exist yet, or is empty, holds none.

    Opening the journal rewrites the entries under other spellings of a base URL; until then they are found here, too.

    Raises:
        JournalError: It is not a regular file.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self._path = path
        if path.exists():
            check_trust(path, shared=shared)
        self._view = JournalView(path) if _may_hold_entries(path) else None
        self._spellings: list[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._view is not None:
            self._view.close()

    @property
    def is_empty(self) -> bool:
        """Whether there is no journal yet."""
        return self._view is None

    def find_key(self, identity: KeyIdentity) -> KeyFacts | None:
        """Return what is on record about a key; None if it has no entry.

        Raises:
            JournalError: The journal cannot be read.
        """
        sql = "SELECT state, status, fingerprint FROM entries WHERE base_url = ? AND account = ? AND key = ?"
        found: list[KeyFacts] = []
        for spelling in self._list_spellings(identity.base_url):
            for state, status, fingerprint in self._run_query(sql, spelling, identity.account, identity.key):
                found.append(KeyFacts(self._read_state(state), status, _add_spelling(fingerprint, spelling, identity)))
        return min(found, key=lambda facts: _BINDING_ORDER.index(facts.state), default=None)

    def count_states(self, base_url: str, account: str) -> dict[EntryState, int]:
        """Count an account's keys in each state, without refusals that have no status: those are sent again.

        Raises:
            JournalError: The journal cannot be read.
        """
        sql = (
            "SELECT state, count(*) FROM entries WHERE base_url = ? AND account = ? "
            "AND (state <> 'refused' OR status IS NOT NULL) GROUP BY state"
        )
        counts = dict.fromkeys(EntryState, 0)
        for spelling in self._list_spellings(base_url):
            for state, count in self._run_query(sql, spelling, account):
                counts[self._read_state(state)] += count
        return counts

    def _list_spellings(self, base_url: str) -> list[str]:
        """Return the base URL and its other spellings in the journal."""
        if self._view is None:
            return []
        if self._spellings is None:
            try:
                self._spellings = self._view.read(list_spellings)
            except sqlite3.Error as error:
                raise self._read_error(error) from None
        others = [found for found in self._spellings if found != base_url and normalize_base_url(found) == base_url]
        return [base_url, *others]

    def _run_query(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        if self._view is None:
            return []
        try:
            return self._view.read(lambda connection: connection.execute(sql, parameters).fetchall())
        except sqlite3.Error as error:
            raise self._read_error(error) from None

    def _read_state(self, stored: str) -> EntryState:
        try:
            return EntryState(stored)
        except ValueError:
            raise JournalError(f"the journal {self._path} is damaged: an entry has the state {stored!r:.40}") from None

    def _read_error(self, error: sqlite3.Error) -> JournalError:
        return JournalError(f"the journal {self._path} cannot be read: {error}")


def _may_hold_entries(path: Path) -> bool:
    """Return whether there is a journal; a new file, as ``mktemp`` makes it, is none yet."""
    if not path.exists():
        return False
    if not path.is_file():
        # Opening a pipe would wait for its other end.
        raise JournalError(f"{path}: not a regular file; give the path of a file")
    return path.stat().st_size > 0 or path.with_name(path.name + "-wal").exists()


def _add_spelling(fingerprint: str, spelling: str, identity: KeyIdentity) -> str:
    return fingerprint if spelling == identity.base_url or "@" in fingerprint else f"{fingerprint}@{spelling}"
