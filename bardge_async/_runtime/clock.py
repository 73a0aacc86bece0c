"""Time as a dependency: everything that waits or measures takes it from a :class:`Clock`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

import anyio

__all__ = ["Clock", "SystemClock", "TimeLimit", "Timer"]

_BOOT_TIME: Final = getattr(time, "CLOCK_BOOTTIME", None)


class Timer(Protocol):
    """Stand for a callback that is still to come."""

    def cancel(self) -> object:
        """Let the callback never be called."""


class Clock(Protocol):
    """Tell the time, wait, and call back later; give your own as ``BardgeClient(clock=...)``."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump."""
        ...

    def elapsed(self) -> float:
        """Seconds that never go back and go on while the machine sleeps."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""

    def timer(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` in the running loop after a number of seconds."""
        ...


class TimeLimit:
    """Cancel what runs inside after a number of seconds of a clock; the scope tells by ``cancelled_caught``."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._scope = anyio.CancelScope()

    def __enter__(self) -> anyio.CancelScope:
        scope = self._scope.__enter__()
        self._timer = self._clock.timer(self._seconds, scope.cancel)
        return scope

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._timer.cancel()
        return self._scope.__exit__(kind, error, trace)


def _read_boot_id() -> str:
    """Name the boot of this machine; where the system does not tell, every process has a name of its own."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return os.urandom(8).hex()


class SystemClock:
    """The machine's own time; ``boot`` names the boot that ``elapsed`` counts from."""

    def __init__(self) -> None:
        self.boot = _read_boot_id()

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return time.time()

    def elapsed(self) -> float:
        """Seconds since the boot, including sleep of the machine where the system tells."""
        return time.monotonic() if _BOOT_TIME is None else time.clock_gettime(_BOOT_TIME)

    async def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        await anyio.sleep(seconds)

    def timer(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call ``callback`` in the running loop after a number of seconds."""
        return asyncio.get_running_loop().call_later(seconds, callback)
