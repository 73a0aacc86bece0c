"""In-process key locks: one holder per key, FIFO, across event loops and threads."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

import anyio
import attrs

from bardge_async._core.entry import KeyIdentity
from bardge_async._core.forks import register_lock_owner
from bardge_async._runtime.clock import Clock, TimeLimit
from bardge_async.errors import KeyInUseError


@attrs.define(eq=False)
class _KeyWaiter:
    """A task queued for a key."""

    loop: asyncio.AbstractEventLoop
    event: anyio.Event
    granted: bool = False


class KeyHolders:
    """Grant each key to one task at a time."""

    def __init__(self) -> None:
        self.reset_after_fork()
        register_lock_owner(self)

    def reset_after_fork(self) -> None:
        """Drop all holders and waiters: in a forked child their tasks do not exist."""
        self._lock = threading.Lock()
        self._queues: dict[KeyIdentity, deque[_KeyWaiter] | None] = {}

    def is_held(self, identity: KeyIdentity) -> bool:
        """Return whether a task holds a key."""
        return identity in self._queues

    def try_acquire(self, identity: KeyIdentity) -> bool:
        """Acquire a key if it is free; return whether it was."""
        with self._lock:
            if identity in self._queues:
                return False
            self._queues[identity] = None
            return True

    async def acquire(self, identity: KeyIdentity, timeout: float, clock: Clock) -> None:
        """Acquire a key, queueing for at most ``timeout`` seconds.

        Raises:
            KeyInUseError: Another task did not release the key in time.
        """
        if self.try_acquire(identity):
            return
        with self._lock:
            # The key may have been released since `try_acquire` failed.
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
        """Leave the queue; pass the key on if it was granted in the meantime."""
        with self._lock:
            queue = self._queues[identity]
            if not waiter.granted and queue is not None:
                queue.remove(waiter)
                return
        self.release(identity)

    def release(self, identity: KeyIdentity) -> None:
        """Release a key to the first task in the queue."""
        with self._lock:
            queue = self._queues.pop(identity)
            while queue:
                waiter = queue.popleft()
                # A waiter whose loop was closed will never run: skip it, or the key would stay held.
                if not waiter.loop.is_closed():
                    self._queues[identity] = queue
                    waiter.granted = True
                    waiter.loop.call_soon_threadsafe(waiter.event.set)
                    return


def key_in_use_error(identity: KeyIdentity) -> KeyInUseError:
    """Build the error for a key whose holder did not release it in time."""
    error = KeyInUseError(
        f"timed out waiting for the key {identity.key!r}, which another task or process is using; try again later"
    )
    error.timed_out = True
    return error
