"""Scenarios for the lines of "What happens when…" that need a journal on disk."""

from __future__ import annotations

import asyncio
import multiprocessing
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import anyio

from bardge_async import BardgeClient, RetryPolicy, SQLiteJournal, errors
from bardge_async import models as m
from tests.support.calls import buy, catch_error
from tests.support.rig import PURCHASE, Rig, open_rig
from tests.support.server import hang, reply

BOUGHT = reply(201, {"balance": 5})
REPLAYED = reply(201, {"balance": 5}, {"X-Idempotent-Replayed": "true"})
ONE = RetryPolicy(max_attempts=1, base=0)


@asynccontextmanager
async def run_process(it: Rig, folder: str, **options: Any) -> AsyncGenerator[BardgeClient]:
    """Open a client with the journal of a folder, as one process has it."""
    options = {"retry": ONE, "clock": it.clock, **options}
    with SQLiteJournal(Path(folder) / "journal.db") as journal:
        async with BardgeClient("key", it.server.base_url, journal=journal, **options) as bardge:
            yield bardge


def buy_until_killed(it: Rig, folder: str) -> None:
    """Buy in a process of its own, to be killed."""

    async def main() -> None:
        async with run_process(it, folder) as bardge:
            await buy(bardge)

    asyncio.run(main())


async def kill_in_flight(it: Rig, folder: str, reached: anyio.Event) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        victim = multiprocessing.get_context("fork").Process(target=buy_until_killed, args=(it, folder))
        victim.start()
    await reached.wait()
    victim.kill()
    await asyncio.to_thread(victim.join)


async def play_killed_and_recovered() -> None:
    reached = anyio.Event()
    async with open_rig(hang(reached), REPLAYED) as it:
        with TemporaryDirectory() as folder:
            await kill_in_flight(it, folder, reached)
            it.clock.advance(70)
            async with run_process(it, folder) as bardge:
                [one] = await bardge.recover()
                assert one.response is not None
                assert (one.response.value.balance, one.response.replayed) == (5, "server")
                assert (await buy(bardge)).replayed == "journal"
    assert it.keys == ["order-1", "order-1"]
    assert it.server.requests[0].body == it.server.requests[1].body


async def play_restarted_too_late() -> None:
    reached = anyio.Event()
    async with open_rig(hang(reached), BOUGHT) as it:
        with TemporaryDirectory() as folder:
            await kill_in_flight(it, folder, reached)
            it.clock.advance(85)
            async with run_process(it, folder) as bardge:
                assert await bardge.recover() == []
                assert isinstance(await catch_error(buy(bardge)), errors.OutcomeUnknownError)
                assert [doubt.idempotency_key for doubt in await bardge.in_doubt()] == ["order-1"]
                await bardge.resolve("order-1", never_happened=True)
                assert it.request_count == 1
                await buy(bardge)
                assert await bardge.in_doubt() == []


async def play_redelivered() -> None:
    async with open_rig(BOUGHT) as it:
        with TemporaryDirectory() as folder:
            async with run_process(it, folder) as first, run_process(it, folder) as second:
                answers = await asyncio.gather(buy(first), buy(second))
    assert {answer.replayed for answer in answers} == {None, "journal"}
    assert ([answer.value.balance for answer in answers], it.request_count) == ([5, 5], 1)


async def fill_disk(journal: SQLiteJournal) -> None:
    """Prevent the file from growing."""
    await journal._writer.run(lambda found: found.execute("PRAGMA max_page_count = 1"), writes=False)


async def play_full_before() -> None:
    async with open_rig(BOUGHT) as it:
        with TemporaryDirectory() as folder, SQLiteJournal(Path(folder) / "journal.db") as journal:
            async with BardgeClient("key", it.server.base_url, journal=journal, clock=it.clock) as bardge:
                await fill_disk(journal)
                large = m.PurchaseCredits(client_id="c" * 50_000, package_id="p")
                found = await catch_error(buy(bardge, request=large))
    assert (type(found), found.sent, it.request_count) == (errors.JournalError, False, 0)


async def play_full_after() -> None:
    large = reply(201, {"balance": 5, "note": "x" * 50_000})
    async with open_rig(large) as it:
        with TemporaryDirectory() as folder, SQLiteJournal(Path(folder) / "journal.db") as journal:
            async with BardgeClient("key", it.server.base_url, journal=journal, clock=it.clock) as bardge:
                await fill_disk(journal)
                async with bardge.idempotent("order-1") as once:
                    assert (await once.credits.purchase(PURCHASE)).balance == 5
                assert not once.recorded
                assert [doubt.idempotency_key for doubt in await bardge.in_doubt()] == ["order-1"]


DURABLE: Final[dict[str, Callable[[], Awaitable[None]]]] = {
    "process killed, started again": play_killed_and_recovered,
    "restarted, window over": play_restarted_too_late,
    "task redelivered to another process": play_redelivered,
    "disk full before sending": play_full_before,
    "disk full after the answer": play_full_after,
}
