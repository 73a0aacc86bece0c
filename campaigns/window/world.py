"""One run: a client, a fault server, and operations until enough faults occurred; the seed determines all of it."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

from bardge_async import BardgeClient
from bardge_async._journal import Journal, JournalEntry, KeyIdentity
from bardge_async.errors import KeyInUseError, OutcomeUnknownError
from campaigns.window.disturbances import Disturbances
from campaigns.window.machine import CURRENT, Machine
from campaigns.window.operations import KINDS, Author, Delivery
from campaigns.window.plays import PLAYS
from campaigns.window.server import FaultServer, Plan
from campaigns.window.setup import Setup
from campaigns.window.verdicts import BlameError, Ended, check, check_journal

_LONGEST: Final = 600.0
"""Seconds after which an operation is not delivered again: the journal keeps finished entries for 900."""


@attrs.define
class Report:
    """Result of a run."""

    seed: str
    played: Counter[str] = attrs.field(factory=Counter[str])
    outcomes: Counter[str] = attrs.field(factory=Counter[str])
    calls: int = 0
    requests: int = 0
    doubles: int = 0
    late_doubles: int = 0
    faults: list[str] = attrs.field(factory=list[str])


class World:
    """Run operations against the server and compare every outcome with the ledger."""

    def __init__(
        self, setup: Setup, server: FaultServer, journal: Journal | None = None, path: Path | None = None
    ) -> None:
        self.setup = setup
        self.server = server
        self.report = Report(setup.seed, server.played)
        self.machine = Machine(setup, server.base_url, server.played, journal, path)
        self._author = Author(setup.seed, setup.row)
        self._rng = random.Random(f"{setup.seed}/world")
        self._ends: list[Ended] = []
        self._blamed: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._in_flight: dict[str, list[int]] = {}
        self._beside: set[int] = set()

    async def run(self, faults: int) -> Report:
        """Start operations until enough faults occurred, and wait for all of them."""
        disturbances = Disturbances(self.setup, self.server, self.machine)
        disturbances.start()
        async with asyncio.TaskGroup() as group:
            while sum(self.server.played[kind] for kind in self.setup.kinds) < faults:
                group.create_task(self._run_operation(self._author.write()))
                await asyncio.sleep(self._rng.expovariate(0.5))
        await disturbances.stop()
        await self._close_and_check()
        return self.report

    async def one(self) -> str:
        """Make one call; return the name of its outcome."""
        row = KINDS[self.setup.row or "purchase"]
        ended = await self._deliver(Delivery(number=1, op="purchase-1", kind=row, variant="good"))
        await self._close_and_check()
        assert not self.report.faults
        return type(ended.outcome).__name__ if isinstance(ended.outcome, BaseException) else "done"

    async def _run_operation(self, deliveries: list[Delivery]) -> None:
        started_at = self._loop.time()
        running: set[asyncio.Task[Ended]] = set()
        for delivery in deliveries:
            if running and not delivery.beside:
                await asyncio.wait(running)
            await asyncio.sleep(delivery.wait)
            if self._loop.time() - started_at > _LONGEST:
                break
            running.add(asyncio.ensure_future(self._deliver(delivery)))
        await asyncio.wait(running)
        first = await next(iter(running))
        if len(deliveries) == 1 and isinstance(first.outcome, OutcomeUnknownError) and deliveries[0].key is None:
            await self._repeat_manually(deliveries[0], first.outcome.idempotency_key)

    async def _repeat_manually(self, delivery: Delivery, key: str | None) -> None:
        """Repeat a call with the key from its error."""
        rng = random.Random(f"{self.setup.seed}/{delivery.op}/by hand")
        if key is None or rng.random() < 0.4:
            return
        await asyncio.sleep(rng.choice([0.0, 1.0, rng.random() * 100]))
        number = -delivery.number
        await self._deliver(attrs.evolve(delivery, number=number, key=key, by="send", cancel_after=None))

    async def _deliver(self, delivery: Delivery) -> Ended:
        async with self.machine.used():
            self._record_start(delivery)
            ended = Ended(
                delivery,
                await self._call(delivery),
                self.machine.requests[delivery.number],
                self.server.arrived[delivery.number],
            )
            self._record_end(ended)
            await self._check_journal_entry(ended)
            self._in_flight[delivery.op].remove(delivery.number)
            return ended

    async def _call(self, delivery: Delivery) -> object:
        """Make the call, cancel it if wanted, and return its value or its exception."""
        call = asyncio.ensure_future(_call_and_catch(delivery, self.machine.client))
        self.machine.calls.add(call)
        timer = None
        if delivery.cancel_after is not None:
            timer = self._loop.call_later(delivery.cancel_after, call.cancel)
        if delivery.cancel_ticks is not None:
            for _ in range(delivery.cancel_ticks):
                await asyncio.sleep(0)
            call.cancel()
        await asyncio.wait({call})
        self.machine.calls.discard(call)
        if timer is not None:
            timer.cancel()
        return asyncio.CancelledError() if call.cancelled() else call.result()

    def _record_start(self, delivery: Delivery) -> None:
        CURRENT.set(delivery)
        beside = self._in_flight.setdefault(delivery.op, [])
        beside.append(delivery.number)
        if len(beside) > 1:
            self._beside.update(beside)

    def _record_end(self, ended: Ended) -> None:
        self._ends.append(ended)
        self.report.calls += 1
        self.report.outcomes[type(ended.outcome).__name__ if ended.word != "done" else "done"] += 1
        delivery = ended.delivery
        what = f"{delivery.by} {delivery.variant} under {delivery.key} -> {ended.word}"
        self.server.note(delivery.op, delivery.number, what)
        self._check_outcome(ended)

    def _check_outcome(self, ended: Ended) -> None:
        try:
            check(ended, self.server.store.ledger)
        except BlameError as blame:
            self._add_fault(ended.delivery.op, f"delivery {ended.delivery.number}: {blame}")

    async def _check_journal_entry(self, ended: Ended) -> None:
        """Compare the journal's entry with the outcome, unless another delivery holds the key."""
        delivery = ended.delivery
        if delivery.key is None:
            return
        try:
            entry = await self._read_entry(delivery.key)
            alone = delivery.number not in self._beside
            check_journal(ended, entry, self.server.store.ledger, alone=alone)
        except KeyInUseError:
            return
        except BlameError as blame:
            self._add_fault(delivery.op, f"delivery {delivery.number}: {blame}")

    async def _read_entry(self, key: str) -> JournalEntry | None:
        identity = KeyIdentity(self.server.base_url, "", key)
        entry = await self.machine.journal.claim(identity, 0.0, self.machine.clock)
        self.machine.journal.release(identity)
        return entry

    async def _is_any_key_held(self) -> bool:
        """Return whether any key is still held."""
        try:
            for key in {end.delivery.key for end in self._ends} - {None}:
                await self._read_entry(str(key))
        except KeyInUseError:
            return True
        return False

    def _add_fault(self, op: str, what: str) -> None:
        if what not in self._blamed:
            self._blamed.add(what)
            history = "\n    ".join(self.server.history.get(op, []))
            self.report.faults.append(f"seed {self.setup.seed}, {op}: {what}\n    {history}")

    async def _close_and_check(self) -> None:
        """Close the client, check for leftovers, and compare all outcomes with the ledger once more."""
        semaphore = self.machine.client._caller.slots._semaphores.get()
        left = {
            "connection slots taken": semaphore.free != self.setup.connections,
            "calls counted": semaphore.calls_in_flight != 0,
            "keys held": await self._is_any_key_held(),
        }
        await self.machine.client.aclose()
        self.machine.close_journal()
        await asyncio.sleep(0.01)
        left["connections idle at the server"] = self.server.idle > 0
        self.report.faults += [f"seed {self.setup.seed}: left over: {what}" for what, is_so in left.items() if is_so]
        await self.server.finish()
        for ended in self._ends:
            self._check_outcome(ended)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            self.report.faults.append(f"seed {self.setup.seed}: left over: tasks {others}")
        self._count_charges()

    def _count_charges(self) -> None:
        ledger = self.server.store.ledger
        once = {end.delivery.op for end in self._ends if end.delivery.kind.again not in {"same", "get"}}
        self.report.requests = self.machine.requests.total()
        self.report.doubles = sum(ledger.count(op) > 1 for op in once)
        self.report.late_doubles = sum(len(ledger.charges[op]) > 1 >= ledger.count(op) for op in once)


async def _call_and_catch(delivery: Delivery, client: BardgeClient) -> object:
    try:
        return await delivery.make(client)
    except asyncio.CancelledError as cancelled:
        return cancelled
    except Exception as error:  # noqa: BLE001 - everything that escapes is checked against the rules
        return error


@asynccontextmanager
async def serving(setup: Setup) -> AsyncGenerator[FaultServer]:
    """Run the server for a setup."""
    kinds = tuple(kind for kind in setup.kinds if kind in PLAYS)
    resets = 0.0 if "accept_reset" not in setup.kinds else 0.6 if setup.is_weather else 0.02
    plan = Plan(setup.seed, kinds, setup.rate, setup.first, resets, dates=setup.dates)
    state = random.getstate()
    # The library draws its jitter from the global generator.
    random.seed(f"{setup.seed}/jitter")
    try:
        async with FaultServer(plan, setup.rules) as server:
            yield server
    finally:
        random.setstate(state)


async def campaign(setup: Setup, faults: int) -> Report:
    """Run one world."""
    async with serving(setup) as server:
        if setup.journal == "memory":
            return await World(setup, server).run(faults)
        fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - this tests rules, not the disk
        with TemporaryDirectory(dir=fast) as folder:
            return await World(setup, server, path=Path(folder) / "journal.db").run(faults)
