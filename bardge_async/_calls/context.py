"""The settings and parts that all calls of one client share."""

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
    """A client's settings, checked."""

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
    """Read both clocks together and track the highest wall time seen."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._highest = 0.0
        self._boot: str = getattr(clock, "boot", "")

    def observe(self, wall: float) -> None:
        """Include a wall time that another or an earlier process has seen."""
        self._highest = max(self._highest, wall)

    def now(self) -> ClockReading:
        """Return a reading of both clocks."""
        clock = self.clock
        wall = clock.wall()
        self._highest = max(self._highest, wall)
        return ClockReading(wall, clock.elapsed(), self._highest, self._boot)


@attrs.frozen(eq=False, repr=False)
class CallContext:
    """The parts that a call uses; ``hooks`` is None if the user gave none.

    ``memory_journal`` is the journal if it is a plain :class:`MemoryJournal`, which takes entries without awaiting.
    ``hold_fresh`` claims a key generated for this call without reading the store, if the journal supports it.
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
    """Attempts and outcome of one operation, over all calls of its block.

    ``recorded`` is False if the outcome could not be written to the journal. ``refused`` is True if the API refused
    the operation itself, in this call or in a journaled one.
    """

    attempts: int = 0
    recorded: bool = True
    refused: bool = False
