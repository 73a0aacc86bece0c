"""A disk that is full, locked or slow; waits that are cut short; the cost of a commit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from bardge_async import BardgeClient, EntryState, SQLiteJournal, errors
from bardge_async.testing import ManualClock
from tests.journal.factories import make_done, make_identity, make_sent
from tests.journal.place import buy
from tests.support.loop import run_loop, run_loop_until
from tests.support.rig import AT_ONCE, PURCHASE
from tests.support.server import Received, ScriptedServer, Step, reply

BOUGHT = reply(201, {"object": "credit_purchase", "balance": 5})


@contextmanager
def lock_file(path: Path) -> Generator[sqlite3.Connection]:
    """Block every writer of a journal, as a slow disk or another program does."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        if other.in_transaction:
            other.execute("ROLLBACK")
        other.close()


async def run_statements(journal: SQLiteJournal, *statements: str) -> None:
    """Run statements on the journal's own connection."""
    for sql in statements:
        await journal._writer.run(_make_statement(sql), writes=False)


def _make_statement(sql: str) -> Callable[[sqlite3.Connection], object]:
    return lambda found: found.execute(sql).fetchall()


class Bench:
    """A scripted server, a client of it and its journal."""

    def __init__(
        self, server: ScriptedServer, bardge: BardgeClient, journal: SQLiteJournal, clock: ManualClock
    ) -> None:
        self.server, self.bardge, self.journal, self.clock = server, bardge, journal, clock

    @property
    def request_count(self) -> int:
        return len(self.server.requests)

    async def read_states(self) -> list[EntryState]:
        return [record.state for record in await self.journal.listed()]


@asynccontextmanager
async def open_bench(folder: Path, *script: Step, patience: float = 60.0, **options: Any) -> AsyncGenerator[Bench]:
    clock = ManualClock()
    with SQLiteJournal(folder / "journal.db", patience=patience) as journal:
        async with ScriptedServer(*(script or (BOUGHT,))) as server:
            options = {"retry": AT_ONCE, "clock": clock, "journal": journal, **options}
            async with BardgeClient("key", server.base_url, **options) as bardge:
                yield Bench(server, bardge, journal, clock)


async def fill_disk(it: Bench) -> None:
    """Prevent the journal's file from growing, once its free pages are used up."""
    await run_statements(it.journal, "PRAGMA max_page_count = 1")


LARGE = reply(201, {"object": "credit_purchase", "balance": 5, "note": "x" * 50_000})


async def test_full_before_the_send(tmp_path: Path) -> None:
    """A full disk before the send: JournalError, nothing is sent, nothing is in doubt."""
    async with open_bench(tmp_path) as it:
        await fill_disk(it)
        done_so_far = 0
        with pytest.raises(errors.JournalError, match="full") as caught:  # noqa: PT012 - which one is not known
            for number in range(200):
                await buy(it.bardge, f"order-{number}")
                done_so_far += 1
        assert (caught.value.sent, caught.value.idempotency_key) == (False, f"order-{done_so_far}")
        assert it.request_count == done_so_far
        assert f"order-{done_so_far}" not in {doubt.idempotency_key for doubt in await it.bardge.in_doubt()}


def fill_disk_then(it: list[Bench], then: Step) -> Step:
    """Fill the disk once the request has arrived, then continue."""

    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        await fill_disk(it[0])
        await then(request, writer)

    return handle_request


def lock_file_then(it: list[Bench], stack: contextlib.ExitStack, then: Step) -> Step:
    async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
        stack.enter_context(lock_file(it[0].journal.path))
        await then(request, writer)

    return handle_request


async def check_not_recorded(it: Bench, caplog: pytest.LogCaptureFixture, unlock: Callable[[], object]) -> None:
    with caplog.at_level(logging.ERROR, "bardge_async"):
        async with it.bardge.idempotent("order-1") as once:
            bought = await once.credits.purchase(PURCHASE)
    assert bought.balance == 5
    assert once.recorded is False
    assert [(record.levelname, "order-1" in record.getMessage()) for record in caplog.records] == [("ERROR", True)]
    unlock()
    assert [doubt.idempotency_key for doubt in await it.bardge.in_doubt()] == ["order-1"]


async def test_full_after_the_send(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk after the response: the response is returned, ``recorded`` is False, an ERROR, the key in doubt."""
    its: list[Bench] = []
    async with open_bench(tmp_path, fill_disk_then(its, LARGE)) as it:
        its.append(it)
        await check_not_recorded(it, caplog, lambda: None)


async def test_locked_before_the_send(tmp_path: Path) -> None:
    """A file that another program locks for too long, before the send: JournalError, nothing is sent."""
    async with open_bench(tmp_path, patience=0.01) as it:
        with lock_file(it.journal.path), pytest.raises(errors.JournalError, match="locked"):
            await buy(it.bardge)
        assert it.request_count == 0
        assert (await buy(it.bardge)).balance == 5


async def test_locked_after_the_send(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is locked when the response arrives: the response is returned, not recorded, in doubt."""
    its: list[Bench] = []
    with contextlib.ExitStack() as stack:
        async with open_bench(tmp_path, lock_file_then(its, stack, BOUGHT), patience=0.01) as it:
            its.append(it)
            await check_not_recorded(it, caplog, stack.close)


async def test_locked_fails_all_at_once(tmp_path: Path) -> None:
    """Many calls that wait for a locked file fail after one wait, not after one each."""
    async with open_bench(tmp_path, patience=0.3) as it:
        started_at = time.monotonic()
        with lock_file(it.journal.path):
            ends = await asyncio.gather(
                *(it.journal.put(make_sent(make_identity(f"order-{number}"))) for number in range(100)),
                return_exceptions=True,
            )
        assert {type(end) for end in ends} == {errors.JournalError}
        assert len({id(end) for end in ends}) == 100
        assert time.monotonic() - started_at < 10


async def test_removed_before_the_send(tmp_path: Path) -> None:
    """A file that was removed while open: JournalError, nothing is sent, no new file."""
    async with open_bench(tmp_path) as it:
        it.journal.path.unlink()
        with pytest.raises(errors.JournalError, match="removed"):
            await buy(it.bardge)
        assert (it.request_count, it.journal.path.exists()) == (0, False)


async def test_slow_disk_does_not_block_the_loop(tmp_path: Path) -> None:
    """While a put waits for the disk the loop is not blocked."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        with lock_file(journal.path):
            waiting = asyncio.ensure_future(journal.put(make_sent()))
            await run_loop(2000)
            assert not waiting.done()
        await waiting
        assert await journal.listed() == [make_sent()]


async def test_deadline_while_the_intent_waits(tmp_path: Path) -> None:
    """The deadline passes while the intent is written, or just before: nothing sent, nothing recorded."""
    async with open_bench(tmp_path) as it:
        with lock_file(it.journal.path):
            call = asyncio.ensure_future(buy(it.bardge))
            await run_loop_until(lambda: it.clock.pending_timers)
            await run_loop()
            it.clock.advance(61)
            await run_loop()
        with pytest.raises(errors.BardgeError, match=r"timed out|too little time") as caught:
            await call
        assert (caught.value.sent, it.request_count) == (False, 0)
        assert await it.read_states() == []


async def test_cancelled_while_the_intent_waits(tmp_path: Path) -> None:
    """A call that is cancelled while its intent is written sends nothing and leaves no record."""
    async with open_bench(tmp_path) as it:
        with lock_file(it.journal.path):
            call = asyncio.ensure_future(buy(it.bardge))
            await run_loop_until(lambda: it.clock.pending_timers)
            call.cancel()
            await run_loop()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (it.request_count, await it.read_states()) == (0, [])
        assert (await buy(it.bardge)).balance == 5


async def test_cancelled_while_the_outcome_waits(tmp_path: Path) -> None:
    """A call that is cancelled while its outcome is written is recorded as done."""
    its: list[Bench] = []
    with contextlib.ExitStack() as stack:
        async with open_bench(tmp_path, lock_file_then(its, stack, BOUGHT)) as it:
            its.append(it)
            call = asyncio.ensure_future(buy(it.bardge))
            await run_loop_until(lambda: it.request_count)
            await asyncio.sleep(0.05)
            call.cancel()
            await run_loop()
            stack.close()
            with pytest.raises(asyncio.CancelledError) as caught:
                await call
            assert "order-1; its outcome is recorded" in caught.value.__notes__[0]
            assert await it.read_states() == [EntryState.DONE]


async def test_waiters_share_commits(tmp_path: Path) -> None:
    """200 concurrent puts take a few commits, and all of them are stored."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        await journal.listed()
        said = list[str]()
        journal._writer._file._connection.set_trace_callback(said.append)  # type: ignore[union-attr]
        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(journal.put, make_sent(make_identity(f"order-{number}")))
        journal._writer._file._connection.set_trace_callback(None)  # type: ignore[union-attr]
        assert len(await journal.listed()) == 200
    assert said.count("COMMIT") <= 5


async def test_one_jobs_fault_is_its_own(tmp_path: Path) -> None:
    """A record that cannot be written fails alone; the others of its commit are stored, and the thread continues."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        bad = make_sent(make_identity("\ud800"))
        ends = await asyncio.gather(
            journal.put(make_sent(make_identity("a"))),
            journal.put(bad),
            journal.put(make_sent(make_identity("b"))),
            return_exceptions=True,
        )
        assert [type(end) for end in ends] == [type(None), errors.JournalError, type(None)]
        assert {record.identity.key for record in await journal.listed()} == {"a", "b"}


async def test_damaged_entry(tmp_path: Path) -> None:
    """An entry whose bytes were changed raises an error on every read, never a wrong response."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        await journal.put(make_done(make_sent()))
        await run_statements(journal, "UPDATE entries SET state = 'refused'")
        with pytest.raises(errors.JournalError, match="damaged"):
            await journal.claim(make_sent().identity, 0, ManualClock())
        # The failed claim holds nothing.
        await run_statements(journal, "UPDATE entries SET state = 'done'")
        assert await journal.claim(make_sent().identity, 0, ManualClock()) == make_done(make_sent())
        journal.release(make_sent().identity)


LIMITED = """
import asyncio, resource, sys
from bardge_async import SQLiteJournal
from bardge_async.errors import JournalError
from tests.journal.factories import make_identity, make_sent

async def main():
    journal = SQLiteJournal(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    kept = 0
    try:
        for kept in range(1000):
            await journal.put(make_sent(make_identity(f"order-{kept}")))
    except JournalError as error:
        print(kept, error)

asyncio.run(main())
"""


async def test_limit_of_the_system(tmp_path: Path) -> None:
    """A write that the system refuses is a JournalError, and earlier records are intact."""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path / "journal.db")]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)  # noqa: ASYNC221
    kept, _, message = run.stdout.partition(" ")
    assert "journal.db: " in message
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        found = {record.identity.key for record in await journal.listed()}
    assert found >= {f"order-{number}" for number in range(int(kept))}
    assert int(kept) > 5
