"""The journal's tables: created, migrated, pruned and searched; what the constructor rejects."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
from collections.abc import Mapping
from typing import Any, Final

import attrs
import pytest

from bardge_async import EntryState, JournalEntry, PostgresJournal, RecordedResponse, errors
from bardge_async._journal import postgres_chores as chores
from bardge_async._journal import postgres_pages as pages
from bardge_async._journal import postgres_statements as rows
from bardge_async._journal.postgres_pages import EntryPosition
from bardge_async._journal.pruning import PruneTime
from bardge_async._postgres.schema import fill_schema
from bardge_async.testing import ManualClock
from tests.journal.elsewhere import connect_other_machine, read_states
from tests.journal.factories import KEY, WALL, make_done, make_identity, make_reading, make_sent
from tests.journal.test_protocol import read_record
from tests.support.postgres import Database
from tests.support.program import run_program

DAY = 86_400.0
FORK = multiprocessing.get_context("fork")


def put_one(dsn: str, number: int, begin: Any) -> None:
    async def main() -> None:
        async with PostgresJournal(dsn, schema="race") as journal:
            begin.wait()
            await journal.put(make_sent(make_identity(f"order-{number}")))

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_made_by_many_processes_at_once(postgres: Database) -> None:
    """Eight processes that open a journal without tables create them once, and all of them can put."""
    begin = FORK.Barrier(8)
    processes = [FORK.Process(target=put_one, args=(postgres.dsn, number, begin)) for number in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 8
    assert postgres.admin.execute("SELECT count(*) FROM race.entries").fetchone() == (8,)


async def test_nothing_is_made_where_tables_are(postgres: Database) -> None:
    """A user without the right to create tables works with those that another user created."""
    async with connect_other_machine(postgres, schema="given") as journal:
        await journal.put(make_sent())
    postgres.admin.execute("CREATE ROLE plain LOGIN")
    postgres.admin.execute("GRANT USAGE ON SCHEMA given TO plain")
    postgres.admin.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA given TO plain")
    async with PostgresJournal(postgres.dsn.replace("bardge@", "plain@"), schema="given") as journal:
        await journal.put(make_done(make_sent()))
        assert await read_record(journal) == make_done(make_sent())


async def test_newer_tables(postgres: Database) -> None:
    """Tables of a newer version are rejected with an error that says so."""
    async with connect_other_machine(postgres, schema="newer") as journal:
        await journal.put(make_sent())
        postgres.admin.execute("UPDATE newer.facts SET value = 99 WHERE name = 'version'")
    async with connect_other_machine(postgres, schema="newer") as journal:
        with pytest.raises(errors.JournalError, match=r"newer version.*form 99"):
            await journal.put(make_sent())


async def read_after(postgres: Database, days: float, record: JournalEntry, **options: Any) -> JournalEntry | None:
    """Return what is left of a record a number of days later."""
    postgres.clear()
    async with connect_other_machine(postgres, **options) as journal:
        await journal.put(record)
        await journal.prune(WALL + days * DAY)
        return await read_record(journal, record.identity)


@pytest.mark.parametrize(("days", "kept"), [(29.9, True), (30.1, False)])
async def test_bodies_stay_for_30_days(postgres: Database, days: float, *, kept: bool) -> None:
    """Bodies of done entries are removed after 30 days; key, fingerprint and outcome stay."""
    bare = attrs.evolve(make_done(make_sent()), body=None, answer=RecordedResponse(201, None, "req_1"))
    assert await read_after(postgres, days, make_done(make_sent())) == (make_done(make_sent()) if kept else bare)


@pytest.mark.parametrize(("days", "keep", "kept"), [(399.9, 400, True), (400.1, 400, False), (40_000, 0, True)])
async def test_entries_stay_for_400_days(postgres: Database, days: float, keep: int, *, kept: bool) -> None:
    """Done entries are removed after 400 days; ``keep_entries=0`` keeps them for ever."""
    assert (await read_after(postgres, days, make_done(make_sent()), keep_entries=keep * DAY) is not None) is kept


async def test_doubts_stay(postgres: Database) -> None:
    """Entries in doubt stay, with their bodies, however old."""
    assert await read_after(postgres, 40_000, make_sent()) == make_sent()


async def test_held_keys_are_not_forgotten(postgres: Database) -> None:
    """An old entry whose key is held stays: its holder relies on it."""
    postgres.clear()
    async with connect_other_machine(postgres) as journal:
        await journal.claim(KEY, 0, ManualClock())
        await journal.put(make_sent())
        await journal.put(refused := attrs.evolve(make_done(make_sent()), state=EntryState.REFUSED, answer=None))
        assert await journal.prune(WALL + 500 * DAY) == 0
        assert await journal.listed() == [attrs.evolve(refused, body=None)]


async def test_forgotten_is_everybodys(postgres: Database) -> None:
    """Every process reports up to when entries may be missing, whichever process pruned."""
    await read_after(postgres, 401, make_done(make_sent(), second=5))
    async with connect_other_machine(postgres) as journal:
        assert journal.forgotten == 0
        await journal.since(make_sent())
        assert journal.forgotten == WALL + 5


async def test_pruned_by_the_way(postgres: Database) -> None:
    """Pruning needs no call: putting records prunes, in one process and at most once an hour."""
    postgres.clear()
    postgres.admin.execute("DELETE FROM bardge.facts WHERE name = 'pruned'")
    async with connect_other_machine(postgres) as journal:
        await journal.put(make_done(make_sent()))
        while (await journal.listed())[0].body is not None:
            await journal.put(make_done(make_sent(make_identity("order-2"), second=31 * DAY), second=31 * DAY))
    [[pruned]] = postgres.admin.execute("SELECT value FROM bardge.facts WHERE name = 'pruned'").fetchall()
    assert pruned == WALL + 31 * DAY


async def test_orphans_are_removed(postgres: Database) -> None:
    """A key claimed by a process that died does not leave a row for long."""
    postgres.clear()
    async with connect_other_machine(postgres) as journal:
        await journal.claim(KEY, 0, ManualClock())
        postgres.admin.execute("UPDATE bardge.entries SET lease_until = lease_until - interval '2 hours'")
        await journal.prune(WALL)
        assert read_states(postgres) == {}


async def test_erase(postgres: Database) -> None:
    """``erase`` removes the bodies of finished entries that name the client, and leaves its doubts and others alone."""
    postgres.clear()
    async with connect_other_machine(postgres) as journal:
        mine = attrs.evolve(make_sent(), body=b'{"client_id":"c1"}')
        await journal.put(make_done(mine))
        await journal.put(attrs.evolve(mine, identity=make_identity("doubt")))
        await journal.put(make_done(make_sent(make_identity("other"))))
        await journal.put(make_done(make_sent(make_identity("path"), path="/issued_passes/c1/expiry")))
        assert await journal.erase("c1") == 2
        bodies = {record.identity.key: record.body is not None for record in await journal.listed()}
    assert bodies == {"order-1": False, "doubt": True, "other": True, "path": False}


async def test_entries_of_an_earlier_version(postgres: Database) -> None:
    """Entries without a number come once, by their keys and before the others, also where they are sent again."""
    names = [f"order-{number}" for number in range(250)]
    async with connect_other_machine(postgres, schema="earlier") as journal:
        for name in names:
            await journal.put(make_sent(make_identity(name)))
    postgres.admin.execute("ALTER TABLE earlier.entries DROP COLUMN seq")
    postgres.admin.execute("UPDATE earlier.facts SET value = value - 1 WHERE name = 'version'")
    async with connect_other_machine(postgres, schema="earlier") as journal:
        await journal.put(make_sent(make_identity("a later one")))
        keys: list[str] = []
        async for entry in journal.entries():
            if not keys:
                await journal.put(make_done(make_sent(make_identity("order-99"), second=5), second=5))
                await journal.put(make_done(make_sent(make_identity("order-0"), second=5), second=5))
            keys.append(entry.identity.key)
        assert keys == [*sorted(names), "a later one"] == [entry.identity.key for entry in await journal.listed()]


async def test_since(postgres: Database) -> None:
    """``since`` returns the endpoint's other records from ten minutes before, but no refused or foreign ones."""
    postgres.clear()
    other = make_identity("order-2")._replace(account="b")
    records = {
        "old": make_done(make_sent(make_identity("old"), second=-601), second=-601),
        "near": make_done(make_sent(make_identity("near"), second=-599), second=-599),
        "doubt": make_sent(make_identity("doubt"), second=50),
        "refused": make_done(make_sent(make_identity("refused")), state=EntryState.REFUSED),
        "elsewhere": make_sent(other),
        "row": attrs.evolve(make_sent(make_identity("row")), endpoint="credits.purchase"),
    }
    async with connect_other_machine(postgres) as journal:
        for record in (make_sent(), *records.values()):
            await journal.put(record)
        assert {record.identity.key for record in await journal.since(make_sent())} == {"near", "doubt"}


FILL: Final = """
INSERT INTO bardge.entries (base_url, account, key, endpoint, url, fingerprint, given, state,
    first_wall, first_elapsed, first_highest, first_boot, last_wall, last_elapsed, last_highest, last_boot, first_at, last_at)
SELECT 'https://api.example/v3', '', 'k' || n, 'credits.purchase', 'https://api.example/v3/credits', 'f', true,
    CASE n % 1000 WHEN 0 THEN 'sent' ELSE 'done' END, n, 0, n, 'b', n, 0, n, 'b', to_timestamp(n), to_timestamp(n)
FROM generate_series(1, 20000) AS n
"""

ASKED: Final = {
    "base_url": "https://api.example/v3",
    "account": "",
    "key": "k9",
    "url": "https://api.example/v3/credits",
}

OLD: Final = dict(zip(chores.LIMITS, PruneTime(100.0).limits(0.0), strict=True)) | {"start": -math.inf, "rows": 100}
SOUGHT: Final = {**EntryPosition().parameters, "needle": b"c1", "rows": 100}

# Each statement, its parameters, and the index that must serve it.
SEARCHES: Final[Mapping[str, tuple[str, Any, str]]] = {
    "claim": (rows.CLAIM, [15.0, ["https://api.example/v3"], [""], ["k7"], ["token"]], "entries_pkey"),
    "release": (rows.RELEASE, [["https://api.example/v3"], [""], ["k7"], ["token"]], "entries_pkey"),
    "renew": (rows.RENEW, [15.0, ["https://api.example/v3"], [""], ["k7"], ["token"]], "entries_pkey"),
    "overtaken": (rows.LATER_REQUEST, ASKED, "entries_by_url"),
    "unfinished": (rows.UNFINISHED, ["https://api.example/v3", ""], "entries_unfinished"),
    "since": (rows.SENT_SINCE, ["https://api.example/v3", "", "credits.purchase", "k7", 19_900.0], "entries_by_time"),
    "strip": (chores.REMOVE_BODIES, OLD, "entries_with_bodies"),
    "drop": (chores.REMOVE_ENTRIES, OLD, "entries_by_time"),
    "orphans": (chores.REMOVE_ORPHANS, OLD, "entries_held"),
    "page": (pages.make_statement(EntryPosition(is_numbered=True)), EntryPosition().parameters, "entries_in_order"),
    "first page": (pages.make_statement(EntryPosition()), EntryPosition().parameters, "entries_in_order"),
    "doubts": (
        pages.make_statement(EntryPosition(is_numbered=True), unfinished=True),
        EntryPosition().parameters,
        "entries_unfinished",
    ),
    "search": (chores.make_search(EntryPosition(is_numbered=True)), SOUGHT, "entries_in_order"),
}


@pytest.fixture(scope="module")
def filled_tables(postgres: Database) -> Database:
    """20,000 entries, of which 20 are in doubt."""
    postgres.clear()
    asyncio.run(create_tables(postgres))
    postgres.admin.execute(FILL)
    postgres.admin.execute("VACUUM ANALYZE bardge.entries")
    return postgres


async def create_tables(postgres: Database) -> None:
    async with connect_other_machine(postgres) as journal:
        await journal.listed()


@pytest.mark.parametrize("name", SEARCHES)
def test_searched_by_index(filled_tables: Database, name: str) -> None:
    """No query reads the whole table: each uses an index of its own."""
    statement, given, index = SEARCHES[name]
    plan = filled_tables.admin.execute(b"EXPLAIN " + fill_schema(statement, "bardge"), given).fetchall()
    lines = "\n".join(line for (line,) in plan)
    assert index in lines, lines
    assert "Seq Scan on entries" not in lines, lines
    assert index == "entries_held" or "entries_held" not in lines, lines


@pytest.mark.parametrize(
    "options",
    [{"lease": 0}, {"lease": True}, {"patience": -1}, {"keep_bodies": -1}, {"keep_entries": "1"}, {"schema": 'a"b'}],
    ids=str,
)
def test_settings(options: dict[str, Any]) -> None:
    """A value out of range is rejected by name."""
    with pytest.raises(errors.ConfigurationError, match=next(iter(options))):
        PostgresJournal("postgresql://127.0.0.1/x", **options)


def test_bad_connection_string() -> None:
    """An unreadable connection string is rejected without repeating it: it may hold a password."""
    with pytest.raises(errors.ConfigurationError, match="dsn: ") as caught:
        PostgresJournal("postgresql//bardge:secret@127.0.0.1/x")
    assert "secret" not in str(caught.value)


def test_extra_is_missing() -> None:
    """Without psycopg the constructor names the extra."""
    program = (
        "import sys; sys.modules['psycopg'] = None\nimport bardge_async\n"
        "try: bardge_async.PostgresJournal('postgresql://127.0.0.1/x')\n"
        "except bardge_async.ConfigurationError as error: print(error)"
    )
    assert "pip install 'bardge-async[postgres]'" in run_program(program)


def test_psycopg_comes_with_the_first_journal() -> None:
    """``import bardge_async`` does not import psycopg."""
    assert run_program("import sys, bardge_async; print('psycopg' in sys.modules)") == "False"


def test_age() -> None:
    """A first send of this boot is returned as it was; of another boot, by this clock and as old as the server says."""
    clock = ManualClock()
    assert rows.rebase_first_sent(make_sent(), 50.0, clock) == make_sent()
    foreign = attrs.evolve(make_sent(), first_sent=attrs.evolve(make_reading(0), boot="other"))
    found = rows.rebase_first_sent(foreign, 50.0, clock)
    assert found is not None
    assert found.first_sent == attrs.evolve(make_reading(0), elapsed=clock.elapsed() - 50, boot="")
