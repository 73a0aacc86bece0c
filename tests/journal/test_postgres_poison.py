"""Records that the database cannot take, and records that break each connection: they fail alone, with their own error."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from bardge_async import EntryState, JournalEntry, PostgresJournal, errors
from bardge_async.testing import ManualClock
from tests.journal.factories import KEY, make_done, make_identity, make_sent
from tests.support.clock import PausedClock
from tests.support.postgres import Database

SCHEMA = "poison"
_TRAP = """
CREATE FUNCTION poison.spring() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
CREATE TRIGGER trap BEFORE INSERT OR UPDATE ON poison.entries FOR EACH ROW
    WHEN (NEW.key = 'trap' AND NEW.endpoint IS NOT NULL) EXECUTE FUNCTION poison.spring()
"""


@asynccontextmanager
async def open_trapped(database: Database) -> AsyncGenerator[PostgresJournal]:
    """Open a journal in whose tables a record under the key "trap" ends the session that writes it."""
    database.admin.execute(b"DROP SCHEMA IF EXISTS poison CASCADE")
    async with PostgresJournal(database.dsn, schema=SCHEMA, clock=ManualClock()) as journal:
        await journal.listed()
        database.admin.execute(_TRAP.encode())
        yield journal


async def put_all(journal: PostgresJournal, entries: list[JournalEntry]) -> list[str | None]:
    """Put entries together; return the errors."""
    found = await asyncio.gather(*(journal.put(entry) for entry in entries), return_exceptions=True)
    return [None if error is None else f"{type(error).__name__}: {error}" for error in found]


def make_many(count: int = 20) -> list[JournalEntry]:
    return [make_sent(make_identity(f"order-{number}")) for number in range(count)]


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("url", "https://api.example/\udce9", "surrogates not allowed"),
        ("url", "https://api.example/\0", "0x00"),
        ("fingerprint", "\ud800", "surrogates not allowed"),
        ("endpoint", object(), "cannot adapt"),
        ("given", "maybe", "invalid input syntax"),
        ("url", "https://api.example/" + random.Random(1).randbytes(9000).hex(), "index row"),
    ],
)
async def test_record_that_cannot_be_written(postgres: Database, field: str, value: Any, named: str) -> None:
    """A record that the driver cannot even send fails with its own error; those put with it are stored."""
    postgres.clear()
    good = make_many()
    async with PostgresJournal(postgres.dsn, clock=ManualClock()) as journal:
        found = await put_all(
            journal, [*good[:10], attrs.evolve(make_sent(make_identity("odd")), **{field: value}), *good[10:]]
        )
        assert found.count(None) == 20
        assert "JournalError: the journal's database" in str(found[10])
        assert named in str(found[10])
        assert len(await journal.listed()) == 20


async def test_key_that_cannot_be_claimed(postgres: Database) -> None:
    """A key that the driver cannot send fails its own claim only."""
    postgres.clear()
    odd = make_identity("odd")._replace(account="\udce9")
    async with PostgresJournal(postgres.dsn, clock=ManualClock()) as journal:
        claims: list[Awaitable[object]] = [journal.claim(key, 5, ManualClock()) for key in (KEY, odd)]
        found = await asyncio.gather(*claims, return_exceptions=True)
    assert found[0] is None
    assert isinstance(found[1], errors.JournalError)


async def test_record_that_breaks_every_connection(postgres: Database) -> None:
    """A record that ends each session it is written in fails with what ended it; those put with it are stored."""
    good = make_many()
    async with open_trapped(postgres) as journal:
        found = await put_all(journal, [*good[:10], make_sent(make_identity("trap")), *good[10:]])
        assert found.count(None) == 20
        assert "failed 5 times on this alone: terminating connection" in str(found[10])
        assert len(await journal.listed()) == 20


async def test_two_records_that_break_every_connection(postgres: Database) -> None:
    """Records of other keys, put while two break the connection again and again, are stored before those have failed."""
    async with open_trapped(postgres) as journal:
        traps = [make_identity("trap"), make_identity("trap")._replace(account="other")]
        breaking = [asyncio.ensure_future(journal.put(make_sent(trap))) for trap in traps]
        while journal.outage is None:  # noqa: ASYNC110 - until the first attempt has failed
            await asyncio.sleep(0)
        await journal.put(make_sent())
        assert not any(task.done() for task in breaking)
        found = await asyncio.gather(*breaking, return_exceptions=True)
        assert [type(error) for error in found] == [errors.JournalError] * 2


async def test_order_of_one_keys_records(postgres: Database) -> None:
    """What follows a record that breaks connections, under the same key, waits for it to end."""
    async with open_trapped(postgres) as journal:
        trap = make_sent(make_identity("trap"))
        later = attrs.evolve(make_done(trap), identity=trap.identity)
        breaking = asyncio.ensure_future(journal.put(trap))
        following = asyncio.ensure_future(journal.put(later))
        await asyncio.wait([breaking])
        assert not following.done()
        postgres.admin.execute(b"DROP TRIGGER trap ON poison.entries")
        await following
        assert [entry.state for entry in await journal.listed()] == [EntryState.DONE]


async def test_outage_is_no_fault_of_a_record() -> None:
    """However often the server is away, a record is retried for as long as the journal's patience lasts."""
    clock = ManualClock()
    async with PostgresJournal("postgresql://nobody@127.0.0.1:1/none", patience=30, clock=clock) as journal:
        with pytest.raises(errors.JournalError, match="cannot be reached"):
            await journal.put(make_sent())
    assert len(clock.sleeps) > 20


async def test_closed_while_waiting() -> None:
    """A write that waits for a server when the journal is closed ends after 5 s, with an error, and does not hang."""
    clock = PausedClock()
    journal = PostgresJournal("postgresql://nobody@127.0.0.1:1/none", clock=clock)
    putting = asyncio.ensure_future(journal.put(make_sent()))
    while not clock.sleeps:  # noqa: ASYNC110 - until it waits for its next attempt
        await asyncio.sleep(0)
    closing = asyncio.ensure_future(journal.aclose())
    while clock.pending_timers < 2:  # noqa: ASYNC110 - until closing waits, too
        await asyncio.sleep(0)
    clock.advance(5)
    await closing
    with pytest.raises(errors.JournalError, match=r"closed before this could be written: .*refused"):
        await putting
