"""Whatever database, role, environment and the pooler's last client have set: encoding, search path, durability, names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest

from bardge_async import BardgeClient, EntryState, PostgresJournal, PostgresLimiter, errors
from bardge_async.testing import ManualClock
from tests.journal.elsewhere import connect_other_machine
from tests.journal.factories import KEY, make_done, make_identity, make_sent
from tests.journal.place import buy
from tests.support.postgres import Database, open_pooler
from tests.support.rig import AT_ONCE
from tests.support.server import ScriptedServer, reply

# Pruned in the far future, so that the tests' old entries are not pruned now.
_WATCH: Final = """
INSERT INTO watched.facts VALUES ('pruned', 1e10);
CREATE TABLE watched.seen (state text, sync text);
CREATE FUNCTION watched.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO watched.seen VALUES (NEW.state, current_setting('synchronous_commit')); RETURN NEW; END $$;
CREATE TRIGGER note BEFORE INSERT OR UPDATE ON watched.entries FOR EACH ROW EXECUTE FUNCTION watched.note()
"""
_TRAPS: Final = (
    ("clock_timestamp()", "timestamptz"),
    ("now()", "timestamptz"),
    ("make_interval(secs float8)", "interval"),
    ("set_config(text, text, boolean)", "text"),
    ("current_setting(text)", "text"),
    ("unnest(anyarray)", "void"),
    ("length(text)", "integer"),
    ("substr(text, integer)", "text"),
    ("starts_with(text, text)", "boolean"),
    ("pg_advisory_xact_lock(bigint)", "void"),
    ("to_regclass(text)", "regclass"),
    ("date_part(text, interval)", "float8"),
    ("extract(text, timestamptz)", "numeric"),
    ("position(text, text)", "integer"),
)


@pytest.fixture
def watched(postgres: Database) -> Iterator[Database]:
    """A journal in the schema "watched" whose table notes how each write commits."""
    postgres.admin.execute(b"DROP SCHEMA IF EXISTS watched CASCADE")

    async def make_tables() -> None:
        async with PostgresJournal(postgres.dsn, schema="watched") as journal:
            await journal.listed()

    asyncio.run(make_tables())
    postgres.admin.execute(_WATCH.encode())
    yield postgres
    postgres.admin.execute(b"DROP SCHEMA watched CASCADE")


def read_commits(database: Database) -> set[tuple[str, str]]:
    """Return how intents and outcomes were committed; a claim need not wait for the disk."""
    found = database.admin.execute(b"SELECT DISTINCT state, sync FROM watched.seen WHERE state <> 'held'").fetchall()
    return {(state, sync) for state, sync in found}


async def buy_and_put(dsn: str) -> None:
    """Write an intent, outcomes, and records without a claim."""
    journal = PostgresJournal(dsn, schema="watched")
    async with journal, ScriptedServer(reply(201, {"balance": 5})) as api:
        async with BardgeClient("key", api.base_url, journal=journal, retry=AT_ONCE) as bardge:
            await asyncio.gather(*(buy(bardge, f"order-{number}") for number in range(5)))
        await journal.put(make_sent())
        await journal.put(make_done(make_sent(), state=EntryState.REFUSED))


@pytest.mark.parametrize("level", ["off", "local", "remote_write"])
async def test_durability_is_not_inherited(watched: Database, level: str) -> None:
    """Intents and outcomes wait for the disk, whatever the connection string asks for."""
    await buy_and_put(f"{watched.dsn}?options=-c%20synchronous_commit%3D{level}")
    assert read_commits(watched) == {("sent", "on"), ("done", "on"), ("refused", "on")}


async def test_durability_after_another_client(watched: Database) -> None:
    """Intents and outcomes wait for the disk in a session in which a pooler's other client turned that off."""
    with open_pooler(watched.server, stateless=False) as pooler:
        # The pooler has two sessions.
        with psycopg.connect(pooler.dsn) as first, psycopg.connect(pooler.dsn) as second:
            for client in (first, second):
                client.execute("SET SESSION synchronous_commit = off")
        await buy_and_put(pooler.dsn)
    assert read_commits(watched) == {("sent", "on"), ("done", "on"), ("refused", "on")}


async def test_nothing_is_left_in_a_session(watched: Database) -> None:
    """What the journal and the limiter set ends with their transactions."""
    names = ("synchronous_commit", "search_path", "enable_seqscan")
    with open_pooler(watched.server, size=1, stateless=False) as pooler:
        with psycopg.connect(pooler.dsn, autocommit=True) as client:
            before = [client.execute(f"SHOW {name}".encode()).fetchone() for name in names]
        await buy_and_put(pooler.dsn)
        async with PostgresLimiter(pooler.dsn, "rate", 1000, schema="watched") as limiter:
            await limiter.acquire(5)
        with psycopg.connect(pooler.dsn, autocommit=True) as client:
            assert [client.execute(f"SHOW {name}".encode()).fetchone() for name in names] == before


@pytest.fixture
def misled(postgres: Database) -> Iterator[str]:
    """A role whose search path puts functions that fail before those of pg_catalog."""
    postgres.admin.execute(b"CREATE SCHEMA misleading; CREATE ROLE misled LOGIN SUPERUSER")
    for name, kind in _TRAPS:
        postgres.admin.execute(
            f"CREATE FUNCTION misleading.{name} RETURNS {kind} LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION 'misleading'; END $$".encode()
        )
    for name in ("min(text)", "max(float8)"):
        kind = name.partition("(")[2].rstrip(")")
        postgres.admin.execute(
            f"CREATE FUNCTION misleading.keep({kind}, {kind}) RETURNS {kind} LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION 'misleading'; END $$; "
            f"CREATE AGGREGATE misleading.{name} (SFUNC = misleading.keep, STYPE = {kind})".encode()
        )
    postgres.admin.execute(b"ALTER ROLE misled SET search_path = misleading, pg_catalog")
    yield postgres.dsn.replace("bardge@", "misled@")
    postgres.admin.execute(b"DROP OWNED BY misled; DROP ROLE misled; DROP SCHEMA misleading CASCADE")
    postgres.admin.execute(b"DROP SCHEMA IF EXISTS astray CASCADE")


async def test_search_path(postgres: Database, misled: str) -> None:
    """No function that a search path puts before PostgreSQL's own is called, by any statement of journal and limiter."""
    async with PostgresJournal(misled, schema="astray") as journal, PostgresLimiter(misled, "r", 1000) as limiter:
        await limiter.acquire(5)
        await journal.claim(KEY, 5, ManualClock())
        await journal.put(make_sent())
        async with connect_other_machine(postgres, schema="astray") as there:
            with pytest.raises(errors.KeyInUseError):
                await there.claim(KEY, 0, ManualClock())
        await journal.put(make_done(make_sent()))
        journal.release(KEY)
        await journal.put(make_sent(make_identity("order-2"), second=1))
        await journal.remove(make_identity("order-2"))
        await journal.put(make_sent(make_identity("order-3"), second=2))
        await journal.overtaken(make_sent(make_identity("order-3"), second=2))
        assert len(await journal.unfinished(KEY.base_url, "")) == 1
        assert len(await journal.since(make_sent(make_identity("order-3")))) == 1
        await journal.erase("nobody")
        assert await journal.prune(1e10) == 1


@pytest.mark.parametrize("schema", ["user", "select", "table", "order"])
async def test_schema_that_is_a_keyword(postgres: Database, schema: str) -> None:
    """A schema may be named like an SQL keyword."""
    async with PostgresJournal(postgres.dsn, schema=schema) as journal:
        await journal.put(make_sent())
        assert await journal.listed() == [make_sent()]
    async with PostgresLimiter(postgres.dsn, "rate", 1000, schema=schema) as limiter:
        await limiter.acquire(5)
    postgres.admin.execute(f'DROP SCHEMA "{schema}" CASCADE'.encode())


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def encoded(request: pytest.FixtureRequest, postgres: Database) -> Iterator[str]:
    """A database in another encoding than UTF-8, and a role that asks for it."""
    name = str(request.param)
    postgres.admin.execute(f"CREATE DATABASE other TEMPLATE template0 ENCODING '{name}' LOCALE 'C'".encode())
    yield postgres.dsn.replace("/postgres", f"/other?client_encoding={name}")
    postgres.admin.execute(b"DROP DATABASE other WITH (FORCE)")


async def test_other_encodings(encoded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls, replays and limits work in a database of another encoding."""
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    async with PostgresJournal(encoded) as journal, PostgresLimiter(encoded, "é", 1000) as limiter:
        async with ScriptedServer(reply(201, {"balance": 5})) as api:
            options: dict[str, Any] = {"journal": journal, "limiter": limiter, "account": "café"}
            async with BardgeClient("key", api.base_url, **options) as bardge:
                await buy(bardge)
                await buy(bardge)
            assert len(api.requests) == 1
        [entry] = await journal.listed()
        assert (entry.state, entry.identity.account) == (EntryState.DONE, "café")


async def test_text_that_an_encoding_lacks(postgres: Database) -> None:
    """An account label that the database's encoding cannot hold is refused immediately, and the reason is told."""
    postgres.admin.execute(b"CREATE DATABASE narrow TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        async with PostgresJournal(postgres.dsn.replace("/postgres", "/narrow")) as journal:
            with pytest.raises(errors.JournalError, match='no equivalent in encoding "LATIN1"'):
                await journal.put(make_sent(KEY._replace(account="会社")))
    finally:
        postgres.admin.execute(b"DROP DATABASE narrow WITH (FORCE)")
