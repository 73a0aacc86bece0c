"""What calls of one client have in common."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from bardge_async._calls.events import Hooks
from bardge_async._core.entry import KeyIdentity
from bardge_async._core.settings import ReplayWindow, RetryPolicy, Timeouts
from bardge_async._core.window import ClockReading
from bardge_async._journal import Journal, MemoryJournal
from bardge_async._limits import Limiter
from bardge_async._limits.connections import ConnectionSlots
from bardge_async._network import Transport
from bardge_async._network.credentials import Credentials
from bardge_async._runtime.clock import Clock


@attrs.frozen(eq=False, repr=False)
class ClientSettings:
    """What the user has set."""

    base_url: str
    account: str
    credentials: Credentials
    timeouts: Timeouts
    policy: RetryPolicy
    window: ReplayWindow
    journal: Journal
    hooks: Hooks
    limiter: Limiter | None


class ClockReader:
    """Read the clocks together, and remember the highest wall time."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._highest = 0.0
        self._boot: str = getattr(clock, "boot", "")

    def observe(self, wall: float) -> None:
        """Take note of a wall time that another process or an earlier one saw."""
        self._highest = max(self._highest, wall)

    def now(self) -> ClockReading:
        """Return one reading."""
        clock = self.clock
        wall = clock.wall()
        self._highest = max(self._highest, wall)
        return ClockReading(wall, clock.elapsed(), self._highest, self._boot)


@attrs.frozen(eq=False, repr=False)
class CallContext:
    """The parts that a call needs; ``hooks`` is None where there are none.

    ``memory`` is the journal where it is the one of this process, which takes a record without a coroutine;
    ``hold_fresh`` takes hold of a key that was made just now, where the journal can do so without a look at its store.
    """

    settings: ClientSettings
    transport: Transport
    slots: ConnectionSlots
    clock_reader: ClockReader
    hooks: Hooks | None
    memory_journal: MemoryJournal | None
    hold_fresh: Callable[[KeyIdentity], bool] | None


@attrs.define(eq=False, repr=False)
class OperationProgress:
    """What became of an operation, over all calls of its block.

    ``recorded`` is False when the outcome could not be written to the journal, ``refused`` tells that the API refused
    the operation itself, now or as the journal has it.
    """

    attempts: int = 0
    recorded: bool = True
    refused: bool = False
