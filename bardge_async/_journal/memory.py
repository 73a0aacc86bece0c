"""The journal of one process: the rules without a disk."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Final, TypeAlias

from bardge_async._core.entry import Answer, EntryState, Identity, Record
from bardge_async._core.window import Moment
from bardge_async._journal.key_holders import Lines
from bardge_async._runtime.clock import Clock

MOST_FINISHED: Final = 10_000
KEPT_SECONDS: Final = 900.0
RIVAL_SECONDS: Final = 600.0

_Packed: TypeAlias = tuple[Any, ...]
"""A finished record: its order, when it was last sent, and its content. A plain tuple of texts and numbers is nothing
that the garbage collector looks through again and again, as it would through 10,000 records."""


class MemoryJournal:
    """Keep records in this process.

    Unfinished entries stay; of finished ones the last 10,000 stay for 15 minutes. The bodies of keys that the client
    made itself are not kept, since nobody can know such a key before.
    """

    instant = True

    def __init__(self) -> None:
        self.highest = 0.0
        self.forgotten = 0.0
        self._lock = threading.Lock()
        self._lines = Lines()
        self._open: dict[Identity, tuple[int, Record]] = {}
        self._order = itertools.count()
        self._finished: OrderedDict[tuple[str, ...], _Packed] = OrderedDict()

    def hold_new(self, identity: Identity) -> bool:
        """Take hold of a key that nobody holds and that is not on record; False, and nothing done, for any other."""
        known = identity in self._open or identity in self._finished
        return not known and self._lines.hold(identity)

    async def claim(self, identity: Identity, patience: float, clock: Clock) -> Record | None:
        """Take hold of a key, waiting in line for at most ``patience`` seconds; return its record.

        Raises:
            KeyInUseError: Another task did not let go in time.
        """
        await self._lines.take(identity, patience, clock)
        with self._lock:
            known = self._known(identity)
        return None if known is None else known[1]

    def release(self, identity: Identity) -> None:
        """Let go of a key: the first in line has it next."""
        self._lines.release(identity)

    async def put(self, record: Record) -> None:
        """Keep a record."""
        if record.state is EntryState.DONE or record.state is EntryState.REFUSED:
            self.end(record, record.state, record.last_sent, record.answer)
        else:
            self.begin(record)

    def begin(self, record: Record) -> None:
        """Keep the record of what is sent, or about to be."""
        identity, sent = record.identity, record.last_sent
        with self._lock:
            self._open[identity] = (self._place(identity), record)
            if sent is not None and sent.wall > self.highest:
                self.highest = sent.wall

    def end(self, record: Record, state: EntryState, last_sent: Moment | None, answer: Answer | None) -> None:
        """Keep the record of what is done or refused: it takes the last place in the line of those to be forgotten."""
        identity = record.identity
        with self._lock:
            self._finished[tuple(identity)] = kept = _packed(self._place(identity), record, state, last_sent, answer)
            if last_sent is not None and last_sent.wall > self.highest:
                self.highest = last_sent.wall
            self._prune(kept[1])

    def _place(self, identity: Identity) -> int:
        """Take a record out, and return its place in the order of the first sends; a new one where there is none."""
        known = self._open.pop(identity, None) or self._finished.pop(identity, None)
        return next(self._order) if known is None else known[0]

    async def remove(self, identity: Identity) -> None:
        """Forget a record that never reached the server."""
        with self._lock:
            self._open.pop(identity, None)
            self._finished.pop(identity, None)

    async def overtaken(self, record: Record) -> bool:
        """Tell whether a POST to the same row and path was sent later than the record's, under another key."""
        with self._lock:
            known = self._known(record.identity)
            if known is None:
                return False
            mine = (_sent_at(known[1]), known[0])
            return any(
                (_sent_at(other), order) > mine
                and other.url == record.url
                and other.identity[:2] == record.identity[:2]
                for order, other in self._all()
            )

    async def unfinished(self, base_url: str, account: str) -> list[Record]:
        """Return the records that were sent and have no outcome, oldest first, without those under work."""
        with self._lock:
            found = [kept for kept in self._open.values() if kept[1].state is EntryState.SENT]
        mine = [kept for kept in found if kept[1].identity[:2] == (base_url, account)]
        return [record for _, record in sorted(mine, key=_order) if not self._lines.held(record.identity)]

    async def since(self, record: Record) -> list[Record]:
        """Return the other records of the same row that were sent at most ten minutes before a record's or later."""
        earliest = record.first_sent.wall - RIVAL_SECONDS if record.first_sent is not None else 0.0
        with self._lock:
            return [
                other
                for _, other in self._all()
                if other.identity[:2] == record.identity[:2]
                and other.identity != record.identity
                and other.endpoint == record.endpoint
                and other.state is not EntryState.REFUSED
                and other.last_sent is not None
                and other.last_sent.wall >= earliest
            ]

    def _known(self, identity: Identity) -> tuple[int, Record] | None:
        kept = self._finished.get(identity)
        return self._open.get(identity) if kept is None else (kept[0], _unpacked(identity, kept))

    def _all(self) -> Iterator[tuple[int, Record]]:
        yield from self._open.values()
        for identity, kept in self._finished.items():
            yield kept[0], _unpacked(Identity(*identity), kept)

    def _prune(self, now: float) -> None:
        finished = self._finished
        while len(finished) > MOST_FINISHED or now - next(iter(finished.values()))[1] > KEPT_SECONDS:
            _, gone = finished.popitem(last=False)
            if gone[_LAST_WALL] is not None:
                self.forgotten = max(self.forgotten, gone[_LAST_WALL])


_LAST_WALL: Final = 8
_NEVER: Final = (None,) * 4


def _packed(order: int, record: Record, state: EntryState, last_sent: Moment | None, answer: Answer | None) -> _Packed:
    brief = not record.given and answer is not None
    first = record.first_sent
    return (
        order,
        0.0 if last_sent is None else last_sent.elapsed,
        record.endpoint,
        record.url,
        record.fingerprint,
        None if brief else record.body,
        record.given,
        state.value,
        *(_NEVER if last_sent is None else (last_sent.wall, last_sent.elapsed, last_sent.highest, last_sent.boot)),
        *(_NEVER if first is None else (first.wall, first.elapsed, first.highest, first.boot)),
        *((None,) * 3 if answer is None else (answer.status, None if brief else answer.body, answer.request_id)),
    )


def _unpacked(identity: Identity, kept: _Packed) -> Record:
    _, _, endpoint, url, fingerprint, body, given, state, *rest = kept
    last_sent = None if rest[0] is None else Moment(*rest[:4])
    first_sent = None if rest[4] is None else Moment(*rest[4:8])
    answer = None if rest[8] is None else Answer(*rest[8:])
    return Record(identity, endpoint, url, fingerprint, body, given, EntryState(state), first_sent, last_sent, answer)


def _order(kept: tuple[int, Record]) -> int:
    return kept[0]


def _sent_at(record: Record) -> float:
    return record.last_sent.elapsed if record.last_sent is not None else 0.0
