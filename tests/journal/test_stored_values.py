"""Rows whose checksum is right and whose values are not: they end as ``JournalError``, in every store that has rows."""

# ruff: noqa: S608 - columns by name
from __future__ import annotations

import math
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from bardge_async import BardgeClient, Journal, JournalError, PostgresJournal, SQLiteJournal
from bardge_async._journal import sqlite_rows
from bardge_async.testing import ManualClock
from tests.journal.factories import BASE, KEY, make_done, make_sent
from tests.support.postgres import Database

_TEXT_FIELDS: Final = ("account", "endpoint", "url", "fingerprint")
WRONG: Final[dict[str, tuple[str, Any]]] = {
    **{f"{name} as bytes": (name, b"x") for name in ("base_url", *_TEXT_FIELDS, "state", "first_boot", "request_id")},
    **{f"{name} as a number": (name, 5) for name in ("state", "body", "answer", "request_id", "first_boot")},
    "key with a line break": ("key", "a\r\nX-Evil: 1"),
    "key beyond ASCII": ("key", "ключ"),
    "empty key": ("key", ""),
    "endless key": ("key", "k" * 256),
    "body as text": ("body", "{}"),
    "answer as text": ("answer", "{}"),
    "given twice": ("given", 2),
    "given as text": ("given", "yes"),
    "unknown state": ("state", "paid"),
    "state in capitals": ("state", "DONE"),
    "no state": ("state", ""),
    "wall as text": ("first_wall", "yesterday"),
    "wall infinite": ("first_wall", math.inf),
    "wall beyond the calendar": ("last_wall", 1e15),
    "wall before the calendar": ("first_wall", -1e15),
    "elapsed infinite": ("first_elapsed", -math.inf),
    "highest infinite": ("last_highest", math.inf),
    "server's time infinite": ("first_server", math.inf),
    "server's time as text": ("first_server", "now"),
    "trust as text": ("key_honoured", "yes"),
    "trust twice": ("key_honoured", 2),
    "half a reading": ("first_elapsed", None),
    "no boot": ("last_boot", None),
    "status of no class": ("status", 7),
    "status too large": ("status", 10**12),
    "status as text": ("status", "201"),
    "status with a fraction": ("status", 200.5),
}
READS: Final[dict[str, Callable[[Journal], Awaitable[object]]]] = {
    "claim": lambda journal: journal.claim(KEY, 0, ManualClock()),
    "unfinished": lambda journal: journal.unfinished(BASE, ""),
    "since": lambda journal: journal.since(make_sent(KEY._replace(key="other"), second=100)),
    "listed": lambda journal: journal.listed(),  # type: ignore[attr-defined]
}
POSITIONS: Final = {name: number for number, name in enumerate(sqlite_rows.COLUMNS.split(", "))}


async def forge_row(path: Path, column: str, value: object) -> None:
    """Store an entry with one changed value, under a checksum that fits."""
    with SQLiteJournal(path) as journal:
        await journal.put(make_sent())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        row = list(connection.execute(f"SELECT {sqlite_rows.COLUMNS} FROM entries").fetchone())
        row[POSITIONS[column]] = value
        seal = sqlite_rows._compute_checksum(tuple(row[:20]), *row[21:])
        connection.execute(f"UPDATE entries SET {column} = ?, seal = ?", (value, seal))


def is_harmless(read: str, column: str) -> bool:
    """Return whether a read does not meet the row: it is looked up by that column."""
    looked_up = {
        "claim": {"base_url", "account", "key"},
        "unfinished": {"base_url", "account", "state"},
        "since": {"base_url", "account", "endpoint", "last_wall"},
    }
    return column in looked_up.get(read, ())


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_value_in_a_file(tmp_path: Path, name: str, read: str) -> None:
    """Every read of the row ends as ``JournalError``, whatever is wrong with it."""
    column, value = WRONG[name]
    await forge_row(tmp_path / "journal.db", column, value)
    try:
        with SQLiteJournal(tmp_path / "journal.db") as journal:
            await READS[read](journal)
    except JournalError:
        return
    assert is_harmless(read, column)


@pytest.mark.parametrize("state", ["done", "sent"])
async def test_done_without_a_first_send(tmp_path: Path, state: str) -> None:
    """An entry that is done was sent at some time: without it, it would pass for never sent and be charged again."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path) as journal:
        await journal.put(make_sent())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        row = list(connection.execute(f"SELECT {sqlite_rows.COLUMNS} FROM entries").fetchone())
        row[8], row[9:13] = state, [None] * 4
        seal = sqlite_rows._compute_checksum(tuple(row[:20]), *row[21:])
        empty = ", ".join(f"{name} = NULL" for name in ("first_wall", "first_elapsed", "first_highest", "first_boot"))
        connection.execute(f"UPDATE entries SET state = ?, {empty}, seal = ?", (state, seal))
    with SQLiteJournal(path) as journal:
        if state == "done":
            with pytest.raises(JournalError, match="impossible state"):
                await journal.claim(KEY, 0, ManualClock())
        else:
            assert await journal.claim(KEY, 0, ManualClock()) is not None


POSTGRES_WRONG: Final[dict[str, tuple[str, Any]]] = {
    "unknown state": ("state", "paid"),
    "key with a line break": ("key", "a\r\nX-Evil: 1"),
    "wall infinite": ("first_wall", math.inf),
    "wall not a number": ("last_wall", math.nan),
    "wall beyond the calendar": ("first_wall", 1e15),
    "half a reading": ("first_elapsed", None),
    "server's time infinite": ("first_server", math.inf),
    "status of no class": ("status", 7),
    "no endpoint": ("endpoint", None),
    "no URL": ("url", None),
    "no fingerprint": ("fingerprint", None),
}


@pytest.mark.parametrize("name", POSTGRES_WRONG)
async def test_a_wrong_value_in_a_table(postgres: Database, name: str) -> None:
    """The columns' types do not exclude it."""
    column, value = POSTGRES_WRONG[name]
    async with PostgresJournal(postgres.clear()) as journal:
        await journal.put(make_sent())
        postgres.admin.execute(f"UPDATE bardge.entries SET {column} = %s".encode(), (value,))
        with pytest.raises(JournalError, match="damaged"):
            await journal.listed()
    postgres.clear()


BODIES: Final = {
    "no JSON": b"{",
    "no object": b"[1]",
    "no text": b"\xff",
    "a deep one": b"[" * 200_000,
    "null": b"null",
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_is_no_object(tmp_path: Path, name: str) -> None:
    """What reads a doubt's request says that the journal is damaged, and nothing is sent."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path) as journal:
        entry = make_sent()
        await journal.put(make_done(entry))
        await journal.put(make_with_body(BODIES[name]))
        async with BardgeClient("key", BASE, journal=journal, clock=ManualClock()) as bardge:
            for examine in (bardge.in_doubt, lambda: bardge.reconcile("order-2")):
                with pytest.raises(JournalError, match="order-2"):
                    await examine()
            assert await bardge.recover() == []


def make_with_body(body: bytes) -> Any:
    """Make an entry in doubt with a body."""
    return attrs.evolve(make_sent(KEY._replace(key="order-2")), body=body, endpoint="credits.purchase")
