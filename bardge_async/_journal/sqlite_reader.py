"""Read single facts of a journal file without a journal: no lock is taken and nothing is written."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from bardge_async._core.entry import EntryState, KeyIdentity
from bardge_async.errors import JournalError


class KeyFacts(NamedTuple):
    """State of a key, the HTTP status of its outcome if one was recorded, and the fingerprint of its request."""

    state: EntryState
    status: int | None
    fingerprint: str


class JournalReader:
    """Look up keys in a journal file; a file that does not exist yet holds none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True) if path.exists() else None

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
        rows = self._run_query(
            "SELECT state, status, fingerprint FROM entries WHERE base_url = ? AND account = ? AND key = ?", *identity
        )
        return KeyFacts(EntryState(rows[0][0]), rows[0][1], rows[0][2]) if rows else None

    def count_states(self, base_url: str, account: str) -> dict[EntryState, int]:
        """Count an account's keys in each state, without refusals that have no status: those are sent again.

        Raises:
            JournalError: The journal cannot be read.
        """
        rows = self._run_query(
            "SELECT state, count(*) FROM entries WHERE base_url = ? AND account = ? "
            "AND (state <> 'refused' OR status IS NOT NULL) GROUP BY state",
            base_url,
            account,
        )
        return {state: dict(rows).get(state.value, 0) for state in EntryState}

    def _run_query(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        if self._connection is None:
            return []
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self._path} cannot be read: {error}") from None
