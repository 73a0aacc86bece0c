"""Read-only queries on a job's journal."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from bardge_async._batch import Operation
from bardge_async._core.entry import EntryState
from bardge_async._core.keys import operation_key
from bardge_async._core.replay import compute_fingerprint
from bardge_async._core.request import RequestBuilder
from bardge_async.cli.batch._errors import CommandError


class JournalReader:
    """Look up keys of one server and account in a journal; a journal that does not exist yet is empty."""

    def __init__(self, path: Path, base_url: str, account: str) -> None:
        self._path = path
        self._key_owner = (base_url, account)
        self._builder = RequestBuilder(base_url, {})
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

    def read_state(self, operation: Operation[Any, Any], job: str) -> EntryState | None:
        """Return the state of a job's operation; None if a run sends it in any case.

        Raises:
            CommandError: The journal cannot be read.
        """
        key = operation_key(job, operation.endpoint, operation.id)
        sql = "SELECT state, status, fingerprint FROM entries WHERE base_url = ? AND account = ? AND key = ?"
        for state, status, known in self._run_query(sql, key):
            # Without a status, it was rejected before it was processed (401 for a wrong key, for example). With another
            # fingerprint, the row was corrected since, so it is a new request.
            if state == EntryState.REFUSED and (status is None or known != self._calculate_fingerprint(operation, key)):
                return None
            return EntryState(state)
        return None

    def count_states(self) -> dict[EntryState, int]:
        """Count the keys in each state, without those that were not processed and are sent again.

        Raises:
            CommandError: The journal cannot be read.
        """
        rows = self._run_query(
            "SELECT state, count(*) FROM entries WHERE base_url = ? AND account = ? "
            "AND (state <> 'refused' OR status IS NOT NULL) GROUP BY state"
        )
        return {state: dict(rows).get(state.value, 0) for state in EntryState}

    def _calculate_fingerprint(self, operation: Operation[Any, Any], key: str) -> str:
        token = operation.lookup_token
        endpoint, request = operation.endpoint, operation.request
        return compute_fingerprint(
            self._builder.build(endpoint, operation.path, request=request, key=key, lookup_token=token)
        )

    def _run_query(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        if self._connection is None:
            return []
        try:
            return self._connection.execute(sql, (*self._key_owner, *parameters)).fetchall()
        except sqlite3.Error as error:
            raise CommandError(f"The journal {self._path} cannot be read: {error}.") from None
