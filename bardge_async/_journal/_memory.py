"""The journal of one process: the rules without a disk."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from typing import Final

from bardge_async._clock import Clock
from bardge_async._journal._lines import Lines
from bardge_async._record import EntryState, Identity, Record

MOST_FINISHED: Final = 10_000
KEPT_SECONDS: Final = 900.0
RIVAL_SECONDS: Final = 600.0


class MemoryJournal:
    """Keep records in this process.

    Unfinished entries stay; of finished ones the last 10,000 stay for 15 minutes. The bodies of keys that the client
    made itself are not kept, since nobody can know such a key before.
    """

    instant = True
    brief = True

    def __init__(self) -> None:
        self.highest = 0.0
        self.forgotten = 0.0
        self._lock = threading.Lock()
        self._lines = Lines()
        self._records: dict[Identity, tuple[int, Record]] = {}
        self._order = itertools.count()
        self._finished: OrderedDict[Identity, float] = OrderedDict()

    async def claim(self, identity: Identity, patience: float, clock: Clock) -> Record | None:
        """Take hold of a key, waiting in line for at most ``patience`` seconds; return its record.

        Raises:
            KeyInUseError: Another task did not let go in time.
        """
        await self._lines.take(identity, patience, clock)
        known = self._records.get(identity)
        return None if known is None else known[1]

    def release(self, identity: Identity) -> None:
        """Let go of a key: the first in line has it next."""
        self._lines.release(identity)

    async def put(self, record: Record) -> None:
        """Keep a record."""
        finished = _finished(record)
        if finished and not record.given and record.answer is not None:
            record = record.brief()
        identity, sent = record.identity, record.last_sent
        with self._lock:
            known = self._records.get(identity)
            order = next(self._order) if known is None else known[0]
            self._records[identity] = (order, record)
            if sent is not None and sent.wall > self.highest:
                self.highest = sent.wall
            if known is not None and _finished(known[1]):
                # Sent or finished again, it takes a later place in the line.
                del self._finished[identity]
            if finished:
                self._finished[identity] = now = _sent_at(record)
                self._prune(now)

    async def remove(self, identity: Identity) -> None:
        """Forget a record that never reached the server."""
        with self._lock:
            self._records.pop(identity, None)
            self._finished.pop(identity, None)

    async def overtaken(self, record: Record) -> bool:
        """Tell whether a POST to the same row and path was sent later than the record's, under another key."""
        with self._lock:
            known = self._records.get(record.identity)
            if known is None:
                return False
            mine = (_sent_at(known[1]), known[0])
            return any(
                (_sent_at(other), order) > mine
                and other.url == record.url
                and other.identity[:2] == record.identity[:2]
                for order, other in self._records.values()
            )

    async def unfinished(self, base_url: str, account: str) -> list[Record]:
        """Return the records that were sent and have no outcome, oldest first, without those under work."""
        with self._lock:
            found = [kept for kept in self._records.values() if kept[1].state is EntryState.SENT]
        mine = [kept for kept in found if kept[1].identity[:2] == (base_url, account)]
        return [record for _, record in sorted(mine, key=_order) if not self._lines.held(record.identity)]

    async def since(self, record: Record) -> list[Record]:
        """Return the other records of the same row that were sent at most ten minutes before a record's or later."""
        earliest = record.first_sent.wall - RIVAL_SECONDS if record.first_sent is not None else 0.0
        with self._lock:
            return [
                other
                for _, other in self._records.values()
                if other.identity[:2] == record.identity[:2]
                and other.identity != record.identity
                and other.endpoint == record.endpoint
                and other.state is not EntryState.REFUSED
                and other.last_sent is not None
                and other.last_sent.wall >= earliest
            ]

    def _prune(self, now: float) -> None:
        while len(self._finished) > MOST_FINISHED or now - next(iter(self._finished.values())) > KEPT_SECONDS:
            identity, _ = self._finished.popitem(last=False)
            _, gone = self._records.pop(identity)
            if gone.last_sent is not None:
                self.forgotten = max(self.forgotten, gone.last_sent.wall)


def _finished(record: Record) -> bool:
    return record.state is EntryState.DONE or record.state is EntryState.REFUSED


def _order(kept: tuple[int, Record]) -> int:
    return kept[0]


def _sent_at(record: Record) -> float:
    return record.last_sent.elapsed if record.last_sent is not None else 0.0
