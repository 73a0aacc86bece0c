"""What a journal keeps of an idempotency key.

A key is bound to its base URL, the account's label and itself, never to the API key. Its entry goes from *sent* to
*done* or *refused*, or stays in doubt; an entry that was never sent binds nothing.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import attrs

from bardge_async._core.window import ClockReading

__all__ = ["EntryState", "JournalEntry", "KeyIdentity", "RecordedResponse"]


class EntryState(enum.StrEnum):
    """Tell how far a key's operation has come."""

    INTENT = "intent"
    """Recorded, and proved not to have reached the server."""
    SENT = "sent"
    """Sent, no outcome on record: in doubt, unless the call still runs."""
    DONE = "done"
    REFUSED = "refused"
    """The API refused it: nothing was charged."""


class KeyIdentity(NamedTuple):
    """Name one key of one account at one server."""

    base_url: str
    account: str
    key: str


@attrs.frozen
class RecordedResponse:
    """A recorded answer: the body is None once it was removed."""

    status: int
    body: bytes | None
    request_id: str | None


@attrs.frozen
class JournalEntry:
    """What a journal keeps of one key.

    ``given`` tells whether the caller chose the key; ``last_sent`` is when it was last sent. ``answer`` beside the state
    *sent* is the server's own failure: it may have forgotten the key since.
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

    def with_state(
        self,
        state: EntryState,
        first_sent: ClockReading | None,
        last_sent: ClockReading | None,
        answer: RecordedResponse | None,
    ) -> JournalEntry:
        """Return the same operation's record at another point; attrs.evolve takes several times as long."""
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
