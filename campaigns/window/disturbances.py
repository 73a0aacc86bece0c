"""What goes wrong beside the requests: connections, the client's clocks, and its process.

Clock steps and wrong readings come in both directions, from a second to decades, before any reading of the clocks. Over
a reboot the wall clock is the only clock of the client that goes on. So there, without ``probe=True``, it is either not
behind what an earlier boot made of it, or shows less than an earlier boot has on record, to the end of the run. What it
shows once it has caught up with the record is not covered: nothing tells it from a clock that was right all along.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from campaigns.window.ledger import MARGIN
from campaigns.window.machine import Machine
from campaigns.window.server import FaultServer
from campaigns.window.setup import Setup
from campaigns.window.virtual import WALL

_DAY: Final = 86_400.0
_LONGEST: Final = 20_000.0
"""Seconds that no run takes."""
_SIZES: Final = (2.0, 15.0, 60.0, 120.0, 300.0, 3600.0, _DAY, 40 * _DAY, 400 * _DAY, 9000 * _DAY)


class Disturbances:
    """Run beside the operations of one world; ``server.played`` counts what happened."""

    def __init__(self, setup: Setup, server: FaultServer, machine: Machine) -> None:
        self._setup = setup
        self._server = server
        self._machine = machine
        self._rng = random.Random(f"{setup.seed}/disturbances")
        self._often = 2.0 if setup.is_weather else 0.02
        self._tasks: list[asyncio.Task[None]] = []
        self._unfinished: set[asyncio.Future[None]] = set()
        self._highest_skew = 0.0

    def start(self) -> None:
        kinds = self._setup.kinds
        parts: dict[str, Coroutine[Any, Any, None]] = {}
        connections: list[str] = [kind for kind in ("refuse", "restart") if kind in kinds]
        if connections:
            parts["connections"] = self._disturb_connections(connections)
        readings: list[str] = [kind for kind in ("step", "spike") if kind in kinds]
        if readings:
            parts["clocks"] = self._disturb_clocks(readings)
        if "pause" in kinds:
            parts["pauses"] = self._pause_machine()
        if "reboot" in kinds:
            parts["reboots"] = self._restart_machine()
        self._tasks = [asyncio.ensure_future(part) for part in parts.values()]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for task in self._tasks:
            if not task.cancelled():
                task.result()  # it ends only by an error
        if self._unfinished:
            await asyncio.gather(*self._unfinished)

    async def _finish(self, part: Coroutine[Any, Any, None]) -> None:
        """Run to completion, whatever ends: after every outage the server must listen again."""
        future = asyncio.ensure_future(part)
        self._unfinished.add(future)
        await asyncio.shield(future)
        self._unfinished.discard(future)

    async def _disturb_connections(self, kinds: list[str]) -> None:
        """Occasionally refuse connections for a while, or restart the server."""
        while True:
            await asyncio.sleep(self._rng.expovariate(self._often))
            seconds = self._rng.choice([0.05, 0.5, 6.0]) * self._rng.random()
            await self._finish(self._server.outage(seconds, hard=self._rng.choice(kinds) == "restart"))

    async def _disturb_clocks(self, kinds: list[str]) -> None:
        """Occasionally set the client's wall clock, for good or for some readings."""
        rng = self._rng
        while True:
            await asyncio.sleep(rng.expovariate(0.05))
            size = rng.choice(_SIZES) * rng.uniform(0.5, 1) * rng.choice([-1, 1])
            kind = rng.choice(kinds)
            # A clock that was wrong is corrected, sooner or later.
            skew = rng.choice([0.0, size])
            if self._setup.control == "wall-clock":
                # Set back again and again, it runs at less than half of its speed.
                skew = self._machine.clock.skew - rng.uniform(10, 16)
            count = rng.choice([1, 1, 2, 5])
            change = partial(self._step, skew) if kind == "step" else partial(self._misread, size, count)
            self._machine.clock.change_later(rng.choice([1, rng.randrange(1, 60)]), change)

    def _step(self, skew: float) -> None:
        clock = self._machine.clock
        if skew != clock.skew and self._is_covered(skew):
            clock.skew = skew
            self._server.played["step"] += 1

    def _misread(self, error: float, count: int) -> None:
        clock = self._machine.clock
        if self._is_covered(clock.skew + error):
            clock.misread(error, count)
            self._server.played["spike"] += 1

    def _is_covered(self, skew: float) -> bool:
        """Return whether the promise covers a wall clock with this error, in view of earlier boots."""
        if self._setup.window.probe or "reboot" not in self._setup.kinds:
            return True
        machine = self._machine
        behind_record = WALL + machine.clock.booted_at + _LONGEST + skew < machine.highest_of_earlier_boots
        covered = not machine.boots or skew >= self._highest_skew or behind_record
        if covered:
            self._highest_skew = max(self._highest_skew, skew)
        return covered

    async def _pause_machine(self) -> None:
        """Occasionally stop the client's clocks, shortly, or through a window."""
        rng = self._rng
        while True:
            await asyncio.sleep(rng.expovariate(0.02))
            seconds = rng.choice([rng.random() * MARGIN, rng.uniform(20, 130), rng.uniform(85, 130), 600.0])
            self._machine.clock.pause(seconds)
            self._server.played["pause"] += 1

    async def _restart_machine(self) -> None:
        """Occasionally end the client's process and start another one, mostly in another boot."""
        while True:
            await asyncio.sleep(self._rng.expovariate(0.01))
            await self._finish(self._reboot())
            self._server.played["reboot"] += 1

    async def _reboot(self) -> None:
        rng, machine, loop = self._rng, self._machine, asyncio.get_running_loop()
        await machine.shut_down(cancel=rng.random() < 0.5)
        ended_at = loop.time()
        await asyncio.sleep(rng.choice([0.1, 20.0, 90.0, 200.0]) * rng.random())
        if rng.random() < 0.3:
            machine.reopen()
        else:
            machine.reboot(rng.uniform(ended_at, loop.time()))
            size = rng.choice(_SIZES) * rng.uniform(0.5, 1) * rng.choice([-1, -1, 1])
            skew = rng.choice([self._highest_skew, size])
            machine.clock.skew = skew if self._is_covered(skew) else self._highest_skew
        if rng.random() < 0.7:
            await machine.client.recover()
        machine.is_open.set()
