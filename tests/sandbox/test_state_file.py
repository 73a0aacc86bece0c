"""The sandbox opens only its own files, and says in one line why one cannot be used."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bardge_async import ConfigurationError, SQLiteJournal
from bardge_async.cli._commands import bardge
from bardge_async.sandbox import Sandbox

BUY = "/credit_purchases"


def make_database(path: Path) -> None:
    """Create another program's database, with a log beside it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.execute("INSERT INTO customers VALUES ('Ada')")
        connection.commit()


def make_journal(path: Path) -> None:
    """Create a journal of this library."""
    SQLiteJournal(path).close()


def make_text(path: Path) -> None:
    """Create a text file."""
    path.write_text("important notes\n" * 100, encoding="utf-8")


def read_folder(folder: Path) -> dict[str, bytes]:
    """Read all files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("make", [make_database, make_journal, make_text])
async def test_other_file_is_refused_and_unchanged(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A file of another program is named and left as it is, and nothing is created beside it."""
    db = tmp_path / "found.db"
    make(db)
    before = read_folder(tmp_path)
    with pytest.raises(ConfigurationError, match=r"db: .*found.db is not a sandbox's file"):
        await Sandbox(db=db).__aenter__()
    assert read_folder(tmp_path) == before


def make_folder(path: Path) -> None:
    """Create a folder in the file's place."""
    path.mkdir(parents=True)


def make_pipe(path: Path) -> None:
    """Create a pipe in the file's place."""
    path.parent.mkdir()
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    """Create a link to itself in the file's place."""
    path.parent.mkdir()
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (None, "the folder .* does not exist"),
        (make_folder, "is not a regular file"),
        (make_pipe, "is not a regular file"),
        (make_loop, "cannot be used"),
    ],
)
async def test_unusable_path_is_refused(tmp_path: Path, make: Callable[[Path], None] | None, reason: str) -> None:
    """What can never be a file is refused immediately, with the reason."""
    db = tmp_path / "sub" / "sandbox.db"
    if make is not None:
        make(db)
    with pytest.raises(ConfigurationError, match=f"db: .*{reason}"):
        await Sandbox(db=db).__aenter__()


async def test_empty_file_is_taken(tmp_path: Path) -> None:
    """A file made by ``mktemp`` becomes the sandbox's, and is so at the next start."""
    db = tmp_path / "sandbox.db"
    db.touch()
    for _ in range(2):
        async with Sandbox(db=db) as sandbox:
            assert len(sandbox.ledger("client_abc123")) == 2


async def test_damaged_file_is_refused(tmp_path: Path) -> None:
    """A damaged file is found at the start, and not used."""
    db = tmp_path / "sandbox.db"
    async with Sandbox(db=db):
        pass
    content = bytearray(db.read_bytes())
    content[4096 : 4096 * 20] = b"\x5a" * (4096 * 19)
    db.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"db: .*sandbox.db cannot be used"):
        await Sandbox(db=db).__aenter__()


async def test_file_of_another_version_is_refused(tmp_path: Path) -> None:
    """A later version's tables are not guessed at."""
    db = tmp_path / "sandbox.db"
    async with Sandbox(db=db):
        pass
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="another version"):
        await Sandbox(db=db).__aenter__()


async def test_reset_drops_only_own_tables(tmp_path: Path) -> None:
    """A table that somebody put into the file outlives a reset."""
    db = tmp_path / "sandbox.db"
    async with Sandbox(db=db) as sandbox:
        with closing(sqlite3.connect(db)) as connection:
            connection.execute("CREATE TABLE notes (text TEXT)")
        rotated = sandbox.rotate_key()
        sandbox.reset()
        assert sandbox.api_key != rotated
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)


@pytest.fixture
def fill_disk() -> Callable[[Sandbox, bool], None]:
    """Return a function that lets SQLite find no room, or room again."""

    def set_room(sandbox: Sandbox, full: bool) -> None:
        assert sandbox._store is not None
        sandbox._store._db.execute(f"PRAGMA max_page_count = {1 if full else 1_000_000}")

    return set_room


async def buy_until_refused(raw: Any, buy: Any) -> Any:
    """Buy until the disk is full; return the refusal."""
    for number in range(2000):
        reply = await raw.post(BUY, buy, key=f"order-{number}")
        if reply.status != 201:
            return reply
    raise AssertionError("the disk never became full")


async def test_full_disk_is_an_error_object(
    sandboxed: Any, tmp_path: Path, buy: Any, fill_disk: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is a 500 with the error object and one line in the log, without a traceback."""
    async with sandboxed(db=tmp_path / "sandbox.db") as raw:
        fill_disk(raw.sandbox, True)
        reply = await buy_until_refused(raw, buy)
    assert (reply.status, reply.error["type"], "database or disk is full" in reply.error["message"]) == (
        500,
        "api_error",
        True,
    )
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("ERROR", None)]


async def test_sandbox_goes_on_once_there_is_room(sandboxed: Any, tmp_path: Path, buy: Any, fill_disk: Any) -> None:
    """A purchase that found no room charged nothing, and its key is free when there is room."""
    async with sandboxed(db=tmp_path / "sandbox.db") as raw:
        fill_disk(raw.sandbox, True)
        await buy_until_refused(raw, buy)
        charged = len(raw.sandbox.account())
        fill_disk(raw.sandbox, False)
        again = await raw.post(BUY, buy, key=f"order-{charged}")
        assert (again.status, again.replayed, len(raw.sandbox.account())) == (201, False, charged + 1)


async def test_failed_reset_leaves_the_state(sandboxed: Any, tmp_path: Path, buy: Any) -> None:
    """A reset that cannot be written is refused, and nothing is dropped."""
    async with sandboxed(db=tmp_path / "sandbox.db") as raw:
        await raw.post(BUY, buy)
        raw.sandbox._store._db.execute("PRAGMA query_only = 1")
        async with raw.session.post(raw.sandbox.control_url + "/reset", json={}) as response:
            said = await response.json()
        assert (response.status, "readonly" in said["error"]["message"], len(raw.sandbox.account())) == (500, True, 1)


def test_command_says_it_in_one_line(tmp_path: Path) -> None:
    """``bardge sandbox --db`` of another file ends with one line and 1."""
    make_text(tmp_path / "notes.txt")
    found = CliRunner().invoke(bardge, ["sandbox", "--port", "0", "--db", str(tmp_path / "notes.txt")])
    assert (found.exit_code, found.output.count("\n"), "is not a sandbox's file" in found.output) == (1, 1, True)
