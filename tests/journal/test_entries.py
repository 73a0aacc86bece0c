"""``entries`` streams what a journal holds, in every store: in order, each once, and with nothing left open."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from bardge_async import EntryState, Journal, JournalEntry, PostgresJournal, SQLiteJournal, errors
from bardge_async._journal.pages import PAGE_BYTES, PAGE_ROWS, stream_pages, take_page
from tests.journal.factories import BASE, KEY, make_done, make_identity, make_sent
from tests.support.postgres import Database

COUNT: Final = 2 * PAGE_ROWS + 50


async def put_many(journal: Journal, count: int = COUNT) -> list[JournalEntry]:
    """Put entries, one after another; every tenth stays in doubt, and their keys are in another order."""
    entries = [make_sent(make_identity(f"order-{count - n}"), second=n) for n in range(count)]
    entries = [entry if n % 10 == 0 else make_done(entry, second=n) for n, entry in enumerate(entries)]
    for entry in entries:
        await journal.put(entry)
    return entries


async def read_keys(entries: AsyncIterator[JournalEntry]) -> list[str]:
    return [entry.identity.key async for entry in entries]


async def fail_on_the_first(entries: AsyncIterator[JournalEntry]) -> None:
    async for _ in entries:
        raise ZeroDivisionError


async def test_order(journal: Any) -> None:
    """All entries come, oldest first, as ``listed`` returns them."""
    entries = await put_many(journal)
    assert [entry async for entry in journal.entries()] == entries == await journal.listed()


async def test_unfinished(journal: Any) -> None:
    """With ``unfinished`` come those in doubt, in the same order."""
    doubts = (await put_many(journal))[::10]
    assert (
        [entry async for entry in journal.entries(unfinished=True)] == doubts == await journal.listed(unfinished=True)
    )


async def test_accounts(journal: Journal) -> None:
    """The entries of all servers and accounts come."""
    identities = [KEY._replace(account="b"), KEY._replace(base_url=f"{BASE}/other"), KEY]
    for identity in identities:
        await journal.put(make_sent(identity))
    assert [entry.identity async for entry in journal.entries()] == identities


@pytest.mark.parametrize("unfinished", [False, True])
async def test_nothing(journal: Journal, *, unfinished: bool) -> None:
    """An empty journal yields nothing, as does one without doubts."""
    assert await read_keys(journal.entries(unfinished=unfinished)) == []


async def test_concurrent_changes(journal: Journal) -> None:
    """What is there all the time comes once, though each is sent again and refused, and others come and go."""
    there = [make_identity(f"order-{COUNT - n}") for n in range(COUNT)]
    for identity in there:
        await journal.put(make_sent(identity))
    keys: list[str] = []
    async for entry in journal.entries():
        number = len(keys)
        # What has come and what is still to come changes, the latter as if it were new.
        if number % 10 == 0 and number < COUNT:
            for identity in (entry.identity, there[(number * 7) % COUNT]):
                await journal.put(make_sent(identity, second=number / 10))
                await journal.put(make_done(make_sent(identity, second=number / 10), state=EntryState.REFUSED))
            await journal.put(make_sent(make_identity(f"new-{number}")))
            await journal.remove(make_identity(f"new-{number - 10}"))
        keys.append(entry.identity.key)
    assert len(keys) == len(set(keys))
    assert {identity.key for identity in there} <= set(keys)


async def test_removed_meanwhile(journal: Journal) -> None:
    """What is removed before its page is read does not come, and the rest does."""
    await put_many(journal)
    keys: list[str] = []
    async for entry in journal.entries():
        if not keys:
            await journal.remove(make_identity("order-1"))  # the last one
        keys.append(entry.identity.key)
    assert len(keys) == COUNT - 1


async def test_left_early(journal: Journal) -> None:
    """A loop that is left early, by ``break`` or by an error, leaves nothing open: the next one begins anew."""
    await put_many(journal)
    for _ in range(3):
        async for _ in journal.entries():
            break
    with pytest.raises(ZeroDivisionError):
        await fail_on_the_first(journal.entries())
    await journal.put(make_sent(make_identity("new")))
    assert len(await read_keys(journal.entries())) == COUNT + 1


async def test_cancelled(journal: Journal) -> None:
    """A loop that is cancelled leaves a journal that works."""
    await put_many(journal)
    started = asyncio.Event()

    async def read_for_ever() -> None:
        while True:
            async for _ in journal.entries():
                started.set()

    task = asyncio.create_task(read_for_ever())
    await started.wait()
    task.cancel()
    await asyncio.wait([task])
    await journal.put(make_sent(make_identity("new")))
    assert len(await read_keys(journal.entries())) == COUNT + 1


async def test_no_transaction_in_a_file(tmp_path: Path) -> None:
    """While a loop rests on an entry of a file, no transaction is open: the log can be emptied."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        await put_many(journal)
        stream = journal.entries()
        await anext(stream)
        with sqlite3.connect(tmp_path / "journal.db") as other:
            [(is_busy, _, _)] = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        other.close()
        assert is_busy == 0
        assert len(await read_keys(stream)) == COUNT - 1


async def test_no_transaction_in_a_database(postgres: Database) -> None:
    """While a loop rests on an entry of a database, no session has a transaction or a cursor open."""
    async with PostgresJournal(postgres.clear()) as journal:
        await put_many(journal)
        stream = journal.entries()
        await anext(stream)
        sessions = "SELECT DISTINCT state FROM pg_stat_activity WHERE application_name = 'bardge_async'"
        assert postgres.admin.execute(sessions).fetchall() == [("idle",)]
        assert len(await read_keys(stream)) == COUNT - 1


async def test_closed(tmp_path: Path) -> None:
    """Iterating over a closed journal is an error that says so."""
    journal = SQLiteJournal(tmp_path / "journal.db")
    journal.close()
    with pytest.raises(errors.JournalError, match="closed"):
        await read_keys(journal.entries())


def test_large_bodies() -> None:
    """A page ends with the entry whose bodies exceed its size, so that large ones do not fill the memory."""
    entry = attrs.evolve(make_sent(), body=bytes(PAGE_BYTES // 4 + 1))
    page, end = take_page((number, entry) for number in range(100))
    assert (len(page), end) == (4, 3)


async def test_large_bodies_are_read_in_pages(opener: Any) -> None:
    """Entries with large bodies all come."""
    async with opener() as journal:
        entries = [
            attrs.evolve(make_sent(make_identity(f"order-{n}"), second=n), body=b'"%s"' % (b"x" * (PAGE_BYTES // 2)))
            for n in range(7)
        ]
        for entry in entries:
            await journal.put(entry)
        assert [entry async for entry in journal.entries()] == entries


async def test_a_page_at_a_time() -> None:
    """The next page is read when the last entry of the one before was taken, and no earlier."""
    read: list[int] = []

    async def read_page(position: int) -> tuple[list[JournalEntry], int | None]:
        read.append(position)
        return ([make_sent()] * 3, position + 1) if position < 2 else ([], None)

    seen = [len(read) async for _ in stream_pages(0, read_page)]
    assert (seen, read) == ([1, 1, 1, 2, 2, 2], [0, 1, 2])
