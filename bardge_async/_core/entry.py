"""A journal's entry for an idempotency key.

A key is identified by base URL, account label and key, never by the API key. Its entry goes from *sent* to *done* or
*refused*, or its outcome stays unknown; an entry that was never sent has no effect.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

import attrs

from bardge_async._core.window import ClockReading

__all__ = ["EntryState", "JournalEntry", "KeyIdentity", "RecordedResponse"]


COMPETING_SECONDS: Final = 600.0
"""How long before a doubt's first send other entries may have left the evidence that it is judged by, in seconds."""


class EntryState(enum.StrEnum):
    """Show how far a key's operation has progressed."""

    INTENT = "intent"
    """Recorded, and certain not to have reached the server."""
    SENT = "sent"
    """Sent, without a recorded outcome: unknown, unless the call is still in flight."""
    DONE = "done"
    REFUSED = "refused"
    """The API refused it: nothing was charged."""


class KeyIdentity(NamedTuple):
    """Identify one key of one account at one server."""

    base_url: str
    account: str
    key: str


@attrs.frozen
class RecordedResponse:
    """Hold a recorded response; ``body`` is None once it was removed."""

    status: int
    body: bytes | None
    request_id: str | None


@attrs.frozen
class JournalEntry:
    """Hold what a journal knows about one key.

    ``given``: whether the caller chose the key. ``last_sent``: when it was last sent. In state *sent*, an ``answer`` is
    the server's own failure, after which it may have forgotten the key. ``fingerprint`` is empty if only the outcome
    was kept.
    """

    identity: KeyIdentity
    endpoint: str
    url: str
    fingerprint: str
    body: bytes | None
    given: bool
    state: EntryState
    first_sent: ClockReading | None = None
    last_sent: ClockReading | None = None
    answer: RecordedResponse | None = None

    @property
    def keeps_bodies(self) -> bool:
        """Return whether bodies are of use once the operation is finished: no later call can present a generated key."""
        return self.given

    def for_storage(self) -> JournalEntry:
        """Return the entry as stores keep it: a finished one under a generated key without its response body."""
        response = self.answer
        if self.keeps_bodies or self.state is EntryState.SENT or response is None or response.body is None:
            return self
        recorded = RecordedResponse(response.status, None, response.request_id)
        return self.with_state(self.state, self.first_sent, self.last_sent, recorded)

    def with_state(
        self,
        state: EntryState,
        first_sent: ClockReading | None,
        last_sent: ClockReading | None,
        answer: RecordedResponse | None,
    ) -> JournalEntry:
        """Return the entry in another state."""
        # Not attrs.evolve: it takes several times as long, and every call gets here.
        return JournalEntry(
            self.identity,
            self.endpoint,
            self.url,
            self.fingerprint,
            self.body,
            self.given,
            state,
            first_sent,
            last_sent,
            answer,
        )
