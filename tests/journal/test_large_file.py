"""A file with many entries: opening it, also after a fork, and asking for doubts reads little of it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from bardge_async import JournalEntry, SQLiteJournal, errors
from bardge_async._journal import sqlite_since
from bardge_async._journal.sqlite_rows import COLUMNS, entry_columns
from bardge_async.testing import ManualClock
from tests.journal.factories import BASE, KEY, make_done, make_identity, make_sent

COUNT: Final = 20_000
DOUBT: Final = make_sent(make_identity("doubt"), second=15_000.5)
FEW: Final = 400_000
"""Bytes: of more than 12 million."""
FORK: Final = multiprocessing.get_context("fork")


def make_entry(number: int) -> JournalEntry:
    """Make a finished entry; every tenth is of another endpoint."""
    entry = make_done(make_sent(make_identity(f"order-{number}"), second=number), second=number)
    return attrs.evolve(entry, endpoint="credits.purchase") if number % 10 == 0 else entry


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a journal with 20,000 finished entries, and a doubt among them."""
    path = tmp_path_factory.mktemp("large") / "journal.db"
    SQLiteJournal(path).close()
    connection = sqlite3.connect(path)
    entries = [make_entry(number) for number in range(COUNT)]
    entries.insert(15_000, DOUBT)
    marks = ", ".join("?" * (COLUMNS.count(",") + 1))
    connection.executemany(
        f"INSERT INTO entries ({COLUMNS}) VALUES ({marks})",  # noqa: S608 - constants
        map(entry_columns, entries),
    )
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    assert path.stat().st_size > 10 * FEW
    return path


def count_bytes_read(work: Callable[[], object]) -> int:
    """Return how many bytes this process reads from files while it does some work."""
    before = _read_counter()
    work()
    return _read_counter() - before


def _read_counter() -> int:
    return int(Path("/proc/self/io").read_text(encoding="ascii").split()[1])


def test_opening(path: Path) -> None:
    """Opening reads a few pages."""
    assert count_bytes_read(lambda: SQLiteJournal(path).close()) < FEW


def use_in_child(journal: SQLiteJournal, result: Any) -> None:
    def claim() -> None:
        asyncio.run(journal.claim(make_identity("order-7"), 0, ManualClock()))

    result.value = count_bytes_read(claim)
    journal.close()
    os._exit(0)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_opening_after_a_fork(path: Path) -> None:
    """So does opening it again in a forked child, and in its parent."""
    with SQLiteJournal(path) as journal:
        result = FORK.Value("q", -1)
        child = FORK.Process(target=use_in_child, args=(journal, result))
        child.start()
        child.join(30)
        assert 0 < result.value < FEW
        assert count_bytes_read(lambda: asyncio.run(journal.claim(KEY, 0, ManualClock()))) < FEW


def test_doubts(path: Path) -> None:
    """Doubts are found without reading what is finished: by the client's journal and on the command line."""

    async def read() -> None:
        with SQLiteJournal(path) as journal:
            assert await journal.unfinished(BASE, "") == [DOUBT]
            assert await journal.listed(unfinished=True) == [DOUBT]

    assert count_bytes_read(lambda: asyncio.run(read())) < FEW


@pytest.fixture
def damaged_path(path: Path, tmp_path: Path) -> Path:
    """A copy with a changed row in the middle."""
    content = bytearray(path.read_bytes())
    place = content.index(b"order-9999passes.")
    content[place + 10 : place + 16] = b"PASSES"
    (tmp_path / "journal.db").write_bytes(content)
    return tmp_path / "journal.db"


async def test_damage_is_found_when_it_is_read(damaged_path: Path) -> None:
    """A file that is damaged where no call gets opens; reading that entry is an error."""
    with SQLiteJournal(damaged_path) as journal:
        assert await journal.claim(make_identity("order-7"), 0, ManualClock()) is not None
        with pytest.raises(errors.JournalError, match="damaged"):
            await journal.listed()


async def test_since(path: Path) -> None:
    """What was sent since a doubt is complete, though it is read in pages."""
    steps: list[bool] = []
    with SQLiteJournal(path) as journal:

        async def count_steps(work: Callable[[sqlite3.Connection], Any], *, writes: bool) -> Any:
            steps.append(writes)
            return await journal._writer.run(work, writes=writes)

        found = await sqlite_since.list_sent_since(count_steps, DOUBT)
        assert await journal.since(DOUBT) == found
    # From ten minutes before the doubt's first send.
    expected = {f"order-{number}" for number in range(14_401, COUNT) if number % 10}
    assert {entry.identity.key for entry in found} == expected
    assert len(found) == len(expected)
    # The doubts, and 5,599 finished entries of all endpoints.
    assert steps == [False] * 7


async def test_doubts_since(tmp_path: Path) -> None:
    """Other doubts are among what was sent since, too."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        await journal.put(DOUBT)
        await journal.put(make_sent(make_identity("other"), second=15_000))
        assert [entry.identity.key for entry in await journal.since(DOUBT)] == ["other"]
