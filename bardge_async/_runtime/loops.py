"""State per event loop: one client works over several loops, threads and forks."""

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
    """Make one ``T`` for each event loop, and begin anew in the child of a fork."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._by_loop: dict[asyncio.AbstractEventLoop, T] = {}
        _INSTANCES.add(self)

    def get(self) -> T:
        """Return the running loop's own."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        return self._add_loop(loop) if found is None else found

    def items(self) -> list[tuple[asyncio.AbstractEventLoop, T]]:
        """Return all that live, with their loops."""
        with self._lock:
            return list(self._by_loop.items())

    def discard(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget a loop's own."""
        with self._lock:
            self._by_loop.pop(loop, None)

    def _add_loop(self, loop: asyncio.AbstractEventLoop) -> T:
        with self._lock:
            for other in [known for known in self._by_loop if known.is_closed()]:
                del self._by_loop[other]
            return self._by_loop.setdefault(loop, self._make())

    def _forget_parent(self) -> None:
        # The parent's sockets must stay open there: kept alive here, never closed.
        _PARENT_STATES.append(self._by_loop)
        self._by_loop = {}
        self._lock = threading.Lock()


async def run_in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Do something in a loop, this one or another thread's, and wait for its end, whatever that is over there."""
    if loop is asyncio.get_running_loop():
        await work()
        return
    coroutine = work()
    try:
        done = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))
    except RuntimeError:
        # It has just ended, and its state with it.
        coroutine.close()
        return
    try:
        await asyncio.wait({done})
    finally:
        if not done.cancel() and not done.cancelled():
            done.exception()


def _forget_parents() -> None:
    for one in list(_INSTANCES):
        one._forget_parent()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents)
