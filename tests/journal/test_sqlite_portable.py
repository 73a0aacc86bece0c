"""Keys held by whole files: freed by the system, shown to others, and never mixed with the other way."""

# ruff: noqa: ASYNC240 - tests may block on the disk
from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from bardge_async import SQLiteJournal, errors
from bardge_async._journal import sqlite_portable
from bardge_async._journal.sqlite_locks import HAS_RANGE_LOCKS
from bardge_async.testing import ManualClock
from tests.journal.factories import KEY, make_done, make_identity, make_sent
from tests.support.cli import run_bardge

Way = Literal["auto", "portable"]
WAYS: tuple[Way, ...] = ("auto", "portable")
OTHER_WAY: dict[Way, Way] = {"auto": "portable", "portable": "auto"}

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),
    pytest.mark.skipif(not HAS_RANGE_LOCKS, reason="this system has one way only"),
]

_HOLDER = """
import asyncio, os, sys, time
from bardge_async import SQLiteJournal
from bardge_async.testing import ManualClock
from tests.journal.factories import KEY, make_identity, make_sent

async def main(path, way, forks):
    journal = SQLiteJournal(path, locks=way)
    await journal.claim(KEY, 0, ManualClock())
    assert journal.hold_fresh(make_identity("fresh"))
    await journal.put(make_sent(make_identity("fresh")))
    if forks == "forks" and not os.fork():
        os.setsid()
        os.write(1, b"child %d\\n" % os.getpid())
        time.sleep(60)
    else:
        os.write(1, b"holds\\n")
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BARDGE_JOURNAL_LOCKS", raising=False)


@contextmanager
def hold_elsewhere(path: Path, way: Way, forks: str = "") -> Generator[subprocess.Popen[str]]:
    """Run a process that has the journal open and holds a claimed key and one made there."""
    command = [sys.executable, "-W", "ignore", "-c", _HOLDER, str(path), way, forks]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


async def claim_soon(journal: SQLiteJournal, seconds: float = 10) -> bool:
    """Return whether the key gets free within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await journal.claim(KEY, 0, ManualClock())
        except errors.KeyInUseError:
            await asyncio.sleep(0.01)
        else:
            journal.release(KEY)
            return True
    return False


@pytest.mark.parametrize("way", WAYS)
async def test_keys_of_another_process(tmp_path: Path, way: Way) -> None:
    """Keys that another process holds are in use here, are no doubts, and are free once it is killed."""
    path = tmp_path / "journal.db"
    with hold_elsewhere(path, way) as process:
        assert read_line(process) == "holds\n"
        with SQLiteJournal(path, locks=way) as journal:
            with pytest.raises(errors.KeyInUseError):
                await journal.claim(KEY, 0, ManualClock())
            fresh = make_identity("fresh")
            assert await journal.unfinished(fresh.base_url, fresh.account) == []
            process.kill()
            process.wait()
            assert await claim_soon(journal)
            assert await journal.unfinished(fresh.base_url, fresh.account) == [make_sent(fresh)]


@pytest.mark.parametrize("way", WAYS)
async def test_killed_parent(tmp_path: Path, way: Way) -> None:
    """A child of a fork keeps no key of its parent: once the parent is killed, they are free while the child lives."""
    path = tmp_path / "journal.db"
    with hold_elsewhere(path, way, "forks") as process:
        lines = sorted([read_line(process), read_line(process)])
        child = int(lines[0].split()[1])
        try:
            with SQLiteJournal(path, locks=way) as journal:
                assert not await claim_soon(journal, 0.2)
                process.kill()
                process.wait()
                assert await claim_soon(journal)
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("way", WAYS)
async def test_other_way(tmp_path: Path, way: Way) -> None:
    """While a journal is open, it cannot be opened the other way; afterwards it can."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path, locks=way) as journal:
        await journal.put(make_sent())
        with pytest.raises(errors.JournalError, match="hold keys by"):
            SQLiteJournal(path, locks=OTHER_WAY[way])
        # A refused opening changes nothing for those who have it open, nor for others of their way.
        await journal.put(make_done(make_sent()))
        with SQLiteJournal(path, locks=way) as again:
            assert await again.listed() == [make_done(make_sent())]
    with SQLiteJournal(path, locks=OTHER_WAY[way]) as other:
        assert await other.listed() == [make_done(make_sent())]


@pytest.mark.parametrize("way", WAYS)
async def test_other_way_after_a_kill(tmp_path: Path, way: Way) -> None:
    """A journal whose process was killed can be opened the other way."""
    path = tmp_path / "journal.db"
    with hold_elsewhere(path, way) as process:
        read_line(process)
        process.kill()
        process.wait()
    with SQLiteJournal(path, locks=OTHER_WAY[way]) as other:
        assert await claim_soon(other)


async def test_lock_files(tmp_path: Path) -> None:
    """Each open journal has a lock file of mode 0600 and of a new name; it is removed at the end, also another's."""
    path = tmp_path / "journal.db"
    names = set[str]()
    for _ in range(3):
        with hold_elsewhere(path, "portable") as process:
            read_line(process)
            process.kill()
            process.wait()
        left = set(tmp_path.glob("journal.db-lock-*"))
        with SQLiteJournal(path, locks="portable"):
            [own] = tmp_path.glob("journal.db-lock-*")
            assert own not in left
            assert stat.S_IMODE(own.stat().st_mode) == 0o600
        names |= {file.name for file in {own, *left}}
        assert list(tmp_path.glob("journal.db-lock-*")) == []
    assert len(names) == 6


async def test_released_rows(tmp_path: Path) -> None:
    """A released key leaves no row behind."""
    with SQLiteJournal(tmp_path / "journal.db", locks="portable") as journal:
        await journal.claim(KEY, 0, ManualClock())
        assert journal.hold_fresh(make_identity("fresh"))
        await journal.put(make_sent(make_identity("fresh")))
        journal.release(KEY)
        journal.release(make_identity("fresh"))
        count = await journal._writer.run(lambda c: c.execute("SELECT count(*) FROM claims").fetchone()[0], writes=True)
        assert count == 0


def test_no_soft_lock(tmp_path: Path) -> None:
    """Where the system cannot lock a file, the journal is refused: a soft lock would outlive its process."""
    with pytest.raises(errors.JournalError, match="no file locks"):
        # No descriptor: the system call fails, as it does on a file system without locks.
        sqlite_portable._try_lock(1_000_000, tmp_path / "journal.db-lock")


def test_unknown_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A way that is not known is named, and no file is created."""
    with pytest.raises(errors.ConfigurationError, match=r"^locks: expected"):
        SQLiteJournal(tmp_path / "journal.db", locks="soft")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    monkeypatch.setenv("BARDGE_JOURNAL_LOCKS", "soft")
    with pytest.raises(errors.ConfigurationError, match=r"^BARDGE_JOURNAL_LOCKS: expected"):
        SQLiteJournal(tmp_path / "journal.db")
    assert list(tmp_path.iterdir()) == []


async def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``BARDGE_JOURNAL_LOCKS=portable`` has the command line hold keys as the program does that has the journal open."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path, locks="portable") as journal:
        await journal.put(make_sent())
        refused = await asyncio.to_thread(run_bardge, "journal", "list", path)
        assert (refused.exit_code, "BARDGE_JOURNAL_LOCKS=portable" in refused.stderr) == (1, True)
        monkeypatch.setenv("BARDGE_JOURNAL_LOCKS", "portable")
        listed = await asyncio.to_thread(run_bardge, "journal", "list", path)
        assert (listed.exit_code, "order-1" in listed.stdout) == (0, True)
