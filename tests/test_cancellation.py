"""Cancellation at every await of a keyed POST: the record is right, nothing is charged twice, nothing leaks."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias

import anyio
import attrs
import pytest

from bardge_async import BardgeClient, EntryState, KeyIdentity, MemoryJournal, RetryPolicy, errors
from bardge_async.sandbox import Sandbox
from bardge_async.testing import ManualClock
from tests.support.rig import PURCHASE
from tests.support.server import Received, ScriptedServer, cut, error, hang, reply

REFUSAL: Final = error(400, "invalid_request_error", "validation_error")
GUARD: Final = 5.0
"""Seconds of real time after which a call that hangs fails its test."""

Cancel: TypeAlias = Callable[[Awaitable[object], int], Awaitable[bool]]


async def cancel_task(call: Awaitable[object], turns: int) -> bool:
    """Cancel the call's task once, after a number of turns of the loop; return False if it was over before."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    over = task.done()
    task.cancel()
    await asyncio.wait([task], timeout=GUARD)
    assert task.done()
    assert task.cancelled() or task.exception() is None or isinstance(task.exception(), errors.BardgeError)
    return not over


async def cancel_scope(call: Awaitable[object], turns: int) -> bool:
    """Cancel a scope around the call, which cancels every await that it still makes."""
    ended = False

    async def run_call() -> None:
        nonlocal ended
        with suppress(errors.BardgeError):
            await call
        ended = True

    over = False
    async with anyio.create_task_group() as group:
        group.start_soon(run_call)
        for _ in range(turns):
            await asyncio.sleep(0)
        over = ended
        group.cancel_scope.cancel()
    return not over


@attrs.define
class Bank:
    """A server that keeps the page's rule: a key's first request charges, those of the next 90 s get its answer.

    ``faults`` are applied to a key's first requests: ``cut before`` or ``cut after`` the charge, ``429``, ``400``,
    ``401``; later requests are answered.
    """

    clock: ManualClock
    faults: Sequence[str] = ()
    seen: Counter[str] = attrs.field(factory=Counter[str])
    charges: Counter[str] = attrs.field(factory=Counter[str])
    answered: set[str] = attrs.field(factory=set[str])
    _charged_at: dict[str, float] = attrs.field(factory=dict[str, float])

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        key = request.headers["idempotency-key"]
        number = self.seen[key]
        self.seen[key] += 1
        fault = self.faults[number] if number < len(self.faults) else ""
        if fault in {"", "cut after"}:
            self._charge(key)
        steps = {
            "cut before": cut(),
            "cut after": cut(),
            "429": error(429, Retry_After="1"),
            "400": REFUSAL,
            "401": error(401, "authentication_error", "invalid_api_key"),
            "": reply(201, {"balance": 5}),
        }
        if not fault:
            self.answered.add(key)
        await steps[fault](request, writer)

    def _charge(self, key: str) -> None:
        if key not in self._charged_at or self.clock.elapsed() - self._charged_at[key] >= 90:
            self.charges[key] += 1
            self._charged_at[key] = self.clock.elapsed()


def make_rotating_key() -> Callable[[], Awaitable[str]]:
    """Make a source of API keys: each call takes a turn of the loop, and returns another key."""
    numbers = itertools.count()

    async def get_key() -> str:
        await asyncio.sleep(0)
        return f"key-{next(numbers)}"

    return get_key


@attrs.frozen
class Scene:
    """A bank, a clock and a journal; ``client`` makes a client with one connection."""

    server: ScriptedServer
    bank: Bank
    clock: ManualClock
    journal: MemoryJournal

    def make_client(self) -> BardgeClient:
        return BardgeClient(
            make_rotating_key(),
            self.server.base_url,
            clock=self.clock,
            journal=self.journal,
            retry=RetryPolicy(base=0.25),
            max_connections=1,
        )

    async def read_state(self, key: str) -> EntryState | None:
        """Return the recorded state; a key that is still held fails the test."""
        identity = KeyIdentity(self.server.base_url, "", key)
        async with asyncio.timeout(GUARD):
            record = await self.journal.claim(identity, 1.0, self.clock)
        self.journal.release(identity)
        return None if record is None else record.state

    async def check_invariants(self, key: str) -> None:
        """Check what must be true after a cancellation, wherever it happened."""
        state = await self.read_state(key)
        if self.bank.charges[key]:
            assert state in {EntryState.DONE, EntryState.SENT}
        if state is EntryState.DONE:
            assert key in self.bank.answered
        if not self.bank.seen[key]:
            assert state in {None, EntryState.SENT}


@asynccontextmanager
async def open_scene(faults: Sequence[str]) -> AsyncGenerator[Scene]:
    clock = ManualClock()
    bank = Bank(clock, faults)
    async with ScriptedServer(bank) as server:
        yield Scene(server, bank, clock, MemoryJournal())


async def buy(bardge: BardgeClient, key: str) -> str:
    """Buy under a key; return ``done``, or the name of the error."""
    try:
        await bardge.send("credits.purchase", request=PURCHASE, key=key)
    except errors.BardgeError as found:
        return type(found).__name__
    return "done"


async def drain_server() -> None:
    """Let the server read and handle what is on its way: no client controls a request that it starts late."""
    for _ in range(30):
        await asyncio.sleep(0)


async def await_within_guard(call: Awaitable[Any]) -> Any:
    async with asyncio.timeout(GUARD):
        return await call


async def count_leftovers(server: ScriptedServer) -> tuple[int, list[str]]:
    """Return how many connections are open, and which tasks are left besides the server's, after a pause."""
    await drain_server()
    own = {asyncio.current_task(), *server._tasks}
    tasks = [repr(task) for task in asyncio.all_tasks() if task not in own]
    # asyncio's own, on the server's side.
    return len(server._tasks), [task for task in tasks if "_accept_connection" not in task]


SCENES: Final = {
    "answered": (),
    "cut after the charge": ("cut after",),
    "cut before the charge": ("cut before",),
    "cut twice": ("cut before", "cut after"),
    "429 first": ("429",),
    "401 first": ("401",),
    "refused": ("400",) * 9,
}
MIN_TURNS: Final = 6
"""Turns of the loop that a call takes at least: some 12 with asyncio, 8 or more with uvloop."""
scenes = pytest.mark.parametrize("faults", SCENES.values(), ids=SCENES)
ways = pytest.mark.parametrize("cancel", [cancel_task, cancel_scope])


async def cancel_at_every_turn(it: Scene, cancel: Cancel, then: Callable[[BardgeClient, str], Awaitable[None]]) -> int:
    """Cancel a POST after no turn, one turn, two…, until one completes; return how many were cancelled."""
    for turns in range(400):
        key = f"order-{turns}"
        async with it.make_client() as bardge:
            cancelled = await cancel(buy(bardge, key), turns)
            await it.check_invariants(key)
            await then(bardge, key)
            assert await await_within_guard(buy(bardge, f"next-{turns}")) in {"done", "InvalidRequestError"}
        if not cancelled:
            return turns
    raise AssertionError("the call never ended")


@scenes
@ways
async def test_entered_again_inside(faults: Sequence[str], cancel: Cancel) -> None:
    """Entered again within its window a cancelled POST is completed: charged once, wherever it was cancelled."""
    async with open_scene(faults) as it:

        async def enter_again(bardge: BardgeClient, key: str) -> None:
            assert await await_within_guard(buy(bardge, key)) == ("InvalidRequestError" if "400" in faults else "done")
            assert it.bank.charges[key] == ("400" not in faults)

        assert await cancel_at_every_turn(it, cancel, enter_again) > MIN_TURNS


@scenes
@ways
async def test_entered_again_past(faults: Sequence[str], cancel: Cancel) -> None:
    """Entered again past its window it is done, in doubt, or sent for the first time: never charged twice."""
    async with open_scene(faults) as it:

        async def enter_again(bardge: BardgeClient, key: str) -> None:
            await drain_server()
            charged = it.bank.charges[key]
            it.clock.advance(100)
            found = await await_within_guard(buy(bardge, key))
            assert found in {"done", "OutcomeUnknownError", "InvalidRequestError"}
            assert it.bank.charges[key] <= 1
            if charged:
                assert found == ("done" if key in it.bank.answered and found == "done" else "OutcomeUnknownError")

        assert await cancel_at_every_turn(it, cancel, enter_again) > MIN_TURNS


@pytest.mark.parametrize("faults", [(), ("cut after",), ("429",)], ids=["answered", "cut", "429"])
@ways
async def test_nothing_leaks(faults: Sequence[str], cancel: Cancel) -> None:
    """A cancelled call leaves no connection, no task and no timer, and the client closes immediately."""
    async with open_scene(faults) as it:

        async def check_leaks(bardge: BardgeClient, key: str) -> None:
            connections, tasks = await count_leftovers(it.server)
            assert (connections <= 1, tasks, it.clock.pending_timers) == (True, [], 0)

        await cancel_at_every_turn(it, cancel, check_leaks)


@ways
async def test_waiting_for_the_key(cancel: Cancel) -> None:
    """Cancelled while another task holds the key, a call leaves the queue, and no record."""
    async with open_scene(()) as it, it.make_client() as bardge:
        identity = KeyIdentity(it.server.base_url, "", "order-1")
        await it.journal.claim(identity, 1.0, it.clock)
        for turns in range(10):
            await cancel(buy(bardge, "order-1"), turns)
        it.journal.release(identity)
        assert (await it.read_state("order-1"), it.bank.seen) == (None, Counter())


@ways
async def test_waiting_for_a_connection(cancel: Cancel) -> None:
    """Cancelled while all connections are taken, a call leaves the queue, and no record."""
    reached = anyio.Event()
    async with open_scene(()) as it, it.make_client() as bardge:
        it.server.script = [hang(reached), it.bank]
        first = asyncio.ensure_future(buy(bardge, "order-0"))
        await reached.wait()
        for turns in range(10):
            await cancel(buy(bardge, "order-1"), turns)
            assert await it.read_state("order-1") is None
        first.cancel()
        await asyncio.wait([first])
        assert await await_within_guard(buy(bardge, "order-1")) == "done"


async def test_two_with_one_key() -> None:
    """Of two tasks with one key the first is cancelled, at any turn: the second completes it, charged once."""
    async with open_scene(("cut after",)) as it, it.make_client() as bardge:
        for turns in range(60):
            key = f"order-{turns}"
            first = asyncio.ensure_future(buy(bardge, key))
            second = asyncio.ensure_future(buy(bardge, key))
            for _ in range(turns):
                await asyncio.sleep(0)
            first.cancel()
            assert await await_within_guard(second) == "done"
            await asyncio.wait([first])
            assert it.bank.charges[key] == 1


async def test_note() -> None:
    """A POST cancelled after it was sent adds its endpoint and key to the cancellation."""
    reached = anyio.Event()
    async with open_scene(()) as it, it.make_client() as bardge:
        it.server.script = [hang(reached)]
        task = asyncio.ensure_future(buy(bardge, "order-1"))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    (note,) = caught.value.__notes__
    assert "credits.purchase" in note
    assert "order-1" in note


async def test_no_note_where_nothing_was_sent() -> None:
    """A POST that was cancelled before has no note."""
    async with open_scene(()) as it, it.make_client() as bardge:
        identity = KeyIdentity(it.server.base_url, "", "order-1")
        await it.journal.claim(identity, 1.0, it.clock)
        task = asyncio.ensure_future(buy(bardge, "order-1"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        it.journal.release(identity)
    assert not hasattr(caught.value, "__notes__")


async def test_fail_after_around_a_call() -> None:
    """``anyio.fail_after`` around a call ends it, and its key is in doubt."""
    async with open_scene(()) as it, it.make_client() as bardge:
        it.server.script = [hang()]
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.05):
                await buy(bardge, "order-1")
        assert await it.read_state("order-1") is EntryState.SENT


# Against the sandbox, with its own idempotency store and ledger.


@attrs.define
class Shop:
    """The sandbox and clients of it, on clocks that advance together."""

    sandbox: Sandbox
    clock: ManualClock
    journal: MemoryJournal

    def make_client(self) -> BardgeClient:
        return BardgeClient(
            self.sandbox.api_key, self.sandbox.base_url, clock=self.clock, journal=self.journal, max_connections=1
        )

    def count_charges(self, key: str) -> int:
        return sum(entry.idempotency_key == key for entry in self.sandbox.ledger(PURCHASE.client_id))


@asynccontextmanager
async def open_shop() -> AsyncGenerator[Shop]:
    async with Sandbox() as sandbox:
        yield Shop(sandbox, ManualClock(), MemoryJournal())


@ways
@pytest.mark.parametrize("later", [0.0, 100.0])
@pytest.mark.parametrize("fault", [None, "cut_after", "cut_before"])
async def test_sandbox(cancel: Cancel, later: float, fault: str | None) -> None:
    """Against the sandbox: cancelled after any turn and entered again, a purchase is in the ledger at most once."""
    found = Counter[str]()
    async with open_shop() as it:
        for turns in range(0, 400, 1 if later else 2):
            key = f"order-{turns}"
            if fault is not None:
                getattr(it.sandbox, fault)("credits.purchase")
            async with it.make_client() as bardge:
                cancelled = await cancel(buy(bardge, key), turns)
                it.sandbox.faults.clear()
                await drain_server()
                it.clock.advance(later)
                it.sandbox.clock.advance(later)
                found[await await_within_guard(buy(bardge, key))] += 1
            assert it.count_charges(key) <= 1
            if not later:
                assert it.count_charges(key) == 1
            if not cancelled:
                break
    assert found.keys() <= {"done", "OutcomeUnknownError"}
    assert found["done"] >= 1
    assert json.dumps(found)
