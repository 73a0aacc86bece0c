"""The in-memory journal of one process."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from bardge_async._core.entry import COMPETING_SECONDS, EntryState, JournalEntry, KeyIdentity, RecordedResponse
from bardge_async._core.window import ClockReading, WallLog
from bardge_async._journal.key_holders import KeyHolders
from bardge_async._runtime.clock import Clock

MAX_FINISHED: Final = 10_000
RETENTION_SECONDS: Final = 900.0

_PackedEntry: TypeAlias = tuple[Any, ...]
"""A finished entry: its order, when it was last sent, and its content. The garbage collector untracks a plain tuple of
strings and numbers; it would traverse 10,000 entry objects on every full collection."""


class MemoryJournal:
    """Keep entries in this process only.

    Unfinished entries are never dropped; the last 10,000 finished ones are kept for 15 minutes. Bodies under keys that
    the client generated are not kept, since no later call can present such a key.
    """

    instant = True

    def __init__(self) -> None:
        self.walls = WallLog()
        self.forgotten = 0.0
        self._lock = threading.Lock()
        self._holders = KeyHolders()
        self._unfinished: dict[KeyIdentity, tuple[int, JournalEntry]] = {}
        self._next_order = itertools.count()
        self._finished: OrderedDict[tuple[str, ...], _PackedEntry] = OrderedDict()

    @property
    def highest(self) -> float:
        """The highest wall time on record, in seconds."""
        return self.walls.highest

    async def record_reading(self, reading: ClockReading) -> None:
        """Record a reading of the clocks, so that a window that it closed stays closed."""
        with self._lock:
            self.walls.add(reading.wall, reading.elapsed, reading.boot)

    def hold_if_new(self, identity: KeyIdentity) -> bool:
        """Claim a key that has neither a holder nor an entry; return whether it was claimed."""
        known = identity in self._unfinished or identity in self._finished
        return not known and self._holders.try_acquire(identity)

    async def claim(self, identity: KeyIdentity, timeout: float, clock: Clock) -> JournalEntry | None:
        """Claim a key, queueing for at most ``timeout`` seconds; return its entry, if any.

        Raises:
            KeyInUseError: Another task did not release the key in time.
        """
        await self._holders.acquire(identity, timeout, clock)
        with self._lock:
            known = self._find_entry(identity)
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

    def put_unfinished(self, entry: JournalEntry) -> None:
        """Store the entry of a request that was sent or is about to be."""
        identity, sent = entry.identity, entry.last_sent
        with self._lock:
            self._unfinished[identity] = (self._take_out(identity), entry)
            if sent is not None:
                self.walls.add(sent.wall, sent.elapsed, sent.boot)

    def put_finished(
        self, entry: JournalEntry, state: EntryState, last_sent: ClockReading | None, response: RecordedResponse | None
    ) -> None:
        """Store the entry of a request that is done or refused; it becomes the last in the order of pruning."""
        identity = entry.identity
        with self._lock:
            self._finished[tuple(identity)] = kept = _pack_entry(
                self._take_out(identity), entry, state, last_sent, response
            )
            # The intent's own reading has been added with it.
            if last_sent is not None and last_sent is not entry.last_sent:
                self.walls.add(last_sent.wall, last_sent.elapsed, last_sent.boot)
            self._prune_finished(kept[1])

    def _take_out(self, identity: KeyIdentity) -> int:
        """Remove an entry and return its position in the order of first sends; the next position if there is none."""
        known = self._unfinished.pop(identity, None) or self._finished.pop(identity, None)
        return next(self._next_order) if known is None else known[0]

    async def remove(self, identity: KeyIdentity) -> None:
        """Remove an entry whose request never reached the server."""
        with self._lock:
            self._unfinished.pop(identity, None)
            self._finished.pop(identity, None)

    async def overtaken(self, entry: JournalEntry) -> bool:
        """Return whether a POST to the same endpoint and path was sent after this entry's, under another key."""
        with self._lock:
            known = self._find_entry(entry.identity)
            if known is None:
                return False
            mine = (_last_sent_elapsed(known[1]), known[0])
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
        return [entry for _, entry in sorted(mine, key=_sort_key) if not self._holders.is_held(entry.identity)]

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
        kept = self._finished.get(identity)
        return self._unfinished.get(identity) if kept is None else (kept[0], _unpack_entry(identity, kept))

    def _iterate_entries(self) -> Iterator[tuple[int, JournalEntry]]:
        yield from self._unfinished.values()
        for identity, kept in self._finished.items():
            yield kept[0], _unpack_entry(KeyIdentity(*identity), kept)

    def _prune_finished(self, now: float) -> None:
        # Ordered by when the entries finished, so the first is the oldest.
        finished = self._finished
        while len(finished) > MAX_FINISHED or now - next(iter(finished.values()))[1] > RETENTION_SECONDS:
            _, gone = finished.popitem(last=False)
            if gone[_LAST_WALL_INDEX] is not None:
                self.forgotten = max(self.forgotten, gone[_LAST_WALL_INDEX])


_LAST_WALL_INDEX: Final = 8
_NO_READING: Final = (None,) * 4


def _pack_entry(
    order: int,
    entry: JournalEntry,
    state: EntryState,
    last_sent: ClockReading | None,
    response: RecordedResponse | None,
) -> _PackedEntry:
    omit_bodies = not entry.keeps_bodies and response is not None
    first_sent = entry.first_sent
    return (
        order,
        0.0 if last_sent is None else last_sent.elapsed,
        entry.endpoint,
        entry.url,
        entry.fingerprint,
        None if omit_bodies else entry.body,
        entry.given,
        state.value,
        *(_NO_READING if last_sent is None else (last_sent.wall, last_sent.elapsed, last_sent.highest, last_sent.boot)),
        *(
            _NO_READING
            if first_sent is None
            else (first_sent.wall, first_sent.elapsed, first_sent.highest, first_sent.boot)
        ),
        *(
            (None,) * 3
            if response is None
            else (response.status, None if omit_bodies else response.body, response.request_id)
        ),
    )


def _unpack_entry(identity: KeyIdentity, kept: _PackedEntry) -> JournalEntry:
    _, _, endpoint, url, fingerprint, body, given, state, *rest = kept
    last_sent = None if rest[0] is None else ClockReading(*rest[:4])
    first_sent = None if rest[4] is None else ClockReading(*rest[4:8])
    response = None if rest[8] is None else RecordedResponse(*rest[8:])
    return JournalEntry(
        identity, endpoint, url, fingerprint, body, given, EntryState(state), first_sent, last_sent, response
    )


def _sort_key(kept: tuple[int, JournalEntry]) -> int:
    return kept[0]


def _last_sent_elapsed(entry: JournalEntry) -> float:
    return entry.last_sent.elapsed if entry.last_sent is not None else 0.0
