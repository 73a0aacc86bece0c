"""The in-memory journal of one process."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

import attrs

from bardge_async._core.entry import COMPETING_SECONDS, EntryState, JournalEntry, KeyIdentity, RecordedResponse, WallLog
from bardge_async._core.forks import register_lock_owner
from bardge_async._core.replay import add_fingerprint
from bardge_async._core.window import ClockReading
from bardge_async._journal.key_holders import KeyHolders
from bardge_async._journal.memory_digests import RETENTION_SECONDS, KeyDigests
from bardge_async._runtime.clock import Clock

MAX_KEPT_BYTES: Final = 16 * 1024 * 1024
"""What the requests and answers of finished keys may take, as estimated."""
_ENTRY_BYTES: Final = 700
"""An entry without its bodies and its key."""

_PackedEntry: TypeAlias = tuple[Any, ...]
"""A finished entry: its order, when it was last sent, and its content. The garbage collector untracks a plain tuple of
strings and numbers; it would traverse thousands of entry objects on every full collection."""


_NEVER: Final = (-math.inf, 0)
_MAX_URLS_KEPT: Final = 100
_PRUNING_SECONDS: Final = 1.0


@attrs.define
class _UrlDoubts:
    """The number of an account's unfinished entries for one URL, and the latest removed entry's time and order."""

    count: int = 1
    latest_gone: tuple[float, int] = _NEVER


class MemoryJournal:
    """Keep entries in this process only.

    Unfinished entries are never dropped. That a key was finished is known for 15 minutes, however many follow, in about
    100 bytes each; their requests and answers take up at most 16 MiB, the latest ones, and entering an older key that
    was done raises ``AlreadyDoneError``. Answers under keys that the client generated are not kept, since no later call
    can present such a key.
    """

    instant = True

    def __init__(self) -> None:
        self.walls = WallLog()
        self.forgotten = 0.0
        self._holders = KeyHolders()
        self._unfinished: dict[KeyIdentity, tuple[int, JournalEntry]] = {}
        self._next_order = itertools.count()
        self._finished: OrderedDict[tuple[str, ...], _PackedEntry] = OrderedDict()
        self._kept_bytes = 0
        self._pruned_at = -math.inf
        self._digests = KeyDigests()
        self._doubts_by_url: dict[tuple[str, str], _UrlDoubts] = {}
        self.reset_after_fork()
        register_lock_owner(self)

    def reset_after_fork(self) -> None:
        """Make the lock anew; a forked child keeps its own copy of the entries from here on."""
        self._lock = threading.Lock()

    @property
    def highest(self) -> float:
        """The highest wall time on record, in seconds."""
        return self.walls.highest

    async def record_reading(self, reading: ClockReading) -> None:
        """Record a reading of the clocks, so that a window that it closed stays closed."""
        with self._lock:
            self.walls.add(reading.wall, reading.elapsed, reading.boot)

    def hold_generated(self, identity: KeyIdentity) -> bool:
        """Claim a key that was generated just now, so that nothing can be known of it; return whether it was claimed."""
        return self._holders.try_acquire(identity)

    def hold_if_new(self, identity: KeyIdentity) -> bool:
        """Claim a key that has neither a holder nor an entry; return whether it was claimed."""
        if not self._holders.try_acquire(identity):
            return False
        # Only now: until then another thread may finish the key.
        if (
            identity in self._unfinished
            or identity in self._finished
            or (self._digests.generations and self._is_remembered(identity))
        ):
            self._holders.release(identity)
            return False
        return True

    def _is_remembered(self, identity: KeyIdentity) -> bool:
        with self._lock:
            return self._digests.has_key(identity)

    async def claim(self, identity: KeyIdentity, timeout: float, clock: Clock) -> JournalEntry | None:
        """Claim a key, queueing for at most ``timeout`` seconds; return its entry, if any.

        Raises:
            KeyInUseError: Another task did not release the key in time.
        """
        await self._holders.acquire(identity, timeout, clock)
        with self._lock:
            known = self._find_entry(identity)
            if known is None and self._digests.has_key(identity):
                return _make_bare_entry(identity)
        return None if known is None else known[1]

    def release(self, identity: KeyIdentity) -> None:
        """Release a key to the first task in the queue."""
        self._holders.release(identity)

    async def put(self, entry: JournalEntry) -> None:
        """Store an entry."""
        if entry.state is EntryState.DONE or entry.state is EntryState.REFUSED:
            if entry.last_sent is not None:
                await self.record_reading(entry.last_sent)
            self.put_finished(entry, entry.state, entry.last_sent, entry.answer)
        else:
            self.put_unfinished(entry)

    # A fork may copy the journal between any two statements: at no moment is an entry in neither of the two tables.

    def put_unfinished(self, entry: JournalEntry) -> None:
        """Store the entry of a request that was sent or is about to be."""
        identity, sent = entry.identity, entry.last_sent
        with self._lock:
            known, finished = self._unfinished.get(identity), self._finished.get(identity)
            if known is None:
                self._count_doubt(entry)
                known = finished
            self._unfinished[identity] = (next(self._next_order) if known is None else known[0], entry)
            if finished is not None:
                self._drop_finished(identity, finished)
            if sent is not None:
                self.walls.add(sent.wall, sent.elapsed, sent.boot)

    def put_finished(
        self, entry: JournalEntry, state: EntryState, last_sent: ClockReading | None, response: RecordedResponse | None
    ) -> None:
        """Store the entry of a request that is done or refused; it becomes the last in the order of pruning."""
        identity = entry.identity
        with self._lock:
            unfinished, replaced = self._unfinished.get(identity), self._finished.get(identity)
            known = unfinished or replaced
            order = next(self._next_order) if known is None else known[0]
            kept = _pack_entry(order, entry, state, last_sent, response)
            self._kept_bytes += kept[_SIZE_INDEX]
            self._finished[tuple(identity)] = kept
            if replaced is not None:
                self._kept_bytes -= replaced[_SIZE_INDEX]
                self._finished.move_to_end(identity)
            if unfinished is not None:
                self._drop_unfinished(unfinished[1])
            # The intent's own reading has been added with it.
            if last_sent is not None and last_sent is not entry.last_sent:
                self.walls.add(last_sent.wall, last_sent.elapsed, last_sent.boot)
            # Not 15 minutes to the second: looking at the oldest entry takes as long as storing this one.
            if self._kept_bytes > MAX_KEPT_BYTES or not 0.0 <= kept[1] - self._pruned_at < _PRUNING_SECONDS:
                self._prune_finished(kept[1])

    def _count_doubt(self, entry: JournalEntry) -> None:
        place = (entry.identity.account, entry.url)
        doubts = self._doubts_by_url.get(place)
        if doubts is None:
            self._doubts_by_url[place] = _UrlDoubts()
            return
        if not doubts.count:
            doubts.latest_gone = _NEVER
        doubts.count += 1

    def _drop_unfinished(self, entry: JournalEntry) -> None:
        identity = entry.identity
        del self._unfinished[identity]
        place = (identity.account, entry.url)
        doubts = self._doubts_by_url[place]
        doubts.count -= 1
        # Mostly the next request has the same URL, so a few without doubts stay.
        if not doubts.count and len(self._doubts_by_url) > _MAX_URLS_KEPT:
            del self._doubts_by_url[place]

    def _drop_finished(self, identity: KeyIdentity, kept: _PackedEntry) -> None:
        del self._finished[identity]
        self._kept_bytes -= kept[_SIZE_INDEX]

    async def remove(self, identity: KeyIdentity) -> None:
        """Remove an entry whose request never reached the server."""
        with self._lock:
            if identity in self._unfinished:
                self._drop_unfinished(self._unfinished[identity][1])
            if identity in self._finished:
                self._drop_finished(identity, self._finished[identity])

    async def overtaken(self, entry: JournalEntry) -> bool:
        """Return whether a POST to the same endpoint and path was sent after this entry's, under another key."""
        with self._lock:
            known = self._find_entry(entry.identity)
            if known is None:
                return False
            mine = (_last_sent_elapsed(known[1]), known[0])
            doubts = self._doubts_by_url.get((entry.identity.account, entry.url))
            if doubts is not None and doubts.latest_gone > mine:
                return True
            return any(
                (_last_sent_elapsed(other), order) > mine
                and other.url == entry.url
                and other.identity[:2] == entry.identity[:2]
                for order, other in self._iterate_entries()
            )

    async def unfinished(self, base_url: str, account: str) -> list[JournalEntry]:
        """Return the entries that were sent and have no outcome, oldest first, except those whose key is held."""
        with self._lock:
            found = [kept for kept in self._unfinished.values() if kept[1].state is EntryState.SENT]
        mine = [kept for kept in found if kept[1].identity[:2] == (base_url, account)]
        return [
            add_fingerprint(entry)
            for _, entry in sorted(mine, key=_sort_key)
            if not self._holders.is_held(entry.identity)
        ]

    async def since(self, entry: JournalEntry) -> list[JournalEntry]:
        """Return the endpoint's other entries last sent at most ten minutes before this one was first sent, or later."""
        earliest = entry.first_sent.wall - COMPETING_SECONDS if entry.first_sent is not None else 0.0
        with self._lock:
            return [
                other
                for _, other in self._iterate_entries()
                if other.identity[:2] == entry.identity[:2]
                and other.identity != entry.identity
                and other.endpoint == entry.endpoint
                and other.state is not EntryState.REFUSED
                and other.last_sent is not None
                and other.last_sent.wall >= earliest
            ]

    def _find_entry(self, identity: KeyIdentity) -> tuple[int, JournalEntry] | None:
        kept, unfinished = self._finished.get(identity), self._unfinished.get(identity)
        if kept is None or (unfinished is not None and kept[_STATE_INDEX] != EntryState.DONE):
            return None if unfinished is None else (unfinished[0], add_fingerprint(unfinished[1]))
        return kept[0], _unpack_entry(identity, kept)

    def _iterate_entries(self) -> Iterator[tuple[int, JournalEntry]]:
        for order, entry in self._unfinished.values():
            yield order, add_fingerprint(entry)
        for identity, kept in self._finished.items():
            yield kept[0], _unpack_entry(KeyIdentity(*identity), kept)

    def _prune_finished(self, now: float) -> None:
        # Ordered by when the entries finished, so the first is the oldest.
        finished = self._finished
        self._pruned_at = now
        if self._digests.generations:
            self._digests.drop_expired(now)
        while finished:
            identity = next(iter(finished))
            oldest = finished[identity]
            is_expired = now - oldest[1] > RETENTION_SECONDS
            if not is_expired and self._kept_bytes <= MAX_KEPT_BYTES:
                break
            if not is_expired and oldest[_STATE_INDEX] == EntryState.DONE:
                self._digests.add_key(identity, oldest[1], generated=not oldest[_GIVEN_INDEX])
            self._kept_bytes -= oldest[_SIZE_INDEX]
            del finished[identity]
            self._note_forgotten(identity, oldest)

    def _note_forgotten(self, identity: tuple[str, ...], gone: _PackedEntry) -> None:
        """Note what a removed entry would still tell about the others."""
        if gone[_LAST_WALL_INDEX] is not None:
            self.forgotten = max(self.forgotten, gone[_LAST_WALL_INDEX])
        doubts = self._doubts_by_url.get((identity[1], gone[_URL_INDEX]))
        if doubts is not None:
            doubts.latest_gone = max(doubts.latest_gone, (gone[1], gone[0]))


_URL_INDEX: Final = 3
_GIVEN_INDEX: Final = 6
_STATE_INDEX: Final = 7
_LAST_WALL_INDEX: Final = 8
_SIZE_INDEX: Final = -1
_NO_READING: Final[Any] = ClockReading(*(None,) * 4)  # type: ignore[arg-type]  # what is not known is packed as None
_NO_RESPONSE: Final[Any] = RecordedResponse(*(None,) * 3)  # type: ignore[arg-type]
_FINGERPRINT_BYTES: Final = 256
"""A body of up to this size is kept instead of its fingerprint, which takes longer to compute than the rest."""


def _pack_entry(
    order: int,
    entry: JournalEntry,
    state: EntryState,
    last_sent: ClockReading | None,
    response: RecordedResponse | None,
) -> _PackedEntry:
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


def _unpack_entry(identity: KeyIdentity, kept: _PackedEntry) -> JournalEntry:
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


def _sort_key(kept: tuple[int, JournalEntry]) -> int:
    return kept[0]


def _last_sent_elapsed(entry: JournalEntry) -> float:
    return entry.last_sent.elapsed if entry.last_sent is not None else 0.0


def _make_bare_entry(identity: KeyIdentity) -> JournalEntry:
    """Make the entry of a key of which only the digest was kept: it is done, and nothing else is known."""
    unknown = ClockReading(0.0, 0.0, 0.0)
    return JournalEntry(identity, "", "", "", None, True, EntryState.DONE, unknown, unknown)


def _copy_bytes(content: bytes | None) -> bytes | None:
    # Builders of bytes reserve more than they fill, and what they reserved would stay.
    return content and b"".join((content, b""))
