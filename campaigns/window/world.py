"""One run: a client, a fault server, and operations until enough faults occurred; the seed determines all of it."""

from __future__ import annotations

import asyncio
import contextvars
import os
import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Final, Literal

import attrs

from bardge_async import BardgeClient, ReplayWindow, RetryPolicy, Timeouts
from bardge_async._core.http import WireRequest, WireResponse
from bardge_async._journal import Journal, JournalEntry, KeyIdentity, MemoryJournal
from bardge_async._network import AttemptLimits
from bardge_async._network.aiohttp_transport import AiohttpTransport
from bardge_async.errors import ConnectError, KeyInUseError, OutcomeUnknownError
from campaigns.window.faults import FORGETTING, PLAYS, WEATHER
from campaigns.window.ledger import Rules
from campaigns.window.operations import KINDS, Author, Delivery
from campaigns.window.server import FaultServer, Plan
from campaigns.window.verdicts import BlameError, Ended, check, check_journal
from campaigns.window.virtual import ClientClock
from tests.journal.inline import InlineJournal

Control = Literal["random-key", "no-window"]
Store = Literal["memory", "sqlite"]

_LONGEST: Final = 600.0
"""Seconds after which an operation is not delivered again: the journal keeps finished entries for 900."""
_CURRENT: Final[contextvars.ContextVar[Delivery]] = contextvars.ContextVar("delivery")


@attrs.frozen
class Setup:
    """Everything that a seed determines or a test sets."""

    seed: str
    kinds: tuple[str, ...]
    rules: Rules
    timeouts: Timeouts
    policy: RetryPolicy
    window: ReplayWindow
    connections: int
    jumps: bool
    rate: float = 0.55
    first: int = 1_000_000
    row: str | None = None
    control: Control | None = None
    journal: Store = "memory"


def draw(
    seed: str, kinds: tuple[str, ...] | None = None, control: Control | None = None, journal: Store = "memory"
) -> Setup:
    """Draw the settings for a seed."""
    rng = random.Random(f"{seed}/setup")
    cached = rng.random() < 0.4
    past = control == "no-window"
    # Missing responses move the clocks past 90 s.
    drawn = ("hang_after",) if past else kinds or (*WEATHER, *PLAYS)
    # A client repeats failures only if the server is known never to forget them.
    trusting = cached and rng.random() < 0.5 and not FORGETTING.issuperset(drawn)
    if trusting:
        drawn = tuple(kind for kind in drawn if kind not in FORGETTING)
    total = 400.0 if past else rng.choice([10.0, 60.0, 60.0, 250.0])
    attempts = 30 if past else rng.choice([2, 4, 4, 8, 20])
    return Setup(
        seed=seed,
        kinds=drawn,
        rules=Rules(rng.random() < 0.5, cached, rng.random() < 0.5, rng.random() < 0.5),
        timeouts=Timeouts(total=total, attempt=20.0 if past else rng.choice([2.0, 5.0, 20.0])),
        policy=RetryPolicy(
            max_attempts=attempts, budget_floor=rng.choice([10.0, 100_000.0]), repeat_server_errors=trusting
        ),
        window=ReplayWindow(length=86_400, margin=0) if past else ReplayWindow(),
        connections=rng.choice([2, 5, 100]),
        jumps=rng.random() < 0.25,
        rate=0.85 if past else 0.55,
        control=control,
        journal=journal,
    )


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


class Recorder:
    """Wrap the real transport; tell the server which delivery a request belongs to, and when it was sent."""

    def __init__(self, inner: AiohttpTransport, played: Counter[str], *, random_key: bool) -> None:
        self.requests: Counter[int] = Counter()
        self._inner = inner
        self._played = played
        self._random = random.Random(1) if random_key else None

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        delivery = _CURRENT.get()
        self.requests[delivery.number] += 1
        now = asyncio.get_running_loop().time()
        headers = {**request.headers, "X-Delivery": str(delivery.number), "X-Sent": repr(now)}
        if delivery.cancel_after is not None or delivery.cancel_ticks is not None:
            headers["X-Fragile"] = "1"
        if self._random is not None and "Idempotency-Key" in headers:
            headers["Idempotency-Key"] = f"{self._random.random()}"
        try:
            return await self._inner.send(attrs.evolve(request, headers=headers), limits)
        except ConnectError:
            self._played["refuse"] += 1
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()


class World:
    """Run operations against the server and compare every outcome with the ledger."""

    def __init__(self, setup: Setup, server: FaultServer, journal: Journal | None = None) -> None:
        self.setup = setup
        self.server = server
        self.report = Report(setup.seed, server.played)
        self.clock = ClientClock()
        self.journal = MemoryJournal() if journal is None else journal
        self.recorder = Recorder(AiohttpTransport(self.clock), server.played, random_key=setup.control == "random-key")
        self.client = BardgeClient(
            "key",
            server.base_url,
            timeout=setup.timeouts,
            retry=setup.policy,
            window=setup.window,
            journal=self.journal,
            transport=self.recorder,
            max_connections=setup.connections,
            clock=self.clock,
        )
        self._author = Author(setup.seed, setup.row)
        self._rng = random.Random(f"{setup.seed}/world")
        self._ends: list[Ended] = []
        self._blamed: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._in_flight: dict[str, list[int]] = {}
        self._beside: set[int] = set()
        self._outage: asyncio.Future[None] | None = None

    async def run(self, faults: int) -> Report:
        """Start operations until enough faults occurred, and wait for all of them."""
        disturbances = [asyncio.ensure_future(part) for part in (self._disturb_connections(), self._shift_clock())]
        async with asyncio.TaskGroup() as group:
            while sum(self.server.played[kind] for kind in self.setup.kinds) < faults:
                group.create_task(self._run_operation(self._author.write()))
                await asyncio.sleep(self._rng.expovariate(0.5))
        for task in disturbances:
            task.cancel()
        await asyncio.wait(disturbances)
        if self._outage is not None:
            await self._outage
        await self._close_and_check()
        return self.report

    async def one(self) -> str:
        """Make one call; return the name of its outcome."""
        row = KINDS[self.setup.row or "purchase"]
        ended = await self._deliver(Delivery(number=1, op="purchase-1", kind=row, variant="good"))
        await self._close_and_check()
        assert not self.report.faults
        return type(ended.outcome).__name__ if isinstance(ended.outcome, BaseException) else "done"

    async def _disturb_connections(self) -> None:
        """Occasionally refuse connections for a while, or restart the server."""
        kinds = [kind for kind in ("refuse", "restart") if kind in self.setup.kinds]
        often = 2.0 if set(self.setup.kinds) <= set(WEATHER) else 0.02
        while kinds:
            await asyncio.sleep(self._rng.expovariate(often))
            seconds = self._rng.choice([0.05, 0.5, 6.0]) * self._rng.random()
            hard = self._rng.choice(kinds) == "restart"
            # Shielded: after every outage the server must listen again.
            self._outage = asyncio.ensure_future(self.server.outage(seconds, hard=hard))
            await asyncio.shield(self._outage)

    async def _shift_clock(self) -> None:
        """Occasionally let the client's wall clock jump, back and forward."""
        while self.setup.jumps:
            await asyncio.sleep(self._rng.expovariate(0.02))
            self.clock.skew = self._rng.choice([0.0, -200.0, -3600.0, 30.0, 200.0])

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
        self._record_start(delivery)
        call = asyncio.ensure_future(_call_and_catch(delivery, self.client))
        timer = None
        if delivery.cancel_after is not None:
            timer = self._loop.call_later(delivery.cancel_after, call.cancel)
        if delivery.cancel_ticks is not None:
            for _ in range(delivery.cancel_ticks):
                await asyncio.sleep(0)
            call.cancel()
        await asyncio.wait({call})
        if timer is not None:
            timer.cancel()
        outcome = asyncio.CancelledError() if call.cancelled() else call.result()
        ended = Ended(delivery, outcome, self.recorder.requests[delivery.number], self.server.arrived[delivery.number])
        self._record_end(ended)
        await self._check_journal_entry(ended)
        self._in_flight[delivery.op].remove(delivery.number)
        return ended

    def _record_start(self, delivery: Delivery) -> None:
        _CURRENT.set(delivery)
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
        entry = await self.journal.claim(identity, 0.0, self.clock)
        self.journal.release(identity)
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
        semaphore = self.client._caller.slots._semaphores.get()
        left = {
            "connection slots taken": semaphore.free != self.setup.connections,
            "calls counted": semaphore.calls_in_flight != 0,
            "keys held": await self._is_any_key_held(),
        }
        await self.client.aclose()
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
        self.report.requests = self.recorder.requests.total()
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
    resets = 0.0 if "accept_reset" not in setup.kinds else 0.6 if set(setup.kinds) <= set(WEATHER) else 0.02
    plan = Plan(setup.seed, kinds, setup.rate, setup.first, resets)
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
        with TemporaryDirectory(dir=fast) as folder, InlineJournal(f"{folder}/journal.db") as journal:
            return await World(setup, server, journal).run(faults)
