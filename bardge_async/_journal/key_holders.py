"""Who works on a key within this process: one holder at a time, first come, first served, across loops and threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

import anyio
import attrs

from bardge_async._core.entry import KeyIdentity
from bardge_async._runtime.clock import Clock, TimeLimit
from bardge_async.errors import KeyInUseError


@attrs.define(eq=False)
class _KeyWaiter:
    """A task that waits for a key's holder."""

    loop: asyncio.AbstractEventLoop
    event: anyio.Event
    granted: bool = False


class KeyHolders:
    """Let one task at a time hold a key."""

    def __init__(self) -> None:
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Let nobody hold anything, as it is in the child of a fork."""
        self._lock = threading.Lock()
        self._queues: dict[KeyIdentity, deque[_KeyWaiter] | None] = {}

    def is_held(self, identity: KeyIdentity) -> bool:
        """Tell whether a task holds a key."""
        return identity in self._queues

    def try_acquire(self, identity: KeyIdentity) -> bool:
        """Take hold of a key that nobody holds; False where somebody does."""
        with self._lock:
            if identity in self._queues:
                return False
            self._queues[identity] = None
            return True

    async def acquire(self, identity: KeyIdentity, timeout: float, clock: Clock) -> None:
        """Take hold of a key, waiting in line for at most ``patience`` seconds.

        Raises:
            KeyInUseError: Another task did not let go in time.
        """
        if self.try_acquire(identity):
            return
        with self._lock:
            if identity not in self._queues:
                self._queues[identity] = None
                return
            if timeout <= 0:
                raise key_in_use_error(identity)
            queue = self._queues[identity]
            if queue is None:
                queue = self._queues[identity] = deque()
            waiter = _KeyWaiter(asyncio.get_running_loop(), anyio.Event())
            queue.append(waiter)
        await self._wait_for_grant(identity, waiter, timeout, clock)

    async def _wait_for_grant(self, identity: KeyIdentity, waiter: _KeyWaiter, timeout: float, clock: Clock) -> None:
        try:
            with TimeLimit(clock, timeout):
                await waiter.event.wait()
                return
        except BaseException:
            self._leave_queue(identity, waiter)
            raise
        self._leave_queue(identity, waiter)
        raise key_in_use_error(identity)

    def _leave_queue(self, identity: KeyIdentity, waiter: _KeyWaiter) -> None:
        """Leave the line; pass the key on if it was granted meanwhile."""
        with self._lock:
            queue = self._queues[identity]
            if not waiter.granted and queue is not None:
                queue.remove(waiter)
                return
        self.release(identity)

    def release(self, identity: KeyIdentity) -> None:
        """Let go of a key: the first in line has it next."""
        with self._lock:
            queue = self._queues.pop(identity)
            while queue:
                waiter = queue.popleft()
                if not waiter.loop.is_closed():
                    self._queues[identity] = queue
                    waiter.granted = True
                    waiter.loop.call_soon_threadsafe(waiter.event.set)
                    return


def key_in_use_error(identity: KeyIdentity) -> KeyInUseError:
    """Make the error for a key whose holder did not let go in time."""
    error = KeyInUseError(f"another task or process works on the key {identity.key!r} and did not end in time")
    error.timed_out = True
    return error
