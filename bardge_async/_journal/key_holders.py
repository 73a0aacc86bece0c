"""Who works on a key within this process: one holder at a time, first come, first served, across loops and threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

import anyio
import attrs

from bardge_async._core.entry import Identity
from bardge_async._runtime.clock import Clock, TimeLimit
from bardge_async.errors import KeyInUseError


@attrs.define(eq=False)
class _Waiter:
    """A task that waits for a key's holder."""

    loop: asyncio.AbstractEventLoop
    event: anyio.Event
    granted: bool = False


class Lines:
    """Let one task at a time hold a key."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Let nobody hold anything, as it is in the child of a fork."""
        self._lock = threading.Lock()
        self._held: dict[Identity, deque[_Waiter] | None] = {}

    def held(self, identity: Identity) -> bool:
        """Tell whether a task holds a key."""
        return identity in self._held

    def hold(self, identity: Identity) -> bool:
        """Take hold of a key that nobody holds; False where somebody does."""
        with self._lock:
            if identity in self._held:
                return False
            self._held[identity] = None
            return True

    async def take(self, identity: Identity, patience: float, clock: Clock) -> None:
        """Take hold of a key, waiting in line for at most ``patience`` seconds.

        Raises:
            KeyInUseError: Another task did not let go in time.
        """
        if self.hold(identity):
            return
        with self._lock:
            if identity not in self._held:
                self._held[identity] = None
                return
            if patience <= 0:
                raise in_use(identity)
            line = self._held[identity]
            if line is None:
                line = self._held[identity] = deque()
            waiter = _Waiter(asyncio.get_running_loop(), anyio.Event())
            line.append(waiter)
        await self._wait(identity, waiter, patience, clock)

    async def _wait(self, identity: Identity, waiter: _Waiter, patience: float, clock: Clock) -> None:
        try:
            with TimeLimit(clock, patience):
                await waiter.event.wait()
                return
        except BaseException:
            self._give_up(identity, waiter)
            raise
        self._give_up(identity, waiter)
        raise in_use(identity)

    def _give_up(self, identity: Identity, waiter: _Waiter) -> None:
        """Leave the line; pass the key on if it was granted meanwhile."""
        with self._lock:
            line = self._held[identity]
            if not waiter.granted and line is not None:
                line.remove(waiter)
                return
        self.release(identity)

    def release(self, identity: Identity) -> None:
        """Let go of a key: the first in line has it next."""
        with self._lock:
            line = self._held.pop(identity)
            while line:
                waiter = line.popleft()
                if not waiter.loop.is_closed():
                    self._held[identity] = line
                    waiter.granted = True
                    waiter.loop.call_soon_threadsafe(waiter.event.set)
                    return


def in_use(identity: Identity) -> KeyInUseError:
    """Make the error for a key whose holder did not let go in time."""
    error = KeyInUseError(f"another task or process works on the key {identity.key!r} and did not end in time")
    error.timed_out = True
    return error
