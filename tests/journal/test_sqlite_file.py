"""The journal's file: how it is created, who may open it, and what is left alone."""

# ruff: noqa: ASYNC240 - tests may block on the disk
from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bardge_async import BardgeClient, JournalEntry, SQLiteJournal, errors
from bardge_async import models as m
from bardge_async._journal.sqlite_schema import APPLICATION_ID
from bardge_async.sandbox import Sandbox
from bardge_async.testing import ManualClock
from tests.journal.factories import KEY, make_done, make_identity, make_sent
from tests.journal.held import is_key_freed, is_key_held
from tests.journal.test_protocol import read_record
from tests.support.canary import CANARY
from tests.support.folders import make_reachable_folder
from tests.support.loop import run_loop_until

FORK = multiprocessing.get_context("fork")
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def read_all_records(path: Path) -> list[JournalEntry]:
    """Return all records of a journal's file."""

    async def main() -> list[JournalEntry]:
        with SQLiteJournal(path) as journal:
            return await journal.listed()

    return asyncio.run(main())


def put_in_a_process(path: str, number: int, begin: object) -> None:
    """Open a journal at the same moment as other processes, and put a record."""
    begin.wait()  # type: ignore[attr-defined]

    async def main() -> None:
        with SQLiteJournal(path) as journal:
            await journal.put(make_sent(make_identity(f"order-{number}"), second=number))

    asyncio.run(main())


FIRST_VERSION = {
    "base_url": KEY.base_url,
    "account": "",
    "key": "order-1",
    "endpoint": "passes.update_expiry",
    "url": "https://api.example/v3/p",
    "fingerprint": "v1:1",
    "body": b'\x1f\x8c\x00d[}\xf6\xce{"a":1}',
    "given": 1,
    "state": "done",
    "first_wall": 1780000000.0,
    "first_elapsed": 1000.0,
    "first_highest": 1780000000.0,
    "first_boot": "",
    "last_wall": 1780000003.0,
    "last_elapsed": 1003.0,
    "last_highest": 1780000003.0,
    "last_boot": "",
    "status": 201,
    "answer": b'E\xc3\x12\x16*\xf0\xf4\xde{"balance":5}',
    "request_id": "req_1",
    "seal": b"V4\xf5\xcb\xe4,\xb2\xca",
}
"""An entry as the first version stored it, with its checksums."""


async def test_entry_of_the_first_version(tmp_path: Path) -> None:
    """Every version reads the entries of the first one: its checksums hold."""
    SQLiteJournal(tmp_path / "journal.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.db")) as file, file:
        marks = ", ".join("?" * len(FIRST_VERSION))
        names = ", ".join(FIRST_VERSION)
        file.execute(f"INSERT INTO entries ({names}) VALUES ({marks})", tuple(FIRST_VERSION.values()))  # noqa: S608
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        assert await read_record(journal) == make_done(make_sent(), second=3)


def test_many_processes_make_one_file(tmp_path: Path) -> None:
    """Six processes that concurrently create one file all succeed, and no record is lost."""
    path = tmp_path / "journal.db"
    begin = FORK.Barrier(6)
    processes = [FORK.Process(target=put_in_a_process, args=(str(path), number, begin)) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    assert {record.identity.key for record in read_all_records(path)} == {f"order-{n}" for n in range(6)}


def make_newer_file(path: Path) -> None:
    SQLiteJournal(path).close()
    with sqlite3.connect(path) as found:
        found.execute("PRAGMA user_version = 99")
    found.close()


def make_foreign_file(path: Path) -> None:
    with sqlite3.connect(path) as found:
        found.execute("CREATE TABLE theirs (x)")
    found.close()


def make_foreign_file_with_log(path: Path) -> None:
    """Write another program's database, killed with commits that are only in its log."""
    aside = path.with_name("aside.db")
    found = sqlite3.connect(aside)
    found.executescript("PRAGMA journal_mode = WAL; CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    for end in ("", "-wal"):
        shutil.copy(f"{aside}{end}", f"{path}{end}")
    found.close()
    aside.unlink()


def make_foreign_file_with_our_table(path: Path) -> None:
    with sqlite3.connect(path) as found:
        found.executescript("PRAGMA application_id = 77; CREATE TABLE theirs (x)")
    found.close()


def damage_file(path: Path) -> None:
    SQLiteJournal(path).close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(4096) + content[8192:])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "newer": (make_newer_file, "newer version"),
    "foreign": (make_foreign_file, "another program"),
    "foreign with a log": (make_foreign_file_with_log, "another program"),
    "foreign with a name": (make_foreign_file_with_our_table, "another program"),
    "text": (lambda path: path.write_text("hello " * 1000), "not a database"),
    "short": (lambda path: path.write_bytes(b"SQLite format 3\x00"), "cannot be used|another program"),
    "zeros": (lambda path: path.write_bytes(bytes(8192)), "cannot be used|another program|not a database"),
    "damaged": (damage_file, "damaged|malformed"),
    "folder": (lambda path: path.mkdir(), "not a regular file"),
    "dangling link": (lambda path: path.symlink_to("nowhere"), "not a regular file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_stay_unchanged(tmp_path: Path, name: str) -> None:
    """A file that is no journal of this version raises JournalError and stays unchanged, with no file beside it."""
    make, words = BAD[name]
    make(tmp_path / "journal.db")
    before = read_files(tmp_path)
    with pytest.raises(errors.JournalError, match=words):
        SQLiteJournal(tmp_path / "journal.db")
    after = read_files(tmp_path)
    # An empty lock file may stay beside a journal's file.
    assert {name: content for name, content in after.items() if name != "journal.db-lock" or content} == before


@pytest.fixture
def unprivileged_folder() -> Iterator[Path]:
    """A folder that everybody may enter, as an unprivileged user if the suite is run by root."""
    with make_reachable_folder(0o755) as folder:
        yield folder


def run_unprivileged(work: Callable[[], object]) -> None:
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        work()
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("mode", [0o400, 0o444, 0o000])
def test_no_permission(unprivileged_folder: Path, mode: int) -> None:
    """A file that this user may not read and write raises JournalError and stays unchanged."""
    path = unprivileged_folder / "journal.db"
    SQLiteJournal(path).close()
    path.with_name("journal.db-lock").unlink()
    before = read_files(unprivileged_folder)
    path.chmod(mode)

    def try_to_open() -> None:
        with pytest.raises(errors.JournalError, match=r"read and written|cannot be opened"):
            SQLiteJournal(path)

    run_unprivileged(try_to_open)
    path.chmod(0o600)
    assert read_files(unprivileged_folder) == before


def test_read_only_folder(unprivileged_folder: Path) -> None:
    """A folder in which this user may not create files raises JournalError."""

    def try_to_open() -> None:
        path_inside = unprivileged_folder / "inner"
        with pytest.raises(errors.JournalError, match="cannot be opened: Permission denied"):
            SQLiteJournal(path_inside / "journal.db")

    (unprivileged_folder / "inner").mkdir(mode=0o555)
    run_unprivileged(try_to_open)


def test_missing_folder(tmp_path: Path) -> None:
    """A missing folder raises JournalError, and is not created."""
    with pytest.raises(errors.JournalError, match="No such file"):
        SQLiteJournal(tmp_path / "missing" / "journal.db")


@pytest.mark.parametrize("touched", [False, True])
async def test_modes(tmp_path: Path, *, touched: bool) -> None:
    """The file and its companions are 0600, even if an empty file existed before."""
    path = tmp_path / "journal.db"
    if touched:
        path.touch(0o644)
    with SQLiteJournal(path) as journal:
        await journal.put(make_sent())
        # What follows "-lock" is the name of a journal that is open.
        modes = {file.name[10:15]: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"": 0o600, "-wal": 0o600, "-shm": 0o600, "-lock": 0o600}


async def test_no_secrets(tmp_path: Path) -> None:
    """Neither the API key nor a lookup token is in any byte of the files, open or closed."""
    async with Sandbox() as sandbox:
        journal = SQLiteJournal(tmp_path / "journal.db")
        key = sandbox.api_key
        async with BardgeClient(key, sandbox.base_url, journal=journal) as bardge:
            request = m.AccessCodeRequest(client_id="client_abc123", provider_id="prov_gym_standard")
            async with bardge.idempotent("code-1") as once:
                with pytest.raises(errors.BardgeError):
                    await once.access_codes.generate(request, lookup_token=CANARY)
            async with bardge.idempotent("buy-1") as once:
                await once.credits.purchase(m.PurchaseCredits(client_id="client_abc123", package_id="cpkg_50"))
        opened = b"".join(read_files(tmp_path).values())
        journal.close()
        found = opened + b"".join(read_files(tmp_path).values())
    assert b"buy-1" in found
    assert (key.encode() in found, CANARY.encode() in found) == (False, False)


async def test_half_made_file(tmp_path: Path) -> None:
    """A file whose creator was killed in its first commit is created again."""
    path = tmp_path / "journal.db"
    with sqlite3.connect(path, isolation_level=None) as found:
        found.execute("PRAGMA cache_size = 1")
        found.execute("BEGIN")
        found.execute("CREATE TABLE big (x)")
        found.executemany("INSERT INTO big VALUES (?)", [(bytes(3000),)] * 50)
        halves = {end: Path(f"{path}{end}").read_bytes() for end in ("", "-journal")}
        found.execute("ROLLBACK")
    found.close()
    for end, half in halves.items():
        Path(f"{path}{end}").write_bytes(half)
    with SQLiteJournal(path) as journal:
        await journal.put(make_sent())
        assert await read_record(journal) == make_sent()


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-lock"])
@pytest.mark.parametrize("replaced", [False, True])
async def test_removed_or_replaced(tmp_path: Path, end: str, *, replaced: bool) -> None:
    """A journal of which any file was removed or replaced while open accepts no more records."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path) as journal:
        await journal.put(make_sent())
        victim = Path(f"{path}{end}")
        content = victim.read_bytes()
        victim.rename(tmp_path / "away")
        if replaced:
            victim.write_bytes(content)
        with pytest.raises(errors.JournalError, match="removed or replaced while it was open"):
            await journal.put(make_done(make_sent()))
        with pytest.raises(errors.JournalError, match="removed or replaced while it was open"):
            await read_record(journal)


async def test_closing_one_journal_frees_nothing_of_another(tmp_path: Path) -> None:
    """Two journals of one process over one file: closing one leaves the other's keys and log alone."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path) as first:
        await first.claim(KEY, 0, ManualClock())
        SQLiteJournal(path).close()
        begin = FORK.Barrier(1)
        process = FORK.Process(target=put_in_a_process, args=(str(path), 7, begin))
        process.start()
        await asyncio.to_thread(process.join)
        # The other process closed last as far as it could see: the log must still be ours.
        await first.put(make_sent())
        other = sqlite3.connect(path)
        assert other.execute("SELECT count(*) FROM entries").fetchone() == (2,)
        other.close()
        assert is_key_held(path)
        first.release(KEY)
        assert await asyncio.to_thread(is_key_freed, path)


async def test_close_frees_every_key(tmp_path: Path) -> None:
    """A closed journal keeps no key, claimed or newly made, from another process."""
    journal = SQLiteJournal(tmp_path / "journal.db")
    await journal.claim(KEY, 0, ManualClock())
    assert journal.hold_fresh(make_identity("order-2"))
    journal.close()
    path = tmp_path / "journal.db"
    assert (is_key_held(path), is_key_held(path, make_identity("order-2"))) == (False, False)


async def test_close_frees_a_key_after_its_outcome_is_on_disk(tmp_path: Path) -> None:
    """While a journal that is being closed still writes an outcome, no other process gets the key: it would send."""
    path = tmp_path / "journal.db"
    journal = SQLiteJournal(path)
    await journal.claim(KEY, 0, ManualClock())
    await journal.put(make_sent())
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(journal.put(make_done(make_sent())))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(journal.close))
        await run_loop_until(lambda: journal._writer._closed)
        held_while_writing = is_key_held(path)
        blocker.execute("ROLLBACK")
        await asyncio.gather(writing, closing)
    assert (held_while_writing, is_key_held(path)) == (True, False)
    with SQLiteJournal(path) as again:
        assert await again.listed() == [make_done(make_sent())]


async def test_closed(tmp_path: Path) -> None:
    """A closed journal raises JournalError, and is not reopened silently."""
    journal = SQLiteJournal(tmp_path / "journal.db")
    await journal.put(make_sent())
    journal.close()
    journal.close()
    with pytest.raises(errors.JournalError, match="is closed"):
        await journal.put(make_sent())
    with pytest.raises(errors.JournalError, match="is closed"):
        await read_record(journal)


def test_application_id(tmp_path: Path) -> None:
    """The file identifies its program, even if little was put in it."""
    SQLiteJournal(tmp_path / "journal.db").close()
    head = (tmp_path / "journal.db").read_bytes()[:100]
    assert (int.from_bytes(head[68:72]), int.from_bytes(head[60:64])) == (APPLICATION_ID, 3)


@pytest.mark.parametrize("seconds", [-1, True, "1", float("nan")])
def test_settings(tmp_path: Path, seconds: float) -> None:
    """Retention times that are not numbers from 0 on are rejected, and no file is created."""
    with pytest.raises(errors.ConfigurationError, match="keep_bodies"):
        SQLiteJournal(tmp_path / "journal.db", keep_bodies=seconds)
    assert list(tmp_path.iterdir()) == []


async def test_close_in_the_same_turn(tmp_path: Path) -> None:
    """A put requested just before the journal is closed is still written."""
    journal = SQLiteJournal(tmp_path / "journal.db")
    task = asyncio.create_task(journal.put(make_sent()))
    await asyncio.sleep(0)
    journal.close()
    await task
    with SQLiteJournal(tmp_path / "journal.db") as again:
        assert await again.listed() == [make_sent()]


async def test_removed_after_a_fork(tmp_path: Path) -> None:
    """A file that is removed after a fork, which closes it, is not made again: it held keys."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path) as journal:
        await journal.put(make_sent())
        child = FORK.Process(target=int)
        child.start()
        child.join()
        for file in tmp_path.iterdir():
            file.unlink()
        with pytest.raises(errors.JournalError, match="removed or replaced"):
            await journal.put(make_done(make_sent()))
    assert not path.exists()
