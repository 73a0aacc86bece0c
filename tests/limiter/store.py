"""A slot store in this process that behaves like the PostgreSQL row, with its own clock, delays and failures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import attrs

from bardge_async._limits.permits import PermitGrant, PermitRequest, PermitScheduler, StoreUnavailableError
from bardge_async.errors import ThrottledError
from bardge_async.testing import ManualClock
from tests.support.clock import PausedClock

RATE = 200.0


@attrs.define
class Store:
    """Grant slots of a rate; ``asked`` holds the counts. ``ahead`` is how far its clock is ahead of the others'."""

    clock: ManualClock
    rate: float = RATE
    delay: float = 0.0
    ahead: float = 1e9
    away: str = ""
    refuses: str = ""
    next: float = 0.0
    held: float = 0.0
    asked: list[int] = attrs.field(factory=list[int])

    async def take_slots(self, request: PermitRequest) -> PermitGrant:
        if self.delay:
            await self.clock.sleep(self.delay / 2)
        self.asked.append(request.count)
        if self.away:
            raise StoreUnavailableError(self.away)
        if self.refuses:
            raise ThrottledError(self.refuses)
        now = self.clock.elapsed() + self.ahead
        self.held = max(self.held, now + request.hold)
        first = max(now + request.lead, self.held, self.next)
        taken = first - now <= request.timeout
        self.next = first + request.count / self.rate if taken else first
        if self.delay:
            await self.clock.sleep(self.delay / 2)
        return PermitGrant(first, taken and request.count > 0, self.held, now)


@attrs.define
class Loop:
    """One loop's permits, and when its tasks got theirs."""

    scheduler: PermitScheduler
    clock: ManualClock
    got: list[float] = attrs.field(factory=list[float])
    tasks: list[asyncio.Task[None]] = attrs.field(factory=list[asyncio.Task[None]])

    def start_waiting(self, timeout: float = 1000.0) -> asyncio.Task[None]:
        """Start to wait for a permit."""
        task = asyncio.ensure_future(self._acquire_one(timeout))
        self.tasks.append(task)
        return task

    async def _acquire_one(self, timeout: float) -> None:
        await self.scheduler.acquire(timeout)
        self.got.append(self.clock.elapsed())

    def keep_acquiring(self) -> None:
        """Keep waiting for one permit after another."""
        self.tasks.append(asyncio.ensure_future(self._acquire_forever()))

    async def _acquire_forever(self) -> None:
        while True:
            await self._acquire_one(1000.0)


@attrs.define
class Fleet:
    """Loops over one store, on one clock that the test advances."""

    clock: ManualClock
    store: Store
    loops: Sequence[Loop]

    @property
    def first(self) -> Loop:
        return self.loops[0]

    @property
    def got(self) -> list[float]:
        """Return when permits were granted, in order."""
        return sorted(at for loop in self.loops for at in loop.got)

    async def settle(self) -> None:
        """Let all tasks run until they wait."""
        for _ in range(8):
            await asyncio.sleep(0)

    async def advance_in_steps(self, seconds: float, step: float = 0.001) -> None:
        """Advance the clock in steps, and let all tasks run in between."""
        await self.settle()
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            await self.settle()

    async def aclose(self) -> None:
        """Cancel every task."""
        tasks = [task for loop in self.loops for task in loop.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for loop in self.loops:
            await loop.scheduler.aclose()


def make_fleet(loops: int = 1, rate: float = RATE, delay: float = 0.0) -> Fleet:
    """Make loops over a new store."""
    clock = PausedClock()
    store = Store(clock, rate, delay)
    return Fleet(clock, store, [Loop(PermitScheduler(store.take_slots, rate, clock), clock) for _ in range(loops)])
