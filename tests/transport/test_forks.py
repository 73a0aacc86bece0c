"""A child forked while a thread of its parent holds a lock never waits for that lock."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import warnings
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from bardge_async import BardgeClient, KeyIdentity, MemoryJournal, RetryPolicy, SQLiteJournal
from bardge_async._core.retry_budget import RetryBudget
from bardge_async._core.window import ClockReading
from bardge_async._journal.key_holders import KeyHolders
from bardge_async._limits.pacing import GcraRate
from bardge_async._runtime.loops import PerLoop
from bardge_async.testing import FakeTransport, ManualClock
from tests.journal.factories import KEY, make_sent
from tests.support.calls import buy
from tests.support.line import make_response

_HANG_SECONDS: Final = 5


class Gate:
    """Stop one thread inside a lock until the test lets it go on; every other thread passes."""

    def __init__(self) -> None:
        self._reached, self._go = threading.Event(), threading.Event()
        self._held: threading.Thread | None = None

    def __call__(self) -> None:
        """Wait, if this is the thread to stop."""
        if threading.current_thread() is self._held:
            self._reached.set()
            self._go.wait(10)

    @contextmanager
    def hold(self, work: Callable[[], object]) -> Generator[None]:
        """Run ``work`` in a thread that stays at the gate for the block."""
        self._held = threading.Thread(target=work)
        self._held.start()
        try:
            assert self._reached.wait(10), "the thread never reached the gate"
            yield
        finally:
            self._go.set()
            self._held.join(10)


class SlowNumber(float):
    """A number that takes its time, at a gate, to be rounded, compared or subtracted."""

    gate: Gate

    def __int__(self) -> int:
        self.gate()
        return int(float(self))

    def __gt__(self, other: float) -> bool:
        self.gate()
        return float(self) > other

    def __rsub__(self, other: float) -> float:
        self.gate()
        return other - float(self)


class SlowText(str):
    """Text that takes its time, at a gate, to be looked up."""

    __slots__ = ("gate",)
    gate: Gate

    def __hash__(self) -> int:
        self.gate()
        return str.__hash__(self)


def _slow_number(gate: Gate) -> SlowNumber:
    number = SlowNumber(1.0)
    number.gate = gate
    return number


def _slow_key(gate: Gate) -> KeyIdentity:
    text = SlowText("slow")
    text.gate = gate
    return KEY._replace(key=text)


def _run_forked(work: Callable[[], object]) -> int:
    """Run ``work`` in a forked child, and return its exit code; a child that hangs is killed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(_HANG_SECONDS)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _use_budget(gate: Gate) -> tuple[Callable[[], object], Callable[[], object]]:
    budget = RetryBudget(RetryPolicy())
    return lambda: budget.count_first_attempt(_slow_number(gate)), lambda: budget.reserve_token(2.0, 1.0)


def _use_rate(gate: Gate) -> tuple[Callable[[], object], Callable[[], object]]:
    rate = GcraRate()
    return (
        lambda: rate.seconds_until_free(1.0, _slow_number(gate), take=True),
        lambda: rate.seconds_until_free(1.0, 2.0, take=True),
    )


def _use_holders(gate: Gate) -> tuple[Callable[[], object], Callable[[], object]]:
    holders = KeyHolders()
    return lambda: holders.try_acquire(_slow_key(gate)), lambda: holders.try_acquire(KEY)


def _use_loops(gate: Gate) -> tuple[Callable[[], object], Callable[[], object]]:
    per_loop = PerLoop(gate)

    async def get_value() -> None:
        per_loop.get()

    return lambda: asyncio.run(get_value()), lambda: asyncio.run(get_value())


def _use_memory(gate: Gate) -> tuple[Callable[[], object], Callable[[], object]]:
    journal, clock = MemoryJournal(), ManualClock()
    slow = make_sent()
    slow = slow.with_state(slow.state, slow.first_sent, ClockReading(_slow_number(gate), 0.0, 0.0), None)

    async def claim_and_put() -> None:
        await journal.claim(KEY, 60.0, clock)
        await journal.put(make_sent(KEY))
        journal.release(KEY)

    return lambda: asyncio.run(_await(journal.put(slow))), lambda: asyncio.run(claim_and_put())


async def _await(call: Awaitable[Any]) -> None:
    await call


@pytest.mark.parametrize("use", [_use_budget, _use_rate, _use_holders, _use_loops, _use_memory])
def test_lock_of_a_parents_thread(use: Callable[[Gate], tuple[Callable[[], object], Callable[[], object]]]) -> None:
    """Each lock that threads share is free in the child, though a thread of the parent held it at the fork."""
    gate = Gate()
    in_parent, in_child = use(gate)
    with gate.hold(in_parent):
        assert _run_forked(in_child) == 0


class SlowClock(ManualClock):
    """A clock whose readings take their time, at a gate."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    def elapsed(self) -> float:
        number = SlowNumber(super().elapsed())
        number.gate = self._gate
        return number


def test_call_in_a_child() -> None:
    """A child's call ends, though a thread of its parent was inside a call of the same client at the fork."""
    gate = Gate()
    transport = FakeTransport(make_response(201), make_response(201))
    bardge = BardgeClient("key", "https://api.example/v3", transport=transport, clock=SlowClock(gate))
    with gate.hold(lambda: asyncio.run(_await(buy(bardge, "parent")))):
        assert _run_forked(lambda: asyncio.run(_await(buy(bardge, "child")))) == 0
    asyncio.run(bardge.aclose())


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_other_keys_are_free(kind: str, tmp_path: Path) -> None:
    """A child claims a key, though a thread of its parent was inside a claim of another at the fork."""
    gate, journal = Gate(), MemoryJournal() if kind == "memory" else SQLiteJournal(tmp_path / "journal.db")
    with gate.hold(lambda: asyncio.run(_await(journal.claim(_slow_key(gate), 1.0, ManualClock())))):
        assert _run_forked(lambda: asyncio.run(_await(journal.claim(KEY, 1.0, ManualClock())))) == 0


def test_key_of_a_parents_task() -> None:
    """A key that a task of the parent holds in memory is free in the child, which has no such task."""
    journal = MemoryJournal()
    asyncio.run(_await(journal.claim(KEY, 1.0, ManualClock())))
    assert _run_forked(lambda: asyncio.run(_await(journal.claim(KEY, 60.0, ManualClock())))) == 0


class SlowLoop(asyncio.SelectorEventLoop):
    """An event loop that takes its time, at a gate, to schedule a callback."""

    gate: Gate | None = None

    def call_soon(self, *args: Any, **options: Any) -> asyncio.Handle:  # type: ignore[override] # generic in typeshed
        if self.gate is not None:
            self.gate()
        return super().call_soon(*args, **options)


def test_write_to_a_file(tmp_path: Path) -> None:
    """A child writes to a journal file, though a thread of its parent was handing over a write at the fork."""
    gate, loop = Gate(), SlowLoop()

    async def put_slowly() -> None:
        loop.gate = gate
        await journal.put(make_sent())

    def run_slowly() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(put_slowly())

    with SQLiteJournal(tmp_path / "journal.db") as journal, gate.hold(run_slowly):
        assert _run_forked(lambda: asyncio.run(_await(journal.put(make_sent())))) == 0
