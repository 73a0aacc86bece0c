"""A server that is killed, cut off, slow to return or refuses: what is lost, what waits, what is reported."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from bardge_async import BardgeClient, EntryState, PostgresJournal, errors
from bardge_async.testing import ManualClock
from tests.journal.elsewhere import connect_other_machine, read_states
from tests.journal.factories import KEY, make_done, make_identity, make_sent
from tests.journal.place import buy
from tests.journal.test_protocol import read_record
from tests.support.clock import PausedClock
from tests.support.net import call_back_then, listen
from tests.support.postgres import Database, Server, run_server
from tests.support.rig import AT_ONCE
from tests.support.server import ScriptedServer, reply


@pytest.fixture(scope="module")
def durable() -> Iterator[Server]:
    """A server that waits for the disk, to be killed."""
    with run_server(durable=True) as it:
        yield it


async def start_server(it: Server) -> None:
    await asyncio.to_thread(it.start)


async def test_killed_server(durable: Server) -> None:
    """What was put survives the server's kill; operations during the outage complete when it is back."""
    async with PostgresJournal(durable.dsn, schema="killed") as journal:
        await journal.put(make_sent())
        durable.kill()
        putting = asyncio.ensure_future(journal.put(make_sent(make_identity("order-2"))))
        claiming = asyncio.ensure_future(journal.claim(KEY, 1000, PausedClock()))
        await asyncio.sleep(0)
        await start_server(durable)
        await putting
        assert await claiming == make_sent()
        assert {record.identity.key for record in await journal.listed()} == {"order-1", "order-2"}


async def test_killed_under_a_request(durable: Server) -> None:
    """A server is killed while a request is in flight: the response is stored once the server is back."""
    journal = PostgresJournal(durable.dsn, schema="under_way")
    async with journal, ScriptedServer() as api, BardgeClient("key", api.base_url, journal=journal) as bardge:
        api.script = [call_back_then(durable.kill, reply(201, {"balance": 5}))]
        starting = asyncio.ensure_future(bring_back(durable, api))
        await buy(bardge)
        await starting
        [record] = await journal.listed()
        assert (record.state, len(api.requests)) == (EntryState.DONE, 1)


async def bring_back(durable: Server, api: ScriptedServer) -> None:
    while not api.requests or durable.process is not None:  # noqa: ASYNC110 - waits for turns of the loop
        await asyncio.sleep(0)
    await start_server(durable)


async def test_no_server() -> None:
    """Without a server, operations end after their patience with an error that says what to fix; nothing hangs."""
    async with PostgresJournal("postgresql://nobody@127.0.0.1:1/none", patience=0) as journal:
        with pytest.raises(errors.JournalError, match=r"cannot be reached, start it or check dsn=.*refused"):
            await journal.put(make_sent())


async def test_no_server_and_little_time() -> None:
    """A claim does not wait longer for a server than its call has time."""
    async with PostgresJournal("postgresql://nobody@127.0.0.1:1/none", clock=ManualClock()) as journal:
        clock = PausedClock()
        claiming = asyncio.ensure_future(journal.claim(KEY, 5, clock))
        while not clock.pending_timers:  # noqa: ASYNC110 - waits for turns of the loop
            await asyncio.sleep(0)
        clock.advance(5)
        with pytest.raises(errors.JournalError) as caught:
            await claiming
    assert caught.value.sent is False


async def test_ended_sessions(postgres: Database) -> None:
    """Sessions that an administrator terminates are reopened transparently."""
    postgres.clear()
    async with connect_other_machine(postgres) as journal:
        await journal.put(make_sent())
        await read_record(journal)
        postgres.admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'elsewhere'"
        )
        await journal.put(make_done(make_sent()))
        assert await read_record(journal) == make_done(make_sent())


@attrs.define
class Wire:
    """A connection to the server that can be made to drop all traffic."""

    port: int = 0
    silent: bool = False
    swallowed: asyncio.Event = attrs.field(factory=asyncio.Event)


@asynccontextmanager
async def proxy_connections(to: int) -> AsyncGenerator[Wire]:
    """Run a TCP proxy to a port."""
    it = Wire()

    async def copy_bytes(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if it.silent:
                it.swallowed.set()
            else:
                target.write(data)
        target.close()

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", to)
        try:
            await asyncio.gather(copy_bytes(reader, back), copy_bytes(there, writer))
        finally:
            back.transport.abort()

    async with listen(serve_connection) as it.port:
        yield it


async def test_silent_network(postgres: Database) -> None:
    """A network that drops all traffic: after 10 s the connection is abandoned, and the work done over a new one."""
    postgres.clear()
    clock = PausedClock()
    async with proxy_connections(postgres.server.port) as it:
        dsn = f"postgresql://bardge@127.0.0.1:{it.port}/postgres"
        async with PostgresJournal(dsn, clock=clock) as journal:
            await journal.put(make_sent())
            it.silent = True
            putting = asyncio.ensure_future(journal.put(make_done(make_sent())))
            await it.swallowed.wait()
            it.silent = False
            clock.advance(10)
            while not clock.sleeps:  # noqa: ASYNC110 - until it waits for its next attempt
                await asyncio.sleep(0)
            clock.advance(1)
            await putting
    assert read_states(postgres) == {"order-1": EntryState.DONE}


async def test_taken_back_when_the_database_is_there_again(postgres: Database) -> None:
    """A call that takes its intent back ends after 2 s during an outage; the intent is still removed afterwards."""
    postgres.clear()
    clock = PausedClock()
    async with proxy_connections(postgres.server.port) as it:
        dsn = f"postgresql://bardge@127.0.0.1:{it.port}/postgres"
        async with PostgresJournal(dsn, clock=clock) as journal:
            await journal.claim(KEY, 0, ManualClock())
            await journal.put(make_sent())
            it.silent = True
            removing = asyncio.ensure_future(journal.remove(KEY))
            await it.swallowed.wait()
            clock.advance(2)
            with pytest.raises(errors.JournalError, match=r"cannot be reached.*intent is withdrawn"):
                await removing
            it.silent = False
            clock.advance(8)
            while not clock.sleeps:  # noqa: ASYNC110 - until it waits for its next attempt
                await asyncio.sleep(0)
            clock.advance(1)
            while read_states(postgres) != {"order-1": "held"}:  # noqa: ASYNC110 - waits for the server
                await asyncio.sleep(0)


async def test_waiters_share_commits(postgres: Database) -> None:
    """Records that are put concurrently share transactions."""
    postgres.clear()
    async with connect_other_machine(postgres) as journal:
        await asyncio.gather(*(journal.put(make_sent(make_identity(f"order-{number}"))) for number in range(200)))
    [[transactions]] = postgres.admin.execute("SELECT count(DISTINCT xmin::text) FROM bardge.entries").fetchall()
    assert len(read_states(postgres)) == 200
    assert transactions <= 3


async def test_one_items_fault_is_its_own(postgres: Database) -> None:
    """A record that the database rejects fails only its own put."""
    postgres.clear()
    bad = attrs.evolve(make_sent(make_identity("bad")), url="\x00")
    async with connect_other_machine(postgres) as journal:
        found = await asyncio.gather(journal.put(make_sent()), journal.put(bad), return_exceptions=True)
    assert found[0] is None
    assert isinstance(found[1], errors.JournalError)
    assert read_states(postgres) == {"order-1": EntryState.SENT}


async def test_dropped_tables(postgres: Database) -> None:
    """Tables that disappear while the journal is open are an error that names them; they are not recreated."""
    async with connect_other_machine(postgres, schema="gone") as journal:
        await journal.put(make_sent())
        postgres.admin.execute("DROP SCHEMA gone CASCADE")
        with pytest.raises(errors.JournalError, match=r"gone\.entries"):
            await journal.put(make_sent())


async def test_many_keys_at_once_on_two_machines(postgres: Database) -> None:
    """Two machines that claim, put and release the same keys in different orders do not deadlock."""
    postgres.clear()
    names = [make_identity(f"order-{number}") for number in range(40)]
    async with connect_other_machine(postgres, "here") as here, connect_other_machine(postgres) as there:

        async def claim_and_release(journal: PostgresJournal, place: int) -> None:
            await journal.claim(names[place], 10_000, ManualClock())
            await journal.put(make_sent(names[place]))
            journal.release(names[place])

        turns = [claim_and_release(journal, place) for place in range(40) for journal in (here, there)]
        await asyncio.gather(*turns[::2], *reversed(turns[1::2]))
    assert len(read_states(postgres)) == 40


async def test_calls_over_a_server_with_few_connections(postgres: Database) -> None:
    """However many calls are in flight, a loop has three connections."""
    postgres.clear()
    async with connect_other_machine(postgres) as journal, ScriptedServer(reply(201, {"balance": 5})) as api:
        options: dict[str, Any] = {"journal": journal, "retry": AT_ONCE, "max_connections": 50}
        async with BardgeClient("key", api.base_url, **options) as bardge:
            await asyncio.gather(*(buy(bardge, f"order-{number}") for number in range(50)))
            await bardge.in_doubt()
        count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'elsewhere'"
        assert postgres.admin.execute(count).fetchone() == (3,)
