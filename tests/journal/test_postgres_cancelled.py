"""Calls that are cancelled while the database is away: they end soon, and the journal finishes what they knew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import attrs
import pytest

from bardge_async import BardgeClient, EntryState, PostgresJournal, errors
from bardge_async.testing import ManualClock
from tests.journal.elsewhere import read_states
from tests.journal.factories import KEY
from tests.journal.place import buy
from tests.journal.test_postgres_server import Wire, proxy_connections
from tests.support.clock import PausedClock
from tests.support.net import call_back_then
from tests.support.postgres import Database, run_server
from tests.support.server import Received, ScriptedServer, error, reply


@attrs.frozen
class Outage:
    """A call that is answered when the database has fallen silent, and the parts around it."""

    journal: PostgresJournal
    clock: PausedClock
    wire: Wire
    buying: asyncio.Task[object]

    async def cancel_call(self) -> None:
        """Cancel the call, and let it wait as long as it will."""
        self.buying.cancel()
        while not self.buying.done():
            self.clock.advance(0.25)
            await asyncio.sleep(0)

    async def bring_back(self) -> None:
        """Let the database answer again, and the journal notice."""
        self.wire.silent = False
        self.clock.advance(10)
        await asyncio.sleep(0)

    async def advance_until(self, task: asyncio.Task[object]) -> None:
        while not task.done():
            self.clock.advance(0.25)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def fall_silent(database: Database, answer: object = None) -> AsyncGenerator[Outage]:
    """Buy; the database falls silent before the answer, which the journal is trying to record."""
    database.clear()
    clock = PausedClock()
    async with proxy_connections(database.server.port) as wire, ScriptedServer() as api:

        async def fall_silent_then(received: Received, writer: asyncio.StreamWriter) -> None:
            wire.silent = True
            step = reply(201, {"balance": 5}) if answer is None else error(400, "invalid_request_error")
            await step(received, writer)

        api.script.append(fall_silent_then)
        journal = PostgresJournal(f"postgresql://bardge@127.0.0.1:{wire.port}/postgres", clock=clock)
        async with journal, BardgeClient("key", api.base_url, journal=journal, clock=clock) as bardge:
            buying: asyncio.Task[object] = asyncio.create_task(buy(bardge))
            await wire.swallowed.wait()
            it = Outage(journal, clock, wire, buying)
            yield it
            wire.silent = False
            await it.advance_until(asyncio.create_task(journal.aclose()))


async def test_ends_soon(postgres: Database) -> None:
    """A call that is cancelled while its outcome cannot be recorded ends within 2 s."""
    async with fall_silent(postgres) as it:
        started_at = it.clock.elapsed()
        await it.cancel_call()
        assert it.buying.cancelled()
        assert it.clock.elapsed() - started_at <= 2


async def test_is_written_later(postgres: Database) -> None:
    """The outcome is recorded as soon as the database is back, by the journal itself."""
    async with fall_silent(postgres) as it:
        await it.cancel_call()
        assert read_states(postgres) == {"order-1": EntryState.SENT}
        await it.bring_back()
        async with asyncio.timeout(20):
            while read_states(postgres) != {"order-1": EntryState.DONE}:
                it.clock.advance(0.25)
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("answer", [None, "refused"])
async def test_the_doubt_is_logged(postgres: Database, caplog: pytest.LogCaptureFixture, answer: object) -> None:
    """The log names the key whose outcome is not recorded yet; the cancellation does not claim that it is."""
    async with fall_silent(postgres, answer) as it:
        await it.cancel_call()
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("before the outcome of key order-1 was recorded" in text for text in told)
    assert not any("its outcome is recorded" in text for text in told)


async def test_key_stays_held(postgres: Database) -> None:
    """The key is held until the outcome is written: nobody in this process meets it in doubt meanwhile."""
    async with fall_silent(postgres) as it:
        await it.cancel_call()
        [(base_url,)] = postgres.admin.execute(b"SELECT base_url FROM bardge.entries").fetchall()
        identity = KEY._replace(base_url=base_url)
        with pytest.raises(errors.KeyInUseError):
            await it.journal.claim(identity, 0, ManualClock())
        claiming: asyncio.Task[object] = asyncio.create_task(it.journal.claim(identity, 1000, PausedClock()))
        await it.bring_back()
        async with asyncio.timeout(20):
            await it.advance_until(claiming)
        found = claiming.result()
        assert getattr(found, "state", None) is EntryState.DONE


async def test_closing_is_bounded(postgres: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Closing the journal waits 5 s for the outcome, and logs that it is not recorded."""
    async with fall_silent(postgres) as it:
        await it.cancel_call()
        closing: asyncio.Task[object] = asyncio.create_task(it.journal.aclose())
        await asyncio.sleep(0.1)
        assert not closing.done()
        it.clock.advance(5)
        # By the real clock: the driver asks a silent server for 5 s to cancel a statement.
        async with asyncio.timeout(4):
            await closing
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert any("the outcome of key order-1 was not recorded" in text for text in told)


async def test_closing_waits_for_it() -> None:
    """``anyio.fail_after`` ends a call whose database died under it; closing waits for a database that comes back."""
    with run_server() as server:
        journal = PostgresJournal(server.dsn)
        async with journal, ScriptedServer() as api, BardgeClient("key", api.base_url, journal=journal) as bardge:
            api.script = [call_back_then(server.kill, reply(201, {"balance": 5}))]
            started_at = anyio.current_time()
            with pytest.raises(TimeoutError), anyio.fail_after(1):
                await buy(bardge)
            assert anyio.current_time() - started_at < 3
            closing = asyncio.create_task(journal.aclose())
            await asyncio.sleep(0)
            await asyncio.to_thread(server.start)
            await closing
        with server.admin() as admin:
            assert admin.execute(b"SELECT state FROM bardge.entries").fetchall() == [("done",)]
