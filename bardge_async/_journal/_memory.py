"""The journal of one process: the rules without a disk."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import deque
from typing import Final

import anyio
import attrs

from bardge_async._clock import Clock
from bardge_async._record import Answer, EntryState, Identity, Record
from bardge_async.errors import KeyInUseError

MOST_FINISHED: Final = 10_000
KEPT_SECONDS: Final = 900.0
_FINISHED: Final = frozenset({EntryState.DONE, EntryState.REFUSED})


@attrs.define(eq=False)
class _Waiter:
    """A task that waits for a key's holder."""

    loop: asyncio.AbstractEventLoop
    event: anyio.Event
    granted: bool = False


class MemoryJournal:
    """Keep records in this process.

    Unfinished entries stay; of finished ones the last 10,000 stay for 15 minutes. The answers of keys that the client
    made itself are not kept, since nobody can know such a key before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[Identity, tuple[int, Record]] = {}
        self._order = itertools.count()
        self._finished: dict[Identity, float] = {}
        self._held: dict[Identity, deque[_Waiter]] = {}

    async def claim(self, identity: Identity, patience: float, clock: Clock) -> Record | None:
        """Take hold of a key, waiting in line for at most ``patience`` seconds; return its record.

        Raises:
            KeyInUseError: Another task did not let go in time.
        """
        with self._lock:
            line = self._held.get(identity)
            if line is None:
                self._held[identity] = deque()
                return self._known(identity)
            waiter = _Waiter(asyncio.get_running_loop(), anyio.Event())
            line.append(waiter)
        await self._wait(identity, waiter, patience, clock)
        with self._lock:
            return self._known(identity)

    async def _wait(self, identity: Identity, waiter: _Waiter, patience: float, clock: Clock) -> None:
        try:
            with anyio.CancelScope() as scope:
                timer = clock.timer(patience, scope.cancel)
                try:
                    await waiter.event.wait()
                    return
                finally:
                    timer.cancel()
        except BaseException:
            self._give_up(identity, waiter)
            raise
        if not self._give_up(identity, waiter):
            return
        error = KeyInUseError(f"another task works on the key {identity.key!r} and did not end in time")
        error.timed_out = True
        raise error

    def _give_up(self, identity: Identity, waiter: _Waiter) -> bool:
        """Leave the line; pass the key on if it was granted meanwhile."""
        with self._lock:
            if not waiter.granted:
                self._held[identity].remove(waiter)
                return True
        self.release(identity)
        return True

    def release(self, identity: Identity) -> None:
        """Let go of a key: the first in line has it next."""
        with self._lock:
            line = self._held[identity]
            while line:
                waiter = line.popleft()
                if waiter.loop.is_closed():
                    continue
                waiter.granted = True
                waiter.loop.call_soon_threadsafe(waiter.event.set)
                return
            del self._held[identity]

    async def put(self, record: Record) -> None:
        """Keep a record."""
        if record.state in _FINISHED and not record.given and record.answer is not None:
            answer = Answer(record.answer.status, None, record.answer.request_id)
            record = attrs.evolve(record, body=None, answer=answer)
        identity = record.identity
        with self._lock:
            known = self._records.get(identity)
            order = next(self._order) if known is None else known[0]
            self._records[identity] = (order, record)
            # Sent or finished again, it takes a later place in the line.
            self._finished.pop(identity, None)
            if record.state in _FINISHED:
                self._finished[identity] = _sent_at(record)
                self._prune(_sent_at(record))

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

    def _known(self, identity: Identity) -> Record | None:
        known = self._records.get(identity)
        return None if known is None else known[1]

    def _prune(self, now: float) -> None:
        while len(self._finished) > MOST_FINISHED or now - next(iter(self._finished.values())) > KEPT_SECONDS:
            identity = next(iter(self._finished))
            del self._finished[identity], self._records[identity]


def _sent_at(record: Record) -> float:
    return record.last_sent.elapsed if record.last_sent is not None else 0.0
