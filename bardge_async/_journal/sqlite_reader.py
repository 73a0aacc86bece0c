"""Read single facts of a journal file without a journal: no lock is taken and nothing is written."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from urllib.parse import quote

from bardge_async._core.entry import EntryState, KeyIdentity
from bardge_async._core.settings import normalize_base_url
from bardge_async._journal.sqlite_schema import list_spellings
from bardge_async.errors import JournalError

_BINDING_ORDER: Final = (EntryState.DONE, EntryState.SENT, EntryState.REFUSED, EntryState.INTENT)


class KeyFacts(NamedTuple):
    """State of a key, the HTTP status of its outcome if one was recorded, and the fingerprint of its request."""

    state: EntryState
    status: int | None
    fingerprint: str


class JournalReader:
    """Look up keys in a journal file; a file that does not exist yet, or is empty, holds none.

    Opening the journal rewrites the entries under other spellings of a base URL; until then they are found here, too.

    Raises:
        JournalError: It is not a regular file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = None
        if _may_hold_entries(path):
            self._connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        self._spellings: list[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._connection is not None:
            self._connection.close()

    @property
    def is_empty(self) -> bool:
        """Whether there is no journal yet."""
        return self._connection is None

    def find_key(self, identity: KeyIdentity) -> KeyFacts | None:
        """Return what is on record about a key; None if it has no entry.

        Raises:
            JournalError: The journal cannot be read.
        """
        sql = "SELECT state, status, fingerprint FROM entries WHERE base_url = ? AND account = ? AND key = ?"
        found: list[KeyFacts] = []
        for spelling in self._list_spellings(identity.base_url):
            for state, status, fingerprint in self._run_query(sql, spelling, identity.account, identity.key):
                found.append(KeyFacts(EntryState(state), status, _add_spelling(fingerprint, spelling, identity)))
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
                counts[EntryState(state)] += count
        return counts

    def _list_spellings(self, base_url: str) -> list[str]:
        """Return the base URL and its other spellings in the journal."""
        if self._connection is None:
            return []
        if self._spellings is None:
            try:
                self._spellings = list_spellings(self._connection)
            except sqlite3.Error as error:
                raise self._read_error(error) from None
        others = [found for found in self._spellings if found != base_url and normalize_base_url(found) == base_url]
        return [base_url, *others]

    def _run_query(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        if self._connection is None:
            return []
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._read_error(error) from None

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
