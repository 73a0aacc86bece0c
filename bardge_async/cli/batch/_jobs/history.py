"""What a job's journal holds, read without changing it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from bardge_async._batch import Operation
from bardge_async._core.entry import EntryState
from bardge_async._core.keys import operation_key
from bardge_async._core.replay import fingerprint
from bardge_async._core.request import Composer
from bardge_async.cli.batch._errors import StopError


class Survey:
    """Look keys of one server and account up in a journal; one that is not there yet holds none."""

    def __init__(self, path: Path, base_url: str, account: str) -> None:
        self._path = path
        self._whose = (base_url, account)
        self._composer = Composer(base_url, {})
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

    def state(self, operation: Operation[Any, Any], job: str) -> EntryState | None:
        """Return how far an operation of a job has come; None where a run sends it in any case.

        Raises:
            StopError: The journal cannot be read.
        """
        key = operation_key(job, operation.endpoint, operation.id)
        sql = "SELECT state, status, fingerprint FROM entries WHERE base_url = ? AND account = ? AND key = ?"
        for state, status, known in self._ask(sql, key):
            # What was answered by a wrong key's 401 and the like was never looked at; what was corrected since is new.
            if state == EntryState.REFUSED and (status is None or known != self._fingerprint(operation, key)):
                return None
            return EntryState(state)
        return None

    def counts(self) -> dict[EntryState, int]:
        """Count the keys in each state, without those that were not executed and are sent again.

        Raises:
            StopError: The journal cannot be read.
        """
        rows = self._ask(
            "SELECT state, count(*) FROM entries WHERE base_url = ? AND account = ? "
            "AND (state <> 'refused' OR status IS NOT NULL) GROUP BY state"
        )
        return {state: dict(rows).get(state.value, 0) for state in EntryState}

    def _fingerprint(self, operation: Operation[Any, Any], key: str) -> str:
        token = operation.lookup_token
        row, request = operation.endpoint, operation.request
        return fingerprint(self._composer.compose(row, operation.path, request=request, key=key, lookup_token=token))

    def _ask(self, sql: str, *more: str) -> list[tuple[Any, ...]]:
        if self._found is None:
            return []
        try:
            return self._found.execute(sql, (*self._whose, *more)).fetchall()
        except sqlite3.Error as error:
            raise StopError(f"The journal {self._path} cannot be read: {error}.") from None
