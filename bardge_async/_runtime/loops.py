"""State per event loop, so that one client works in several loops, threads and forked processes."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_INSTANCES: weakref.WeakSet[PerLoop[Any]] = weakref.WeakSet()
_PARENT_STATES: list[object] = []


class PerLoop(Generic[T]):
    """Hold one ``T`` per event loop, created on first use; a forked child starts empty."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._by_loop: dict[asyncio.AbstractEventLoop, T] = {}
        _INSTANCES.add(self)

    def get(self) -> T:
        """Return the running loop's value, creating it if there is none."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        return self._add_loop(loop) if found is None else found

    def items(self) -> list[tuple[asyncio.AbstractEventLoop, T]]:
        """Return all values with their loops."""
        with self._lock:
            return list(self._by_loop.items())

    def discard(self, loop: asyncio.AbstractEventLoop) -> None:
        """Remove a loop's value."""
        with self._lock:
            self._by_loop.pop(loop, None)

    def _add_loop(self, loop: asyncio.AbstractEventLoop) -> T:
        with self._lock:
            for other in [known for known in self._by_loop if known.is_closed()]:
                del self._by_loop[other]
            return self._by_loop.setdefault(loop, self._make())

    def _forget_parent(self) -> None:
        # Keep the values alive: collecting them here could shut down connections that the parent still uses.
        _PARENT_STATES.append(self._by_loop)
        self._by_loop = {}
        self._lock = threading.Lock()


async def run_in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run a coroutine in this or another thread's loop and wait for it; from another loop, errors are ignored."""
    if loop is asyncio.get_running_loop():
        await work()
        return
    coroutine = work()
    try:
        done = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
    except RuntimeError:
        # The loop has just been closed, and its state with it.
        coroutine.close()
        return
    try:
        await asyncio.wait({done})
    finally:
        # Retrieve the exception, or asyncio would log it as never retrieved.
        if not done.cancel() and not done.cancelled():
            done.exception()


def _forget_parents() -> None:
    for one in list(_INSTANCES):
        one._forget_parent()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
