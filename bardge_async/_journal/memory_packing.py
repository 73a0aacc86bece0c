"""Finished entries as plain tuples, as the journal in memory keeps them."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import attrs

from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity, RecordedResponse
from bardge_async._core.erasure import ClientMatcher
from bardge_async._core.fingerprint import add_fingerprint
from bardge_async._core.window import ClockReading

PackedEntry: TypeAlias = tuple[Any, ...]
"""A finished entry: its order, when it was last sent, and its content. The garbage collector untracks a plain tuple of
strings and numbers; it would traverse thousands of entry objects on every full collection."""
_ENTRY_BYTES: Final = 700
"""An entry without its bodies and its key."""

URL_INDEX: Final = 3
GIVEN_INDEX: Final = 6
STATE_INDEX: Final = 7
LAST_WALL_INDEX: Final = 8
_BODY_INDEX: Final = 5
_ANSWER_INDEX: Final = -3
SIZE_INDEX: Final = -1
_NO_READING: Final[Any] = ClockReading(*(None,) * 4)  # type: ignore[arg-type]  # what is not known is packed as None
_NO_RESPONSE: Final[Any] = RecordedResponse(*(None,) * 3)  # type: ignore[arg-type]
_FINGERPRINT_BYTES: Final = 256
"""A body of up to this size is kept instead of its fingerprint, which takes longer to compute than the rest."""


def pack_entry(
    order: int,
    entry: JournalEntry,
    state: EntryState,
    last_sent: ClockReading | None,
    response: RecordedResponse | None,
) -> PackedEntry:
    """Return a finished entry as a plain tuple; ``order`` is its place among all entries."""
    omit_bodies = not entry.keeps_bodies and response is not None
    body, fingerprint = entry.body, entry.fingerprint
    if omit_bodies and not fingerprint and body is not None and len(body) > _FINGERPRINT_BYTES:
        fingerprint = add_fingerprint(entry).fingerprint
    if omit_bodies and fingerprint:
        body = None
    last, first, answer = last_sent or _NO_READING, entry.first_sent or _NO_READING, response or _NO_RESPONSE
    answer_body = None if omit_bodies else _copy_bytes(answer.body)
    size = _ENTRY_BYTES + len(entry.identity.key) + 2 * len(entry.url) + len(body or b"") + len(answer_body or b"")
    return (
        order,
        last.elapsed or 0.0,
        entry.endpoint,
        entry.url,
        fingerprint,
        _copy_bytes(body),
        entry.given,
        state.value,
        last.wall,
        last.elapsed,
        last.highest,
        last.boot,
        first.wall,
        first.elapsed,
        first.highest,
        first.boot,
        answer.status,
        answer_body,
        answer.request_id,
        size,
    )


def unpack_entry(identity: KeyIdentity, kept: PackedEntry) -> JournalEntry:
    """Return a packed entry as it was put, with its fingerprint."""
    _, _, endpoint, url, fingerprint, body, given, state, *rest, _ = kept
    last_sent = None if rest[0] is None else ClockReading(*rest[:4])
    first_sent = None if rest[4] is None else ClockReading(*rest[4:8])
    response = None if rest[8] is None else RecordedResponse(*rest[8:])
    entry = add_fingerprint(
        JournalEntry(
            identity, endpoint, url, fingerprint, body, given, EntryState(state), first_sent, last_sent, response
        )
    )
    # Without its answer, a generated key's body was kept only for the fingerprint.
    return entry if given or response is None else attrs.evolve(entry, body=None)


def drop_bodies(identity: tuple[str, ...], kept: PackedEntry | None, matcher: ClientMatcher) -> PackedEntry | None:
    """Return an entry without its bodies if these name the client."""
    bodies = (None, None) if kept is None else (kept[_BODY_INDEX], kept[_ANSWER_INDEX])
    if kept is None or bodies == (None, None) or not matcher.matches(identity[0], kept[URL_INDEX], *bodies):
        return None
    entry = unpack_entry(KeyIdentity(*identity), kept)
    answer = None if entry.answer is None else attrs.evolve(entry.answer, body=None)
    return pack_entry(kept[0], attrs.evolve(entry, body=None), entry.state, entry.last_sent, answer)


def _copy_bytes(content: bytes | None) -> bytes | None:
    # Builders of bytes reserve more than they fill, and what they reserved would stay.
    return content and b"".join((content, b""))
