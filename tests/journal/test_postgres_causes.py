"""Why a database is not there: what cannot pass by itself ends a call immediately, what can is waited for; both named."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import psycopg
import pytest

from bardge_async import BardgeClient, PostgresJournal, PostgresLimiter, errors
from bardge_async._postgres.causes import describe_cause, is_permanent
from bardge_async.testing import ManualClock
from tests.journal.factories import KEY, make_sent
from tests.journal.place import fail_to_buy
from tests.support.clock import PausedClock
from tests.support.postgres import Database
from tests.support.server import ScriptedServer, reply

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
def guarded(postgres: Database) -> Iterator[str]:
    """A role that needs a password, may create nothing, and is no superuser."""
    rules = postgres.server.place / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{before}")
    postgres.admin.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    postgres.admin.execute("SELECT pg_reload_conf()")
    yield postgres.dsn.replace("bardge@", "guarded:right@")
    rules.write_text(before)
    postgres.admin.execute("DROP OWNED BY guarded; DROP ROLE guarded")
    postgres.admin.execute("SELECT pg_reload_conf()")


def grant_all(database: Database) -> None:
    """Let the guarded role use the journal's tables."""
    database.admin.execute("GRANT USAGE ON SCHEMA bardge TO guarded")
    database.admin.execute("GRANT ALL ON ALL TABLES IN SCHEMA bardge TO guarded")


async def make_tables(database: Database) -> None:
    async with PostgresJournal(database.clear()) as journal:
        await journal.listed()


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        (":right@", ":wrong@", 'password authentication failed for user "guarded"'),
        (":right@", "@", "no password supplied"),
        ("guarded:right@", "nobody_here@", 'role "nobody_here" does not exist'),
        ("/postgres", "/shpo", 'database "shpo" does not exist'),
        ("", "", "permission denied for database"),
    ],
)
async def test_permanent_causes(postgres: Database, guarded: str, right: str, wrong: str, named: str) -> None:
    """A wrong password, role or database, or a missing right is named, and nothing is retried."""
    postgres.clear()
    clock = PausedClock()
    dsn = guarded.replace(right, wrong) if right else guarded
    async with PostgresJournal(dsn, schema="denied", clock=clock) as journal:
        with pytest.raises(errors.JournalError, match=f"refused.*{named}"):
            await journal.put(make_sent())
    assert clock.sleeps == []


async def test_permanent_cause_of_a_limiter(guarded: str) -> None:
    """A limiter, too, tells a wrong password immediately."""
    async with PostgresLimiter(guarded.replace("right", "wrong"), "rate", 1, clock=PausedClock()) as limiter:
        with pytest.raises(errors.ThrottledError, match="password authentication failed"):
            await limiter.acquire(60)


async def test_rights_missing_on_a_table(postgres: Database, guarded: str) -> None:
    """A table that the role may not write is named; with the right granted, the same journal works."""
    await make_tables(postgres)
    async with PostgresJournal(guarded) as journal:
        with pytest.raises(errors.JournalError, match="permission denied for schema bardge"):
            await journal.put(make_sent())
        grant_all(postgres)
        await journal.put(make_sent())


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("CONNECTION LIMIT 0", 'too many connections for role "guarded"'),
        ("SET default_transaction_read_only = on", "cannot execute INSERT in a read-only transaction"),
    ],
)
async def test_passing_causes(postgres: Database, guarded: str, setting: str, named: str) -> None:
    """No free connection and a read-only database are retried, and named in the end; work goes on when they pass."""
    await make_tables(postgres)
    grant_all(postgres)
    postgres.admin.execute(f"ALTER ROLE guarded {setting}".encode())
    async with PostgresJournal(guarded, patience=5, clock=ManualClock()) as journal:
        with pytest.raises(errors.JournalError, match=f"cannot be reached.*{named}"):
            await journal.put(make_sent())
    clock = PausedClock()
    async with PostgresJournal(guarded, clock=clock) as journal:
        putting = asyncio.ensure_future(journal.put(make_sent()))
        while not clock.sleeps:  # noqa: ASYNC110 - until it waits for its next attempt
            await asyncio.sleep(0)
        postgres.admin.execute("ALTER ROLE guarded CONNECTION LIMIT -1; ALTER ROLE guarded RESET ALL")
        clock.advance(1)
        await putting


async def test_claim_names_the_last_cause() -> None:
    """A call whose time passes while it claims its key names the cause."""
    async with PostgresJournal(NOWHERE, clock=ManualClock()) as journal:
        clock = PausedClock()
        claiming = asyncio.ensure_future(journal.claim(KEY, 5, clock))
        while journal.outage is None:  # noqa: ASYNC110 - until the first attempt has failed
            await asyncio.sleep(0)
        clock.advance(5)
        with pytest.raises(errors.JournalError, match=r"timed out.*port 1 failed: Connection refused"):
            await claiming


async def test_intent_names_the_last_cause(postgres: Database) -> None:
    """A call whose time passes while it records its intent names the cause."""
    postgres.clear()
    clock = ManualClock()
    journal = PostgresJournal(postgres.dsn)
    async with (
        journal,
        ScriptedServer(reply(201, {"balance": 5})) as api,
        BardgeClient("key", api.base_url, journal=journal, clock=clock, timeout=5) as bardge,
    ):
        # The connection that claims is open already; the one that writes opens now.
        await journal.claim(KEY, 5, clock)
        postgres.admin.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
        try:
            buying = asyncio.ensure_future(fail_to_buy(bardge, "order-2"))
            while journal.outage is None:  # noqa: ASYNC110 - until the first attempt has failed
                await asyncio.sleep(0)
            clock.advance(5)
            found = await buying
        finally:
            postgres.admin.execute("ALTER DATABASE postgres RESET default_transaction_read_only")
    assert "timed out recording the intent" in str(found)
    assert "read-only transaction" in str(found)
    assert api.requests == []


def test_each_host_is_named() -> None:
    """Of several hosts, the cause of each one is told."""
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect("host=127.0.0.1,127.0.0.1 port=1,2 dbname=none")
    told = describe_cause(caught.value)
    assert ("port 1 failed: Connection refused" in told, "port 2 failed: Connection refused" in told) == (True, True)


def test_one_host_that_is_away(postgres: Database, guarded: str) -> None:
    """A wrong password at one host is no reason to give up while another one is away."""
    port = postgres.server.port
    both = f"host=127.0.0.1,127.0.0.1 port=1,{port} user=guarded password=wrong dbname=postgres"
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(both)
    assert not is_permanent(caught.value)
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(both.replace("port=1,", f"port={port},"))
    assert is_permanent(caught.value)
