"""``bardge journal`` with the URL of a database in place of a file."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from bardge_async import EntryState, PostgresJournal
from tests.journal.elsewhere import read_states
from tests.journal.factories import WALL, make_done, make_identity, make_sent
from tests.support.cli import run_bardge
from tests.support.postgres import Database


@pytest.fixture
def dsn(postgres: Database) -> str:
    """Write a journal with a done entry and one in doubt."""
    dsn = postgres.clear()

    async def fill() -> None:
        async with PostgresJournal(dsn) as journal:
            await journal.put(make_done(make_sent()))
            await journal.put(make_sent(make_identity("order-2")))

    asyncio.run(fill())
    return dsn


def test_list_and_doubts(dsn: str) -> None:
    """``list`` prints every entry of the database, ``doubts`` those in doubt."""
    assert [one["key"] for one in json.loads(run_bardge("journal", "list", dsn, "--json").stdout)] == [
        "order-1",
        "order-2",
    ]
    assert [one["key"] for one in json.loads(run_bardge("journal", "doubts", dsn, "--json").stdout)] == ["order-2"]


def test_resolve(dsn: str, postgres: Database) -> None:
    """``resolve`` settles a doubt, and releases its key."""
    assert run_bardge("journal", "resolve", dsn, "order-2", "--done").stdout == "order-2 is recorded as done.\n"
    assert read_states(postgres) == {"order-1": EntryState.DONE, "order-2": EntryState.DONE}
    assert postgres.admin.execute("SELECT count(owner) FROM bardge.entries").fetchone() == (0,)


def test_prune(dsn: str, postgres: Database) -> None:
    """``prune`` takes a number of days, and keeps doubts."""
    days = (time.time() - WALL) / 86_400
    assert run_bardge("journal", "prune", dsn, "--keep-entries", str(days + 1)).stdout == "0 entries removed.\n"
    assert run_bardge("journal", "prune", dsn, "--keep-entries", str(days - 1)).stdout == "1 entries removed.\n"
    assert read_states(postgres) == {"order-2": EntryState.SENT}


def test_no_server() -> None:
    """A database that cannot be reached is a message, without the password."""
    result = run_bardge("journal", "list", "postgresql://bardge:secret@127.0.0.1:1/x?connect_timeout=1")
    assert result.exit_code == 1
    assert "cannot be reached" in result.output
    assert "secret" not in result.output


def test_erase(dsn: str) -> None:
    """``erase`` removes the bodies of finished entries that name the client."""
    assert run_bardge("journal", "erase", dsn, "b4").stdout == "The bodies of 0 entries removed.\n"
    assert json.loads(run_bardge("journal", "erase", dsn, "p", "--json").stdout) == {"erased": 1}
