"""Virtual time: an event loop whose clock stands still while anything can be done, and jumps when everybody waits."""

from __future__ import annotations

import asyncio
import os
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

T = TypeVar("T")

WALL: Final = 1_780_000_000.0
_STEP: Final = 1.0
"""Longest jump before the sockets are asked again: what the kernel still delivers is not taken for minutes late."""
_STUCK: Final = 10.0
"""Real seconds without any event and without a timer, after which the run is given up."""


class StuckError(Exception):
    """Nothing is ready, no timer runs: everybody waits for ever."""


class _Selector(selectors.BaseSelector):
    """Ask the sockets first; while none has anything, let the virtual time pass instead of the real one."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = self._real.select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        os.sched_yield()
        found = self._real.select(0 if timeout is not None else _STUCK)
        if found:
            return found
        if timeout is None:
            raise StuckError
        self.now += min(timeout, _STEP)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Run with virtual time over real sockets."""

    def __init__(self) -> None:
        self._waits = _Selector()
        super().__init__(self._waits)

    def time(self) -> float:
        return self._waits.now


class ClientClock:
    """Implement the library's Clock on the loop's virtual time; ``skew`` is how far its wall clock is off."""

    def __init__(self) -> None:
        self.skew = 0.0

    def wall(self) -> float:
        return WALL + self.elapsed() + self.skew

    def elapsed(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def timer(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(seconds, callback)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
