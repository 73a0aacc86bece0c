"""What a journal keeps of an idempotency key.

A key is bound to its base URL, the account's label and itself, never to the API key. Its entry goes from *sent* to
*done* or *refused*, or stays in doubt; an entry that was never sent binds nothing.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import attrs

from bardge_async._core.window import Moment

__all__ = ["Answer", "EntryState", "Identity", "Record"]


class EntryState(enum.StrEnum):
    """Tell how far a key's operation has come."""

    INTENT = "intent"
    """Recorded, and proved not to have reached the server."""
    SENT = "sent"
    """Sent, no outcome on record: in doubt, unless the call still runs."""
    DONE = "done"
    REFUSED = "refused"
    """The API refused it: nothing was charged."""


class Identity(NamedTuple):
    """Name one key of one account at one server."""

    base_url: str
    account: str
    key: str


@attrs.frozen
class Answer:
    """A recorded answer: the body is None once it was removed."""

    status: int
    body: bytes | None
    request_id: str | None


@attrs.frozen
class Record:
    """What a journal keeps of one key.

    ``given`` tells whether the caller chose the key; ``last_sent`` is when it was last sent. ``answer`` beside the state
    *sent* is the server's own failure: it may have forgotten the key since.
    """

    identity: Identity
    endpoint: str
    url: str
    fingerprint: str
    body: bytes | None
    given: bool
    state: EntryState
    first_sent: Moment | None = None
    last_sent: Moment | None = None
    answer: Answer | None = None

    def at(
        self, state: EntryState, first_sent: Moment | None, last_sent: Moment | None, answer: Answer | None
    ) -> Record:
        """Return the same operation's record at another point; attrs.evolve takes several times as long."""
        return Record(
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
