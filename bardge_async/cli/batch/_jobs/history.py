"""What a job's journal says about its operations."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bardge_async._batch import Operation
from bardge_async._core.entry import EntryState, KeyIdentity
from bardge_async._core.fingerprint import matches_fingerprint
from bardge_async._core.keys import operation_key
from bardge_async._core.request import RequestBuilder
from bardge_async._journal.sqlite_reader import JournalReader
from bardge_async.cli._journal import is_shared
from bardge_async.cli.batch._errors import CommandError
from bardge_async.errors import JournalError


class JobHistory:
    """The states of a job's operations at one server and account; all are None while there is no journal yet."""

    def __init__(self, reader: JournalReader, base_url: str, account: str) -> None:
        self._reader = reader
        self._base_url = base_url
        self._account = account
        self._builder = RequestBuilder(base_url, {})

    @property
    def is_empty(self) -> bool:
        """Whether there is no journal yet."""
        return self._reader.is_empty

    def read_state(self, operation: Operation[Any, Any], job: str) -> EntryState | None:
        """Return the state of a job's operation; None if a run sends it in any case."""
        key = operation_key(job, operation.endpoint, operation.id)
        facts = self._reader.find_key(KeyIdentity(self._base_url, self._account, key))
        if facts is None:
            return None
        # Without a status, it was rejected before it was processed (401 for a wrong key, for example). With another
        # fingerprint, the row was corrected since, so it is a new request.
        if facts.state is EntryState.REFUSED and (
            facts.status is None or not self._is_same_request(facts.fingerprint, operation, key)
        ):
            return None
        return facts.state

    def count_states(self) -> dict[EntryState, int]:
        """Count the keys in each state, without those that were not processed and are sent again."""
        return self._reader.count_states(self._base_url, self._account)

    def _is_same_request(self, fingerprint: str, operation: Operation[Any, Any], key: str) -> bool:
        token = operation.lookup_token
        endpoint, request = operation.endpoint, operation.request
        return matches_fingerprint(
            fingerprint, self._builder.build(endpoint, operation.path, request=request, key=key, lookup_token=token)
        )


@contextmanager
def open_history(journal: Path, base_url: str, account: str) -> Generator[JobHistory]:
    """Read a job's journal.

    Raises:
        CommandError: The journal cannot be read.
    """
    try:
        with JournalReader(journal, shared=is_shared()) as reader:
            yield JobHistory(reader, base_url, account)
    except JournalError as error:
        raise CommandError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
