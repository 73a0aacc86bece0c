"""What a journal's file lost behind the library's back is noticed when it is opened, and taken only when told so."""

# ruff: noqa: ASYNC240 - tests may block on the disk
from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bardge_async import SQLiteJournal, errors
from bardge_async._journal.sqlite_verify import verify_journal
from tests.journal.factories import make_done, make_identity, make_sent
from tests.support.cli import run_bardge

_WORKER = """
import asyncio, os, sys
from bardge_async import SQLiteJournal
from tests.journal.factories import make_done, make_identity, make_sent

async def main(path, begin, end):
    journal = SQLiteJournal(path)
    for number in range(begin, end):
        await journal.put(make_done(make_sent(make_identity(f"order-{number}"))))
    os.kill(os.getpid(), 9)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def put_some(path: Path, begin: int, end: int) -> None:
    with SQLiteJournal(path) as journal:
        for number in range(begin, end):
            await journal.put(make_done(make_sent(make_identity(f"order-{number}"))))


def put_and_die(path: Path, begin: int, end: int) -> None:
    """Put entries in a process that is killed, and so leaves its log."""
    command = [sys.executable, "-c", _WORKER, str(path), str(begin), str(end)]
    assert subprocess.run(command, check=False).returncode == -9


def count_entries(path: Path) -> int:
    with SQLiteJournal(path) as journal:
        return len(asyncio.run(journal.listed()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed journal of five entries."""
    asyncio.run(put_some(tmp_path / "journal.db", 0, 5))
    return tmp_path / "journal.db"


def test_killed_process_loses_nothing(path: Path) -> None:
    """A journal whose process was killed opens with everything that was acknowledged."""
    put_and_die(path, 5, 10)
    assert verify_journal(path) == []
    assert count_entries(path) == 10


def test_older_copy(path: Path) -> None:
    """An older copy in place of a journal is refused, until it is accepted as it is."""
    shutil.copy(path, path.with_name("old"))
    asyncio.run(put_some(path, 5, 10))
    shutil.copy(path.with_name("old"), path)
    with pytest.raises(errors.JournalError, match=r"commit 5, and commit 10 was acknowledged.*verify --accept"):
        SQLiteJournal(path)
    assert "commit 10 was acknowledged" in verify_journal(path)[0]
    assert verify_journal(path, accept=True) == []
    assert count_entries(path) == 5


@pytest.mark.parametrize("removed", [("-wal",), ("-wal", "-shm")])
def test_removed_log(path: Path, removed: tuple[str, ...]) -> None:
    """A log that was removed after its process was killed is missed; put back, nothing is lost."""
    put_and_die(path, 5, 10)
    contents = {end: Path(f"{path}{end}").read_bytes() for end in removed}
    for end in removed:
        Path(f"{path}{end}").unlink()
    with pytest.raises(errors.JournalError, match="older than it was"):
        SQLiteJournal(path)
    assert len(verify_journal(path)) == 1
    for end, content in contents.items():
        Path(f"{path}{end}").write_bytes(content)
    assert count_entries(path) == 10


def test_index_without_a_log(path: Path) -> None:
    """Without a lock file to compare with, an index whose log is missing still shows that one was removed."""
    put_and_die(path, 5, 10)
    Path(f"{path}-wal").unlink()
    Path(f"{path}-lock").unlink()
    with pytest.raises(errors.JournalError, match="its -shm is there, and its log is not"):
        SQLiteJournal(path)
    assert verify_journal(path, accept=True) == []
    assert count_entries(path) == 5


async def test_log_removed_while_open(path: Path) -> None:
    """A log that was removed while the journal was open is moved into the file when that is closed: nothing is lost."""
    with SQLiteJournal(path) as journal:
        await journal.put(make_done(make_sent(make_identity("order-5"))))
        Path(f"{path}-wal").unlink()
        with pytest.raises(errors.JournalError, match="removed or replaced"):
            await journal.put(make_sent(make_identity("order-6")))
    assert {file.name for file in path.parent.iterdir()} == {"journal.db", "journal.db-lock"}
    assert await asyncio.to_thread(count_entries, path) == 6


def test_cut_log(path: Path) -> None:
    """A log that ends before what was acknowledged is noticed."""
    put_and_die(path, 5, 20)
    log = Path(f"{path}-wal").read_bytes()
    Path(f"{path}-wal").write_bytes(log[: len(log) // 2])
    with pytest.raises(errors.JournalError, match="commit 20 was acknowledged"):
        SQLiteJournal(path)


def test_older_file_under_a_newer_log(path: Path) -> None:
    """An older copy of the file alone, under a log that is newer, is no mixture of both."""
    shutil.copy(path, path.with_name("old"))
    asyncio.run(put_some(path, 5, 10))
    put_and_die(path, 10, 15)
    shutil.copy(path.with_name("old"), path)
    with pytest.raises(errors.JournalError, match="its log begins after commit 10"):
        SQLiteJournal(path)


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_gone(path: Path, what: str) -> None:
    """A file that is gone or empty is not made anew while its lock file says that it held entries."""
    if what == "missing":
        path.unlink()
    else:
        os.truncate(path, 0)
    with pytest.raises(errors.JournalError, match=rf"the journal is {what}.*remove journal.db-lock"):
        SQLiteJournal(path)
    path.with_name("journal.db-lock").unlink()
    assert count_entries(path) == 0


def test_lost_lock_file(path: Path) -> None:
    """A lock file that an unsynced write lost in a power failure refuses nothing."""
    path.with_name("journal.db-lock").write_bytes(b"")
    asyncio.run(put_some(path, 5, 6))
    assert count_entries(path) == 6


def test_verify_from_the_command_line(path: Path) -> None:
    """``bardge journal verify`` exits with 0 for a whole file, with 1 for another, and says what is wrong."""
    assert run_bardge("journal", "verify", str(path)).exit_code == 0
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(4096) + content[8192:])
    damaged = run_bardge("journal", "verify", str(path), "--json")
    assert (damaged.exit_code, json.loads(damaged.stdout)["whole"]) == (1, False)
    missing = run_bardge("journal", "verify", str(path.with_name("none.db")))
    assert (missing.exit_code, "no journal file" in missing.stderr) == (1, True)


def test_verify_finds_a_changed_entry(path: Path) -> None:
    """An entry whose bytes were changed under whole pages is found."""
    content = path.read_bytes()
    assert content.count(b'{"balance":5}') == 5
    path.write_bytes(content.replace(b'{"balance":5}', b'{"balance":6}', 1))
    [fault] = verify_journal(path)
    assert fault.startswith("entry ")
    assert "damaged" in fault
