"""The in-memory journal of one process."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator
from operator import itemgetter
from typing import Final

import attrs

from bardge_async._core.arguments import check_bool, check_text
from bardge_async._core.entry import COMPETING_SECONDS, EntryState, JournalEntry, KeyIdentity, RecordedResponse, WallLog
from bardge_async._core.erasure import ClientMatcher
from bardge_async._core.fingerprint import add_fingerprint
from bardge_async._core.forks import register_lock_owner
from bardge_async._core.window import ClockReading
from bardge_async._journal.key_holders import KeyHolders
from bardge_async._journal.memory_digests import RETENTION_SECONDS, KeyDigests, make_bare_entry
from bardge_async._journal.memory_packing import (
    GIVEN_INDEX,
    LAST_WALL_INDEX,
    SIZE_INDEX,
    STATE_INDEX,
    URL_INDEX,
    PackedEntry,
    drop_bodies,
    pack_entry,
    unpack_entry,
)
from bardge_async._journal.pages import take_turns
from bardge_async._runtime.clock import Clock

MAX_KEPT_BYTES: Final = 16 * 1024 * 1024
"""What the requests and answers of finished keys may take, as estimated."""

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
        self._finished: OrderedDict[tuple[str, ...], PackedEntry] = OrderedDict()
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
                return make_bare_entry(identity)
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
            kept = pack_entry(order, entry, state, last_sent, response)
            self._kept_bytes += kept[SIZE_INDEX]
            self._finished[tuple(identity)] = kept
            if replaced is not None:
                self._kept_bytes -= replaced[SIZE_INDEX]
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

    def _drop_finished(self, identity: KeyIdentity, kept: PackedEntry) -> None:
        del self._finished[identity]
        self._kept_bytes -= kept[SIZE_INDEX]

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
        free = [entry for _, entry in sorted(mine, key=itemgetter(0)) if not self._holders.is_held(entry.identity)]
        return [add_fingerprint(entry) for entry in free]

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

    async def entries(self, *, unfinished: bool = False) -> AsyncGenerator[JournalEntry]:
        """Iterate over the entries that are there now, oldest first; with ``unfinished``, over those in doubt."""
        check_bool("unfinished", unfinished)
        with self._lock:
            orders = {identity: known[0] for identity, known in self._unfinished.items()}
            if not unfinished:
                orders.update((KeyIdentity(*identity), kept[0]) for identity, kept in self._finished.items())
        async for identity in take_turns(sorted(orders, key=orders.__getitem__)):
            with self._lock:
                known = self._find_entry(identity)
            if known is not None and (known[1].state is EntryState.SENT or not unfinished):
                yield known[1]

    async def listed(self, *, unfinished: bool = False) -> list[JournalEntry]:
        """Return what ``entries`` yields, in a list."""
        return [entry async for entry in self.entries(unfinished=unfinished)]

    async def erase(self, client_id: str) -> int:
        """Remove the bodies of finished entries that name a client; return the number of entries changed."""
        check_text("client_id", client_id)
        matcher, changed = ClientMatcher(client_id), 0
        with self._lock:
            identities = list(self._finished)
        async for identity in take_turns(identities):
            with self._lock:
                bare = drop_bodies(identity, self._finished.get(identity), matcher)
                if bare is not None:
                    self._kept_bytes += bare[SIZE_INDEX] - self._finished[identity][SIZE_INDEX]
                    self._finished[identity] = bare
                    changed += 1
        return changed

    def _find_entry(self, identity: KeyIdentity) -> tuple[int, JournalEntry] | None:
        kept, unfinished = self._finished.get(identity), self._unfinished.get(identity)
        if kept is None or (unfinished is not None and kept[STATE_INDEX] != EntryState.DONE):
            return None if unfinished is None else (unfinished[0], add_fingerprint(unfinished[1]))
        return kept[0], unpack_entry(identity, kept)

    def _iterate_entries(self) -> Iterator[tuple[int, JournalEntry]]:
        for order, entry in self._unfinished.values():
            yield order, add_fingerprint(entry)
        for identity, kept in self._finished.items():
            yield kept[0], unpack_entry(KeyIdentity(*identity), kept)

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
            if not is_expired and oldest[STATE_INDEX] == EntryState.DONE:
                self._digests.add_key(identity, oldest[1], generated=not oldest[GIVEN_INDEX])
            self._kept_bytes -= oldest[SIZE_INDEX]
            del finished[identity]
            self._note_forgotten(identity, oldest)

    def _note_forgotten(self, identity: tuple[str, ...], gone: PackedEntry) -> None:
        """Note what a removed entry would still tell about the others."""
        if gone[LAST_WALL_INDEX] is not None:
            self.forgotten = max(self.forgotten, gone[LAST_WALL_INDEX])
        doubts = self._doubts_by_url.get((identity[1], gone[URL_INDEX]))
        if doubts is not None:
            doubts.latest_gone = max(doubts.latest_gone, (gone[1], gone[0]))


def _last_sent_elapsed(entry: JournalEntry) -> float:
    return entry.last_sent.elapsed if entry.last_sent is not None else 0.0
