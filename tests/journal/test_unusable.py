"""A journal that is damaged, closed or gone: whatever needs it raises ``JournalError``, never a group or a raw error."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from bardge_async import BardgeClient, JournalError, Operation, PostgresJournal, SQLiteJournal
from bardge_async.testing import ManualClock
from tests.journal.factories import make_identity, make_sent
from tests.support.net import find_refused_port
from tests.support.postgres import Database
from tests.support.rig import PURCHASE
from tests.support.server import ScriptedServer, reply


def _execute(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(sql)


def _replace(path: Path) -> None:
    """Put a copy of the file in its place."""
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").rename(path)


async def _consume(batch: Any) -> None:
    async for _ in batch:
        pass


SQLITE: Final[dict[str, Callable[[SQLiteJournal], object]]] = {
    "closed": lambda journal: journal.close(),
    "file removed": lambda journal: journal.path.unlink(),
    "log removed": lambda journal: journal.path.with_name("journal.db-wal").unlink(),
    "folder removed": lambda journal: shutil.rmtree(journal.path.parent),
    "replaced": lambda journal: _replace(journal.path),
    "table dropped": lambda journal: _execute(journal.path, "DROP TABLE entries"),
    "row damaged": lambda journal: _execute(journal.path, "UPDATE entries SET fingerprint = 'v1:2'"),
    "state damaged": lambda journal: _execute(journal.path, "UPDATE entries SET seal = x'00'"),
    "clocks damaged": lambda journal: _execute(journal.path, "UPDATE facts SET value = x'00'"),
}
POSTGRES: Final[dict[str, str]] = {
    "table dropped": "ALTER TABLE bardge.entries RENAME TO gone",
    "column dropped": "ALTER TABLE bardge.entries RENAME COLUMN fingerprint TO gone",
    "row damaged": "UPDATE bardge.entries SET state = 'sent', status = 7",
}
BACK: Final[dict[str, str]] = {
    "table dropped": "ALTER TABLE bardge.gone RENAME TO entries",
    "column dropped": "ALTER TABLE bardge.entries RENAME COLUMN gone TO fingerprint",
    "row damaged": "SELECT 1",
}
BUY: Final[Operation[Any, Any]] = Operation("credits.purchase", request=PURCHASE, id="order-1")
USES: Final[dict[str, Callable[[BardgeClient], Awaitable[object]]]] = {
    "recover": lambda bardge: bardge.recover(),
    "in_doubt": lambda bardge: bardge.in_doubt(),
    "reconcile": lambda bardge: bardge.reconcile("order-1"),
    "resolve": lambda bardge: bardge.resolve("order-1", never_happened=True),
    "batch": lambda bardge: _consume(bardge.batch([BUY], job="j")),
}


@asynccontextmanager
async def open_client(journal: SQLiteJournal | PostgresJournal) -> AsyncGenerator[tuple[BardgeClient, ScriptedServer]]:
    async with (
        ScriptedServer(reply(payload={"balance": 1})) as server,
        BardgeClient("key", server.base_url, journal=journal, clock=ManualClock()) as bardge,
    ):
        yield bardge, server


async def put_doubt(journal: SQLiteJournal | PostgresJournal, base_url: str) -> None:
    identity = make_identity("order-1")._replace(base_url=base_url)
    await journal.put(attrs.evolve(make_sent(identity), endpoint="credits.purchase", body=b'{"client_id":"c"}'))


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", SQLITE)
async def test_a_file_that_cannot_be_used(tmp_path: Path, name: str, use: str) -> None:
    """Whatever happened to the file while it is open."""
    (tmp_path / "inner").mkdir()
    journal = SQLiteJournal(tmp_path / "inner" / "journal.db")
    async with open_client(journal) as (bardge, server):
        await put_doubt(journal, server.base_url)
        SQLITE[name](journal)
        with pytest.raises(JournalError):
            await USES[use](bardge)
        assert server.requests == []
    journal.close()


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", POSTGRES)
async def test_tables_that_cannot_be_used(postgres: Database, name: str, use: str) -> None:
    """Whatever happened to the tables."""
    async with PostgresJournal(postgres.clear(), patience=0.5) as journal, open_client(journal) as (bardge, server):
        await put_doubt(journal, server.base_url)
        postgres.admin.execute(POSTGRES[name].encode())
        try:
            with pytest.raises(JournalError):
                await USES[use](bardge)
            assert server.requests == []
        finally:
            postgres.admin.execute(BACK[name].encode())


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", ["closed", "never there"])
async def test_a_database_that_cannot_be_used(postgres: Database, name: str, use: str) -> None:
    """Closed by its owner, or nothing listens."""
    dsn = postgres.clear() if name == "closed" else f"postgresql://bardge@127.0.0.1:{find_refused_port()}/postgres"
    journal = PostgresJournal(dsn, patience=0.2)
    async with open_client(journal) as (bardge, server):
        if name == "closed":
            await journal.aclose()
        with pytest.raises(JournalError):
            await USES[use](bardge)
        assert server.requests == []
    await journal.aclose()
