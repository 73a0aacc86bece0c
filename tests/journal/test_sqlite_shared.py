"""One file, one journal: under every name, with any number of processes, and whatever else opens its files."""

# ruff: noqa: ASYNC240 - tests may block on the disk
from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bardge_async import SQLiteJournal, errors
from bardge_async.testing import ManualClock
from tests.journal.factories import KEY, make_done, make_identity, make_sent
from tests.journal.held import is_key_held
from tests.support.loop import run_loop_until

FORK = multiprocessing.get_context("fork")
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

_FILES = ("", "-wal", "-shm", "-lock")
_USER = """
import asyncio, sys
from bardge_async import SQLiteJournal
from tests.journal.factories import make_identity, make_sent

async def main(path, key, rows):
    with SQLiteJournal(path) as journal:
        await asyncio.gather(*(journal.put(make_sent(make_identity(f"{key}-{n}"))) for n in range(int(rows))))

asyncio.run(main(*sys.argv[1:]))
"""


def use_elsewhere(path: Path, key: str, rows: int = 1) -> None:
    """Open the journal in another process, put entries and close it."""
    subprocess.run([sys.executable, "-c", _USER, str(path), key, str(rows)], check=True)


def touch_files(path: Path) -> None:
    """Open and close every file, as a backup does: the system then releases SQLite's locks of this process."""
    for end in _FILES:
        os.close(os.open(f"{path}{end}", os.O_RDWR))


async def list_keys(journal: SQLiteJournal) -> set[str]:
    return {entry.identity.key for entry in await journal.listed()}


async def test_closed_descriptors(tmp_path: Path) -> None:
    """Another process that closes the journal while this one has lost SQLite's locks leaves the log alone."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path) as journal:
        await journal.put(make_sent())
        for number in range(3):
            touch_files(path)
            log = path.with_name("journal.db-wal").stat().st_ino
            await asyncio.to_thread(use_elsewhere, path, f"other{number}")
            assert path.with_name("journal.db-wal").stat().st_ino == log
            await journal.put(make_sent(make_identity(f"mine{number}-0")))
        names = {f"{who}{number}-0" for who in ("mine", "other") for number in range(3)}
        assert await list_keys(journal) == {"order-1"} | names
    with SQLiteJournal(path) as again:
        assert await list_keys(again) == {"order-1"} | names


async def test_index_cut_by_another_process(tmp_path: Path) -> None:
    """An index that SQLite cuts, in a process that takes itself for the first, kills nobody who has mapped all of it."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path) as journal:
        size = 0
        while size <= 32768:
            # More frames than one block of the index holds, and a transaction that moves them into the file.
            big = make_sent(make_identity(f"big-{size}"))
            await journal._writer.run(_fill, writes=True)
            await journal.put(big)
            size = path.with_name("journal.db-shm").stat().st_size
        touch_files(path)
        await asyncio.to_thread(use_elsewhere, path, "other")
        assert path.with_name("journal.db-shm").stat().st_size == 32768
        await journal._writer.run(_fill, writes=True)
        assert "other-0" in await list_keys(journal)


def _fill(connection: object) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS filling (x)")  # type: ignore[attr-defined]
    connection.executemany("INSERT INTO filling VALUES (?)", [(bytes(4000),)] * 4500)  # type: ignore[attr-defined]
    connection.execute("DELETE FROM filling")  # type: ignore[attr-defined]


async def test_two_journals_of_one_process(tmp_path: Path) -> None:
    """The one of two journals of a process that is closed first leaves the log to the other."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path) as journal:
        with SQLiteJournal(path) as other:
            await other.put(make_sent(make_identity("other")))
        touch_files(path)
        await asyncio.to_thread(use_elsewhere, path, "third")
        await journal.put(make_sent())
        assert await list_keys(journal) == {"order-1", "other", "third-0"}


def test_last_one_moves_the_log(tmp_path: Path) -> None:
    """Whoever closes a journal last leaves one file that needs no other."""
    asyncio.run(_put_one(tmp_path / "journal.db"))
    assert {file.name for file in tmp_path.iterdir()} == {"journal.db", "journal.db-lock"}


async def _put_one(path: Path) -> None:
    with SQLiteJournal(path) as journal:
        await journal.put(make_sent())


async def test_links(tmp_path: Path) -> None:
    """A journal that is opened through links is the same journal: its files lie beside the real one, its keys are held."""
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "link.db").symlink_to("folder/journal.db")
    path = tmp_path / "real" / "journal.db"
    with SQLiteJournal(path) as journal, SQLiteJournal(tmp_path / "link.db") as linked:
        await journal.claim(KEY, 0, ManualClock())
        assert linked.path == path
        assert is_key_held(tmp_path / "real" / "journal.db")
        with pytest.raises(errors.KeyInUseError):
            await linked.claim(KEY, 0, ManualClock())
        names = {file.name for file in tmp_path.iterdir()}
    assert names == {"real", "folder", "link.db"}


async def test_hard_links(tmp_path: Path) -> None:
    """A file that has another name is refused: each name would have locks and a log of its own."""
    path = tmp_path / "journal.db"
    await _put_one(path)
    (tmp_path / "other.db").hardlink_to(path)
    with pytest.raises(errors.JournalError, match="2 hard links"):
        SQLiteJournal(path)
    with pytest.raises(errors.JournalError, match="2 hard links"):
        SQLiteJournal(tmp_path / "other.db")
    (tmp_path / "other.db").unlink()
    SQLiteJournal(path).close()


def test_loop_of_links(tmp_path: Path) -> None:
    """A link to itself is an error that says so."""
    (tmp_path / "journal.db").symlink_to("journal.db")
    with pytest.raises(errors.JournalError, match="not a regular file"):
        SQLiteJournal(tmp_path / "journal.db")


def open_at_once(path: str, begin: object, answer: object) -> None:
    begin.wait()  # type: ignore[attr-defined]
    try:
        SQLiteJournal(path).close()
    except errors.JournalError as error:
        answer.put(str(error))  # type: ignore[attr-defined]


def test_many_processes_open_a_large_file(tmp_path: Path) -> None:
    """48 processes that open one large journal at the same moment all succeed."""
    path = tmp_path / "journal.db"
    asyncio.run(_put_many(path, 20_000))
    assert path.stat().st_size > 6_000_000
    begin, answer = FORK.Barrier(48), FORK.SimpleQueue()
    processes = [FORK.Process(target=open_at_once, args=(str(path), begin, answer)) for _ in range(48)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert answer.empty() or answer.get() == ""
    assert [process.exitcode for process in processes] == [0] * 48


async def _put_many(path: Path, rows: int) -> None:
    with SQLiteJournal(path) as journal:
        await asyncio.gather(*(journal.put(make_done(make_sent(make_identity(f"o-{n}")))) for n in range(rows)))


def test_opening_reads_little(tmp_path: Path) -> None:
    """Opening a journal, and opening it again after a fork, reads a small part of it."""
    path = tmp_path / "journal.db"
    asyncio.run(_put_many(path, 20_000))
    with SQLiteJournal(path) as journal:
        child = os.fork()
        if not child:
            try:
                asyncio.run(journal.claim(KEY, 0, ManualClock()))
                os._exit(0 if _count_read_bytes() < 2_000_000 else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _count_read_bytes() -> int:
    """Return how much this process has read; a fork begins at zero."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines())
    return int(lines["rchar"])


async def test_locked_within_the_time_of_a_call(tmp_path: Path) -> None:
    """A claim of a file that another program has locked ends with its call's time, and says so."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path) as journal, SQLiteJournal(path) as other:
        locks = other._locks
        locks.wait_to_lock(exclusive=True, timeout=1)
        clock = ManualClock()
        claim = asyncio.ensure_future(journal.claim(KEY, 5, clock))
        await run_loop_until(lambda: clock.pending_timers)
        clock.advance(6)
        with pytest.raises(errors.JournalError, match="timed out") as caught:
            await claim
        assert caught.value.timed_out
        locks.unlock()
        assert await journal.claim(KEY, 5, clock) is None
        journal.release(KEY)


async def test_locked_for_longer_than_sqlite_waits(tmp_path: Path) -> None:
    """An outcome waits for a file that is locked for some time, and is stored."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path) as journal, SQLiteJournal(path) as other:
        other._locks.wait_to_lock(exclusive=True, timeout=1)
        began = time.monotonic()
        put = asyncio.ensure_future(journal.put(make_done(make_sent())))
        await asyncio.sleep(0.3)
        assert not put.done()
        other._locks.unlock()
        await put
        assert time.monotonic() - began < 10
        assert await list_keys(journal) == {"order-1"}
