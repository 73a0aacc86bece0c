"""What a job's journal holds, read without changing it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Self
from urllib.parse import quote

from bardge_async._record import EntryState
from bardge_async.cli.batch._faults import StopError


class Survey:
    """Look keys of one server and account up in a journal; one that is not there yet holds none."""

    def __init__(self, path: Path, base_url: str, account: str) -> None:
        self._path = path
        self._whose = (base_url, account)
        self._found = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True) if path.exists() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._found is not None:
            self._found.close()

    @property
    def empty(self) -> bool:
        """Tell whether there is no journal yet."""
        return self._found is None

    def state(self, key: str) -> EntryState | None:
        """Return how far a key's operation has come.

        Raises:
            StopError: The journal cannot be read.
        """
        rows = self._ask("SELECT state FROM entries WHERE base_url = ? AND account = ? AND key = ?", key)
        return EntryState(rows[0][0]) if rows else None

    def counts(self) -> dict[EntryState, int]:
        """Count the keys in each state.

        Raises:
            StopError: The journal cannot be read.
        """
        rows = self._ask("SELECT state, count(*) FROM entries WHERE base_url = ? AND account = ? GROUP BY state")
        return {state: dict(rows).get(state.value, 0) for state in EntryState}

    def _ask(self, sql: str, *more: str) -> list[tuple[str, int]]:
        if self._found is None:
            return []
        try:
            return self._found.execute(sql, (*self._whose, *more)).fetchall()
        except sqlite3.Error as error:
            raise StopError(f"The journal {self._path} cannot be read: {error}.") from None
