"""Virtual time: an event loop whose clock stands still while anything can run, and jumps when all tasks wait."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, Final, TypeVar

T = TypeVar("T")

WALL: Final = 1_780_000_000.0
_STEP: Final = 1.0
"""Longest jump between two polls of the sockets, so that data still in the kernel does not appear minutes late."""
_STUCK: Final = 10.0
"""Real seconds without any event or timer, after which the run is aborted."""


class StuckError(Exception):
    """Nothing is ready and no timer is set: all tasks would wait forever."""


class _Selector(selectors.BaseSelector):
    """Poll the sockets first; while none is ready, let virtual time pass instead of real time."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = self._real.select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
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
    """Run in virtual time with real sockets."""

    def __init__(self) -> None:
        self._waits = _Selector()
        super().__init__(self._waits)

    def time(self) -> float:
        return self._waits.now

    def jump(self, seconds: float) -> None:
        """Let time pass in which nothing runs: what is due then is late."""
        self._waits.now += seconds


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to completion in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
