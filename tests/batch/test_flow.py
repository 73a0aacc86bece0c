"""How a batch takes operations, delivers outcomes, and ends."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any, cast

import anyio
import pytest

from bardge_async import (
    BardgeClient,
    Batch,
    EntryState,
    KeyIdentity,
    Operation,
    OperationOutcome,
    OperationStatus,
    RetryPolicy,
    errors,
)
from bardge_async.sandbox import Sandbox
from bardge_async.testing import ManualClock
from tests.batch.operations import (
    Taken,
    collect_into,
    collect_outcomes,
    collect_statuses,
    make_purchase,
    make_purchases,
)
from tests.journal.place import fail_to_buy
from tests.support.clock import PausedClock
from tests.support.loop import run_loop_until
from tests.support.rig import Rig, advance_then, open_rig
from tests.support.server import Received, ScriptedServer, Step, cut, error, hang, reply


async def test_back_pressure() -> None:
    """While the caller takes no outcomes, at most twice as many operations are taken as run concurrently."""
    async with open_rig(reply()) as it:
        source = Taken(make_purchases(100))
        async with it.bardge.batch(source, job="j", concurrency=4) as batch:
            found = aiter(batch)
            await anext(found)
            await run_loop_until(lambda: it.request_count == 9 and not batch.pace.in_flight)
            assert source.count == 9
            await found.aclose()


async def test_concurrency() -> None:
    """As many operations run concurrently as requested, and no more."""
    together: list[int] = []
    under_way = 0
    full = anyio.Event()

    async def handle_request(request: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way
        under_way += 1
        together.append(under_way)
        if under_way == 3:
            full.set()
        await full.wait()
        under_way -= 1
        await reply()(request, writer)

    async with open_rig(handle_request) as it:
        await collect_outcomes(it.bardge.batch(make_purchases(30), job="j", concurrency=3))
    assert max(together) == 3


async def test_no_more_than_connections() -> None:
    """Never more operations run than the client has connections, so that none waits for one in vain."""
    async with open_rig(reply(), max_connections=2) as it:
        batch = it.bardge.batch(make_purchases(10), job="j", concurrency=50)
        async for _ in batch:
            assert batch.pace.limit <= 2


async def test_ordered() -> None:
    """Ordered outcomes come in the order of the operations, whichever finishes first."""
    held = anyio.Event()

    async def answer_slowly(request: Any, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        await reply()(request, writer)

    async def answer_quickly(request: Any, writer: asyncio.StreamWriter) -> None:
        held.set()
        await reply()(request, writer)

    async with open_rig(answer_slowly, answer_quickly) as it:
        found = await collect_outcomes(it.bardge.batch(make_purchases(40), job="j", concurrency=8, ordered=True))
    assert [outcome.operation.id for outcome in found] == [f"order-{number}" for number in range(40)]


async def test_as_they_finish() -> None:
    """Unordered outcomes come as they finish, whatever started earlier."""
    held = anyio.Event()

    async def answer_slowly(request: Any, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        await reply()(request, writer)

    async with open_rig(answer_slowly, reply()) as it:
        ids: list[str] = []
        async for outcome in it.bardge.batch(make_purchases(3), job="j", concurrency=2):
            ids.append(outcome.operation.id)
            if len(ids) == 2:
                held.set()
    assert ids[2] == "order-0"


async def test_async_source() -> None:
    """Operations may come from an async iterable, which one worker at a time reads."""

    async def yield_operations() -> AsyncGenerator[Operation[Any, Any]]:
        for number in range(20):
            await asyncio.sleep(0)
            yield make_purchase(number)

    async with open_rig(reply()) as it:
        assert await collect_statuses(it.bardge.batch(yield_operations(), job="j")) == ["done"] * 20


async def test_nothing_to_do() -> None:
    """An empty batch ends immediately."""
    async with open_rig(reply()) as it:
        assert await collect_statuses(it.bardge.batch([], job="j")) == []


async def read_state(it: Rig, outcome_or_key: str) -> EntryState | None:
    """Read the state of a key in the journal."""
    journal = it.bardge._caller.settings.journal
    identity = KeyIdentity(it.server.base_url, "", outcome_or_key)
    record = await journal.claim(identity, 0.0, it.clock)
    journal.release(identity)
    return None if record is None else record.state


async def read_recorded_states(it: Rig) -> set[EntryState | None]:
    """Read the states of all keys that the server received."""
    return {await read_state(it, key or "") for key in it.keys}


async def test_left_early() -> None:
    """Leaving the loop starts no further operations; those in flight are recorded by the time the batch is closed."""
    async with open_rig(reply()) as it:
        source = Taken(make_purchases(1000))
        async with it.bardge.batch(source, job="j", concurrency=4) as batch:
            async for _ in batch:
                break
        assert source.count <= 9
        assert (it.request_count, await read_recorded_states(it)) == (source.count, {EntryState.DONE})


async def test_left_early_and_client_closed() -> None:
    """Abandoning the loop starts no further operations either; closing the client waits for those in flight."""
    reached, go = anyio.Event(), anyio.Event()

    async def answer_slowly(request: Any, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await go.wait()
        await reply()(request, writer)

    async with open_rig(reply(), answer_slowly) as it:
        source = Taken(make_purchases(1000))
        async for _ in it.bardge.batch(source, job="j", concurrency=2):
            break
        await reached.wait()
        count = source.count
        go.set()
        await it.bardge.aclose()
        assert (source.count, await read_recorded_states(it)) == (count, {EntryState.DONE})


async def test_cancelled() -> None:
    """A cancelled consumer starts no further operations; those in flight run to completion and are recorded."""
    reached, go = anyio.Event(), anyio.Event()

    async def answer_slowly(request: Any, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await go.wait()
        await reply()(request, writer)

    async with open_rig(answer_slowly) as it:
        source = Taken(make_purchases(1000))
        batch = it.bardge.batch(source, job="j", concurrency=3)
        consumer = asyncio.create_task(collect_outcomes(batch))
        await reached.wait()
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        count = source.count
        go.set()
        await batch.aclose()
        assert (source.count, it.request_count, await read_recorded_states(it)) == (count, count, {EntryState.DONE})


async def test_stopped() -> None:
    """Stopping starts no further operations, delivers those in flight and ends the iteration."""
    async with open_rig(reply()) as it:
        source = Taken(make_purchases(1000))
        batch = it.bardge.batch(source, job="j", concurrency=4)
        found = 0
        async for _ in batch:
            found += 1
            batch.stop()
        assert found == source.count == it.request_count <= 9


async def test_stopped_before() -> None:
    """A batch that was stopped before its iteration starts nothing."""
    async with open_rig(reply()) as it:
        batch = it.bardge.batch(make_purchases(5), job="j")
        batch.stop()
        assert (await collect_statuses(batch), it.request_count) == ([], 0)


async def test_stopped_while_the_source_waits() -> None:
    """A stop does not wait for a source that has nothing to give."""

    async def yield_operations() -> AsyncGenerator[Operation[Any, Any]]:
        yield make_purchase(1)
        await asyncio.Event().wait()

    async with open_rig(reply()) as it:
        batch = it.bardge.batch(yield_operations(), job="j")
        async for outcome in batch:
            assert outcome.status is OperationStatus.DONE
            batch.stop()


async def test_stopped_in_doubt() -> None:
    """After a stop an unanswered operation is not retried: its outcome is in doubt."""
    async with AsyncExitStack() as stack:
        batches: list[Batch] = []

        async def stop_and_cut(request: Any, writer: asyncio.StreamWriter) -> None:
            batches[0].stop()
            await cut()(request, writer)

        it = await stack.enter_async_context(open_rig(stop_and_cut, reply(), retry=RetryPolicy(max_attempts=1)))
        batches.append(it.bardge.batch(make_purchases(1), job="j"))
        assert (await collect_statuses(batches[0]), it.request_count) == (["in_doubt"], 1)


async def test_first_wait_before_a_repeat() -> None:
    """An operation whose call ended in doubt is repeated after the policy's first backoff, at most ``base`` seconds."""
    seen = set[str]()

    async def cut_first(request: Received, writer: asyncio.StreamWriter) -> None:
        key = request.headers["idempotency-key"]
        step = reply() if key in seen else cut()
        seen.add(key)
        await step(request, writer)

    async with open_rig(cut_first, retry=RetryPolicy(max_attempts=1, base=1)) as it:
        batch = it.bardge.batch(make_purchases(30), job="j", concurrency=1)
        assert await collect_statuses(batch) == ["done"] * 30
        assert len(it.clock.sleeps) == 30
        assert max(it.clock.sleeps) <= 1


async def test_stopped_recovers_no_more() -> None:
    """After a stop no doubt is sent again, however long the operations in flight take."""
    reached, answered = asyncio.Event(), asyncio.Event()

    async def answer_late(request: Received, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await answered.wait()
        await reply()(request, writer)

    async with open_rig(cut(), cut(), answer_late, reply(), retry=RetryPolicy(max_attempts=1)) as it:
        await fail_to_buy(it.bardge)
        batch = it.bardge.batch(make_purchases(1), job="j")
        found = asyncio.ensure_future(collect_statuses(batch))
        await reached.wait()
        batch.stop()
        it.clock.advance(6)
        answered.set()
        assert (await found, it.request_count) == (["done"], 3)


async def test_run_again_goes_on() -> None:
    """Running the same batch again does only what is not done."""
    async with Sandbox() as sandbox, BardgeClient(sandbox.api_key, sandbox.base_url) as bardge:
        async with bardge.batch(make_purchases(50), job="j", concurrency=4) as batch:
            async for _ in batch:
                if batch.counts[OperationStatus.DONE] == 10:
                    break
        await collect_outcomes(bardge.batch(make_purchases(50), job="j"))
        charged = [entry.idempotency_key for entry in sandbox.ledger("client_abc123") if entry.idempotency_key]
        assert len(charged) == len(set(charged)) == 50


async def test_failing_source() -> None:
    """An exception of the source is raised by the loop, after the outcomes of all operations taken before it."""

    def yield_operations() -> Any:
        yield from make_purchases(5)
        raise KeyError("row 6")

    async with open_rig(reply()) as it:
        found: list[OperationOutcome[Any]] = []
        with pytest.raises(KeyError, match="row 6"):
            await collect_into(found, it.bardge.batch(yield_operations(), job="j"))
        assert sorted(outcome.operation.id for outcome in found) == [f"order-{number}" for number in range(5)]


async def test_cancelled_source() -> None:
    """A source that raises CancelledError has not reached its end: the loop raises it."""

    async def yield_operations() -> AsyncGenerator[Operation[Any, Any]]:
        yield make_purchase(1)
        raise asyncio.CancelledError

    async with open_rig(reply()) as it:
        found: list[OperationOutcome[Any]] = []
        with pytest.raises(asyncio.CancelledError):
            await collect_into(found, it.bardge.batch(yield_operations(), job="j"))
        assert [outcome.status for outcome in found] == [OperationStatus.DONE]


async def test_batch_fed_by_another_one() -> None:
    """A batch may take its operations from another batch's outcomes, even if only one request may run."""
    async with open_rig(reply()) as it:

        async def yield_operations() -> AsyncGenerator[Operation[Any, Any]]:
            async for outcome in it.bardge.batch(make_purchases(5), job="first", concurrency=1):
                yield outcome.operation

        async with asyncio.timeout(10):
            assert (
                await collect_statuses(it.bardge.batch(yield_operations(), job="second", concurrency=1)) == ["done"] * 5
            )


async def test_foreign_things_in_the_source() -> None:
    """An item that is not an operation ends the batch with an error that names it."""
    async with open_rig(reply()) as it:
        with pytest.raises(errors.InvalidArgumentError, match="expected Operation"):
            await collect_outcomes(it.bardge.batch(cast("Any", ["order-1"]), job="j"))


FATAL: dict[str, tuple[Step, type[errors.BardgeError]]] = {
    "wrong key": (error(401, "authentication_error", "invalid_api_key"), errors.AuthenticationError),
    "disabled account": (error(403, "permission_error", "account_disabled"), errors.PermissionDeniedError),
}


@pytest.mark.parametrize("case", FATAL)
async def test_stops_all(case: str) -> None:
    """A wrong key or a disabled account ends the batch with its error, after the outcomes known so far."""
    step, kind = FATAL[case]
    async with open_rig(step) as it:
        source = Taken(make_purchases(1000))
        found: list[OperationOutcome[Any]] = []
        with pytest.raises(kind):
            await collect_into(found, it.bardge.batch(source, job="j", concurrency=4))
        assert source.count <= 8
        assert [outcome.status for outcome in found] == [OperationStatus.FAILED] * source.count


async def test_wrong_key_after_a_doubt() -> None:
    """A wrong key ends the whole batch even if it leaves an operation in doubt."""
    steps = (cut(), error(401, "authentication_error", "invalid_api_key"))
    async with open_rig(*steps) as it:
        found: list[OperationOutcome[Any]] = []
        with pytest.raises(errors.OutcomeUnknownError):
            await collect_into(found, it.bardge.batch(make_purchases(10), job="j", concurrency=1))
        assert [outcome.status for outcome in found] == [OperationStatus.IN_DOUBT]


async def test_client_closed() -> None:
    """A batch ends when its client is closed, instead of failing each remaining operation."""
    async with open_rig(reply()) as it:
        source = Taken(make_purchases(1000))
        found = aiter(it.bardge.batch(source, job="j", concurrency=2))
        await anext(found)
        await it.bardge.aclose()
        with pytest.raises(errors.NotSentError, match="the client is closed"):
            [_ async for _ in found]
        assert source.count <= 8


async def test_iterated_once() -> None:
    """A batch is iterated once."""
    async with open_rig(reply()) as it:
        batch = it.bardge.batch(make_purchases(1), job="j")
        await collect_outcomes(batch)
        with pytest.raises(errors.InvalidArgumentError, match="iterated once only"):
            await collect_outcomes(batch)


BAD: list[tuple[str, dict[str, Any]]] = [
    ("job", {"job": ""}),
    ("job", {"job": 7}),
    ("concurrency", {"concurrency": 0}),
    ("concurrency", {"concurrency": 1.5}),
    ("rate", {"rate": 0}),
    ("rate", {"rate": float("inf")}),
    ("rate", {"rate": True}),
    ("operations", {"operations": "order-1"}),
    ("operations", {"operations": 7}),
]


@pytest.mark.parametrize(("named", "given"), BAD)
async def test_bad_arguments(named: str, given: dict[str, Any]) -> None:
    """A wrong argument is rejected immediately, by name."""
    arguments: dict[str, Any] = {"operations": [], "job": "j", **given}
    async with open_rig(reply()) as it:
        with pytest.raises(errors.ConfigurationError, match=f"^{named}: "):
            it.bardge.batch(**arguments)


async def test_doubts_first() -> None:
    """Operations that an earlier run left in doubt are retried before anything new is sent."""
    async with open_rig(cut(), reply(), retry=RetryPolicy(max_attempts=1)) as it:
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.send("credits.purchase", request=make_purchase(1).request, key="earlier")
        await collect_outcomes(it.bardge.batch(make_purchases(3), job="j"))
        assert it.keys[:2] == ["earlier", "earlier"]


async def test_doubts_every_five_seconds() -> None:
    """Doubts that arise during a run are retried every 5 seconds."""
    clock = PausedClock()
    reached, go = anyio.Event(), anyio.Event()

    async def answer_slowly(request: Any, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await go.wait()
        await reply()(request, writer)

    async with open_rig(answer_slowly, cut(), reply(), clock=clock, retry=RetryPolicy(max_attempts=1)) as it:
        consumer = asyncio.create_task(collect_outcomes(it.bardge.batch(make_purchases(1), job="j")))
        await reached.wait()
        with pytest.raises(errors.OutcomeUnknownError):
            await it.bardge.send("credits.purchase", request=make_purchase(1).request, key="other")
        clock.advance(4.9)
        await asyncio.sleep(0.01)
        before = it.request_count
        clock.advance(0.2)
        await run_loop_until(lambda: it.request_count == 3)
        go.set()
        await consumer
        assert (before, it.keys[2:], await read_state(it, "other")) == (2, ["other"], EntryState.DONE)


async def test_delivered_is_let_go() -> None:
    """Delivered operations are released: memory stays constant whatever the length."""
    alive: weakref.WeakSet[Operation[Any, Any]] = weakref.WeakSet()

    def yield_operations() -> Any:
        for number in range(500):
            operation = make_purchase(number)
            alive.add(operation)
            yield operation

    most = 0
    async with open_rig(reply()) as it:
        async for _ in it.bardge.batch(yield_operations(), job="j", concurrency=4):
            gc.collect(0)
            most = max(most, len(alive))
    assert most <= 12


async def test_late_answer_ends_in_time() -> None:
    """An operation that the server answers in time is done, however many are queued after it."""
    clock = ManualClock()
    async with open_rig(advance_then(clock, 19, reply()), reply(), clock=clock) as it:
        assert await collect_statuses(it.bardge.batch(make_purchases(5), job="j", concurrency=1)) == ["done"] * 5


async def test_loop_shut_down() -> None:
    """A batch whose event loop is shut down ends with it, and what was sent is recorded."""
    server = ScriptedServer(hang())
    async with server:
        bardge = BardgeClient("key", server.base_url)
        consumer = asyncio.create_task(collect_outcomes(bardge.batch(make_purchases(2), job="j")))
        await run_loop_until(lambda: len(server.requests) == 2)
        for task in asyncio.all_tasks() - {asyncio.current_task()} - server._tasks:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        doubts = await bardge.in_doubt()
        await bardge.aclose()
        assert len(doubts) == 2
