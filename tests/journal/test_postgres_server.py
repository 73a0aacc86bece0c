"""A server that is killed, cut off, slow to come back or refuses: what is lost, what waits, what is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from bardge_async import BardgeClient, EntryState, PostgresJournal, errors
from tests.journal.elsewhere import Stalled, elsewhere, on_record
from tests.journal.factories import KEY, done, named, sent
from tests.journal.place import buy
from tests.journal.test_protocol import read
from tests.support.clock import ManualClock
from tests.support.net import calling, listener
from tests.support.postgres import Database, Server, server
from tests.support.rig import AT_ONCE
from tests.support.server import ScriptedServer, reply


@pytest.fixture(scope="module")
def durable() -> Iterator[Server]:
    """A server that waits for the disk, to be killed."""
    with server(durable=True) as it:
        yield it


async def started(it: Server) -> None:
    await asyncio.to_thread(it.start)


async def test_killed_server(durable: Server) -> None:
    """What was put is there after the server was killed; what comes while it is away is done when it is back."""
    async with PostgresJournal(durable.dsn, schema="killed") as journal:
        await journal.put(sent())
        durable.kill()
        putting = asyncio.ensure_future(journal.put(sent(named("order-2"))))
        claiming = asyncio.ensure_future(journal.claim(KEY, 1000, ManualClock(auto=False)))
        await asyncio.sleep(0)
        await started(durable)
        await putting
        assert await claiming == sent()
        assert {record.identity.key for record in await journal.listed()} == {"order-1", "order-2"}


async def test_killed_under_a_request(durable: Server) -> None:
    """A server that is killed while a request is under way: its answer is kept once the server is back."""
    journal = PostgresJournal(durable.dsn, schema="under_way")
    async with journal, ScriptedServer() as api, BardgeClient("key", api.base_url, journal=journal) as bardge:
        api.script = [calling(durable.kill, reply(201, {"balance": 5}))]
        starting = asyncio.ensure_future(back(durable, api))
        await buy(bardge)
        await starting
        [record] = await journal.listed()
        assert (record.state, len(api.requests)) == (EntryState.DONE, 1)


async def back(durable: Server, api: ScriptedServer) -> None:
    while not api.requests or durable.process is not None:  # noqa: ASYNC110 - the loop's turns are what is waited for
        await asyncio.sleep(0)
    await started(durable)


async def test_no_server() -> None:
    """Without a server, what waited long enough ends with an error that says what to mend; nothing hangs."""
    async with PostgresJournal("postgresql://nobody@127.0.0.1:1/none", patience=0) as journal:
        with pytest.raises(errors.JournalError, match=r"cannot be reached, start it or check dsn=.*refused"):
            await journal.put(sent())


async def test_no_server_and_little_time() -> None:
    """A claim does not wait longer for a server than its call has time."""
    async with PostgresJournal("postgresql://nobody@127.0.0.1:1/none", clock=ManualClock()) as journal:
        clock = ManualClock(auto=False)
        claiming = asyncio.ensure_future(journal.claim(KEY, 5, clock))
        while not clock.waiting:  # noqa: ASYNC110 - the loop's turns are what is waited for
            await asyncio.sleep(0)
        clock.advance(5)
        with pytest.raises(errors.JournalError) as caught:
            await claiming
    assert caught.value.sent is False


async def test_ended_sessions(postgres: Database) -> None:
    """Sessions that an administrator ends are made anew, unnoticed."""
    postgres.clear()
    async with elsewhere(postgres) as journal:
        await journal.put(sent())
        await read(journal)
        postgres.admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'elsewhere'"
        )
        await journal.put(done(sent()))
        assert await read(journal) == done(sent())


@attrs.define
class Wire:
    """A way to the server that can be made to swallow everything."""

    port: int = 0
    silent: bool = False
    swallowed: asyncio.Event = attrs.field(factory=asyncio.Event)


@asynccontextmanager
async def wire(to: int) -> AsyncGenerator[Wire]:
    """Run a TCP proxy to a port."""
    it = Wire()

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if it.silent:
                it.swallowed.set()
            else:
                target.write(data)
        target.close()

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", to)
        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        finally:
            back.transport.abort()

    async with listener(visit) as it.port:
        yield it


async def test_silent_network(postgres: Database) -> None:
    """A network that swallows everything: after 10 s the connection is given up, and the work done over a new one."""
    postgres.clear()
    clock = Stalled()
    async with wire(postgres.server.port) as it:
        dsn = f"postgresql://bardge@127.0.0.1:{it.port}/postgres"
        async with PostgresJournal(dsn, clock=clock) as journal:
            await journal.put(sent())
            it.silent = True
            putting = asyncio.ensure_future(journal.put(done(sent())))
            await it.swallowed.wait()
            it.silent = False
            clock.advance(10)
            while not clock.sleeps:  # noqa: ASYNC110 - until it waits for its next try
                await asyncio.sleep(0)
            clock.advance(1)
            await putting
    assert on_record(postgres) == {"order-1": EntryState.DONE}


async def test_taken_back_when_the_database_is_there_again(postgres: Database) -> None:
    """A call that takes its intent back ends after 2 s though the database is away; the intent goes all the same."""
    postgres.clear()
    clock = Stalled()
    async with wire(postgres.server.port) as it:
        dsn = f"postgresql://bardge@127.0.0.1:{it.port}/postgres"
        async with PostgresJournal(dsn, clock=clock) as journal:
            await journal.claim(KEY, 0, ManualClock())
            await journal.put(sent())
            it.silent = True
            removing = asyncio.ensure_future(journal.remove(KEY))
            await it.swallowed.wait()
            clock.advance(2)
            with pytest.raises(errors.JournalError, match=r"cannot be reached.*intent is withdrawn"):
                await removing
            it.silent = False
            clock.advance(8)
            while not clock.sleeps:  # noqa: ASYNC110 - until it waits for its next try
                await asyncio.sleep(0)
            clock.advance(1)
            while on_record(postgres) != {"order-1": "held"}:  # noqa: ASYNC110 - the server is what is waited for
                await asyncio.sleep(0)


async def test_waiters_share_commits(postgres: Database) -> None:
    """Records that are put at the same time share transactions."""
    postgres.clear()
    async with elsewhere(postgres) as journal:
        await asyncio.gather(*(journal.put(sent(named(f"order-{number}"))) for number in range(200)))
    [[transactions]] = postgres.admin.execute("SELECT count(DISTINCT xmin::text) FROM bardge.entries").fetchall()
    assert len(on_record(postgres)) == 200
    assert transactions <= 3


async def test_one_items_fault_is_its_own(postgres: Database) -> None:
    """What the database refuses of one record is an error of its put alone."""
    postgres.clear()
    bad = attrs.evolve(sent(named("bad")), url="\x00")
    async with elsewhere(postgres) as journal:
        found = await asyncio.gather(journal.put(sent()), journal.put(bad), return_exceptions=True)
    assert found[0] is None
    assert isinstance(found[1], errors.JournalError)
    assert on_record(postgres) == {"order-1": EntryState.SENT}


async def test_dropped_tables(postgres: Database) -> None:
    """Tables that are gone while the journal is open are an error that names them; nothing is made anew in their place."""
    async with elsewhere(postgres, schema="gone") as journal:
        await journal.put(sent())
        postgres.admin.execute("DROP SCHEMA gone CASCADE")
        with pytest.raises(errors.JournalError, match=r"gone\.entries"):
            await journal.put(sent())


async def test_many_keys_at_once_on_two_machines(postgres: Database) -> None:
    """Two machines that claim, put and release the same keys in other orders do not block each other for good."""
    postgres.clear()
    names = [named(f"order-{number}") for number in range(40)]
    async with elsewhere(postgres, "here") as here, elsewhere(postgres) as there:

        async def work(journal: PostgresJournal, place: int) -> None:
            await journal.claim(names[place], 10_000, ManualClock())
            await journal.put(sent(names[place]))
            journal.release(names[place])

        turns = [work(journal, place) for place in range(40) for journal in (here, there)]
        await asyncio.gather(*turns[::2], *reversed(turns[1::2]))
    assert len(on_record(postgres)) == 40


async def test_calls_over_a_server_with_few_connections(postgres: Database) -> None:
    """However many calls are under way, a loop has three connections."""
    postgres.clear()
    async with elsewhere(postgres) as journal, ScriptedServer(reply(201, {"balance": 5})) as api:
        options: dict[str, Any] = {"journal": journal, "retry": AT_ONCE, "max_connections": 50}
        async with BardgeClient("key", api.base_url, **options) as bardge:
            await asyncio.gather(*(buy(bardge, f"order-{number}") for number in range(50)))
            await bardge.in_doubt()
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'elsewhere'"
        assert postgres.admin.execute(count).fetchone() == (3,)
