"""State per event loop, so that one client works in several loops, threads and forked processes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

import anyio

from bardge_async._core.forks import register_lock_owner
from bardge_async.errors import ConfigurationError

T = TypeVar("T")

_PARENT_STATES: list[object] = []
_MAX_TIMER_ROUNDS: Final = 3
"""How often due timers get a turn: on a loop that is always late, some timer is due at any time."""


def find_running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        ConfigurationError: The caller runs under another library than asyncio.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "bardge_async needs asyncio (with anyio: backend='asyncio'), and no asyncio event loop is running here"
        ) from None


async def run_due_timers(task: asyncio.Task[Any]) -> None:
    """Let the callbacks and timers of the running loop that are due run, and cancel its task if they do.

    A task that an event has woken runs before the timers that came due meanwhile: on a busy loop it would go on with
    what its caller has already given up.
    """
    loop = task.get_loop()
    # Attributes of asyncio's own loops. Others cannot be asked; libuv runs due timers before the tasks of every turn.
    if getattr(loop, "_ready", True) or getattr(task, "_must_cancel", False):
        await asyncio.sleep(0)
    timers: list[asyncio.TimerHandle] = getattr(loop, "_scheduled", [])
    rounds = 0
    while timers and rounds < _MAX_TIMER_ROUNDS and timers[0].when() <= loop.time():
        # asyncio puts due timers behind the tasks that are ready: this task's next turn comes before them.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rounds += 1


class PerLoop(Generic[T]):
    """Hold one ``T`` per event loop, created on first use; a forked child starts empty.

    ``close`` runs once for each value: when its loop ends, or in ``aclose()``.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Coroutine[Any, Any, object]] | None = None) -> None:
        self._make = make
        self._close = close
        self._lock = threading.Lock()
        self._by_loop: dict[asyncio.AbstractEventLoop, T] = {}
        self._guards: dict[asyncio.AbstractEventLoop, AsyncGenerator[None]] = {}
        register_lock_owner(self)

    def get(self) -> T:
        """Return the running loop's value, creating it if there is none."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = find_running_loop()  # raises the error that says why
        found = self._by_loop.get(loop)
        return self._add_loop(loop) if found is None else found

    def items(self) -> list[tuple[asyncio.AbstractEventLoop, T]]:
        """Return all values with their loops."""
        with self._lock:
            return list(self._by_loop.items())

    async def aclose(self, timeout: float) -> None:
        """Remove and close the values of all running loops, each within ``timeout`` seconds.

        Those of stopped loops close when the loop does.
        """
        for loop in self._list_loops():
            if loop.is_running():
                guard = self._remove_loop(loop)
                if guard is not None:
                    with anyio.move_on_after(timeout):
                        await run_in_loop(loop, guard.aclose)

    def _list_loops(self) -> list[asyncio.AbstractEventLoop]:
        with self._lock:
            return list(self._by_loop)

    def _remove_loop(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None] | None:
        with self._lock:
            self._by_loop.pop(loop, None)
            return self._guards.pop(loop, None)

    def _add_loop(self, loop: asyncio.AbstractEventLoop) -> T:
        with self._lock:
            for other in [known for known in self._by_loop if known.is_closed()]:
                del self._by_loop[other]
                self._guards.pop(other, None)
            found = self._by_loop.get(loop)
            if found is None:
                found = self._by_loop[loop] = self._make()
                if self._close is not None:
                    self._guards[loop] = _start_guard(self._close, found)
            return found

    def reset_after_fork(self) -> None:
        """Forget the parent's loops, and make the lock anew."""
        # Keep the values alive: collecting them here could shut down connections that the parent still uses.
        _PARENT_STATES.append((self._by_loop, self._guards))
        self._by_loop, self._guards = {}, {}
        self._lock = threading.Lock()


def _start_guard(close: Callable[[T], Coroutine[Any, Any, object]], value: T) -> AsyncGenerator[None]:
    """Return a generator that closes the value when it is closed itself, at the latest by its loop's end."""
    guard = _close_at_end(close, value)
    # One step by hand registers it with the running loop, whose shutdown_asyncgens() closes it; it awaits nothing yet.
    with contextlib.suppress(StopIteration):
        guard.__anext__().send(None)
    return guard


async def _close_at_end(close: Callable[[T], Coroutine[Any, Any, object]], value: T) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await close(value)


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
