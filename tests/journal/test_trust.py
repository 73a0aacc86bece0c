"""Who may write to a journal's files: others could decide what is charged again."""

# ruff: noqa: ASYNC240 - tests may block on the disk
from __future__ import annotations

import grp
import importlib
import os
import pwd
import sqlite3
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from bardge_async import JournalError, SQLiteJournal
from bardge_async._core.entry import EntryState
from bardge_async._journal.sqlite_reader import JournalReader
from tests.journal.factories import make_done, make_sent
from tests.support.folders import make_reachable_folder

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as several users")
ONE, OTHER, GROUP = 1001, 1002, 1500


@pytest.fixture
def folder() -> Iterator[Path]:
    """A private folder that other users can reach: pytest's own ones cannot be entered by them."""
    with make_reachable_folder(0o700) as place:
        yield place


@contextmanager
def act_as(user: int, group: int, *groups: int) -> Generator[None]:
    """Run as another user, as the system sees it."""
    mine = os.getgroups()
    os.setgroups(groups)
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(mine)


def make_journal(path: Path) -> None:
    with SQLiteJournal(path):
        pass


WRITABLE = [0o666, 0o660, 0o620, 0o602, 0o606, 0o662]


@pytest.mark.parametrize("mode", WRITABLE, ids=oct)
@pytest.mark.parametrize("suffix", ["", "-lock", "-wal", "-shm"])
def test_a_file_that_others_can_write_to_is_refused(folder: Path, suffix: str, mode: int) -> None:
    """The journal's file and its companions: nothing is read from what others could have written."""
    path = folder / "journal.db"
    journal = SQLiteJournal(path)
    path.with_name(path.name + suffix).chmod(mode)
    with pytest.raises(JournalError, match=rf"journal\.db{suffix}: others can write to it.*chmod 600"):
        SQLiteJournal(path)
    path.with_name(path.name + suffix).chmod(0o600)
    journal.close()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o2770, 0o702, 0o773], ids=oct)
def test_a_folder_that_others_can_write_to_is_refused(folder: Path, mode: int) -> None:
    """Whoever can write to the folder can replace the file; no file is made in it."""
    folder.chmod(mode)
    with pytest.raises(JournalError, match=r"others can write to it.*chmod go-w"):
        SQLiteJournal(folder / "journal.db")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("mode", [0o1777, 0o1770, 0o755, 0o500 if os.geteuid() == 0 else 0o700], ids=oct)
def test_a_sticky_folder_is_accepted(folder: Path, mode: int) -> None:
    """In a sticky folder, and in one that only its owner can write to, nobody else can replace the file."""
    folder.chmod(mode)
    make_journal(folder / "journal.db")
    folder.chmod(0o700)


def test_a_companion_that_is_a_link_is_refused(folder: Path) -> None:
    """A link in place of a companion leads to a file that somebody else chose."""
    (folder / "journal.db-wal").symlink_to(folder / "elsewhere")
    with pytest.raises(JournalError, match="must not be links"):
        SQLiteJournal(folder / "journal.db")
    assert not (folder / "elsewhere").exists()


def test_a_link_to_a_journal_is_judged_by_the_file(folder: Path) -> None:
    """What counts is the folder and the mode of the file itself."""
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    (folder / "open" / "journal.db").touch(0o600)
    (folder / "link.db").symlink_to(folder / "open" / "journal.db")
    with pytest.raises(JournalError, match="open: others can write to it"):
        SQLiteJournal(folder / "link.db")


def test_the_reader_trusts_no_more_than_the_journal(folder: Path) -> None:
    """What a batch looks up in a journal is refused as well."""
    path = folder / "journal.db"
    make_journal(path)
    path.chmod(0o666)
    with pytest.raises(JournalError, match="others can write"):
        JournalReader(path)


@needs_root
@pytest.mark.parametrize("foreign", ["file", "folder", "companion"])
def test_a_journal_of_another_user_is_refused(folder: Path, foreign: str) -> None:
    """Its owner could have written anything into it; root may open any."""
    path = folder / "journal.db"
    make_journal(path)
    for one in (folder, *folder.iterdir()):
        os.chown(one, ONE, ONE)
    if foreign == "companion":
        path.with_name(path.name + "-wal").touch(0o600)
    place = {"file": path, "folder": folder, "companion": path.with_name(path.name + "-wal")}[foreign]
    os.chown(place, OTHER, OTHER)
    place.chmod(0o1777 if foreign == "folder" else 0o666)
    with act_as(ONE, ONE), pytest.raises(JournalError, match=f"belongs to another user .uid {OTHER}"):
        SQLiteJournal(path)
    place.chmod(0o755 if foreign == "folder" else 0o600)
    make_journal(path)


@needs_root
def test_a_folder_of_a_users_own_group_is_accepted(folder: Path) -> None:
    """Where each user has a group of the same name, folders are made 0775."""
    found = [user for user in pwd.getpwall() if user.pw_uid and _has_own_group(user)]
    if not found:
        pytest.skip("no user of this machine has a group of the same name")
    user = found[0]
    os.chown(folder, user.pw_uid, user.pw_gid)
    folder.chmod(0o775)
    with act_as(user.pw_uid, user.pw_gid):
        make_journal(folder / "journal.db")


def _has_own_group(user: pwd.struct_passwd) -> bool:
    try:
        group = grp.getgrgid(user.pw_gid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and not group.gr_mem


@needs_root
@pytest.mark.parametrize("locks", ["auto", "portable"])
async def test_a_group_shares_a_journal(folder: Path, locks: Literal["auto", "portable"]) -> None:
    """Two users of a group write to one file, whatever their umask."""
    importlib.import_module("bardge_async._journal.sqlite_portable")  # while its file can be read
    os.chown(folder, ONE, GROUP)
    folder.chmod(0o2770)
    mask = os.umask(0o077)
    try:
        with act_as(ONE, ONE, GROUP), SQLiteJournal(folder / "journal.db", shared=True, locks=locks) as journal:
            await journal.put(make_sent())
            modes = {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
            groups = {file.stat().st_gid for file in folder.iterdir()}
        with act_as(OTHER, OTHER, GROUP), SQLiteJournal(folder / "journal.db", shared=True, locks=locks) as journal:
            await journal.put(make_done(make_sent()))
        with act_as(ONE, ONE, GROUP), SQLiteJournal(folder / "journal.db", shared=True, locks=locks) as journal:
            assert [entry.state for entry in await journal.listed()] == [EntryState.DONE]
    finally:
        os.umask(mask)
    assert (modes, groups) == ({0o660}, {GROUP})


@needs_root
def test_a_shared_journal_is_refused_without_shared(folder: Path) -> None:
    """Others can write to it, and that is said."""
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2770)
    with SQLiteJournal(folder / "journal.db", shared=True), pytest.raises(JournalError, match="pass shared=True"):
        SQLiteJournal(folder / "journal.db")


@needs_root
def test_shared_with_a_foreign_group_is_refused(folder: Path) -> None:
    """The group must be one of this process's."""
    os.chown(folder, ONE, GROUP)
    folder.chmod(0o2770)
    with act_as(ONE, ONE), pytest.raises(JournalError, match=r"others can write to it.*chmod 2770"):
        SQLiteJournal(folder / "journal.db", shared=True)


@pytest.mark.parametrize("mode", [0o666, 0o662])
def test_shared_is_not_for_all(folder: Path, mode: int) -> None:
    """A file that everybody can write to is refused."""
    with SQLiteJournal(folder / "journal.db", shared=True):
        (folder / "journal.db").chmod(mode)
        with pytest.raises(JournalError, match=r"others can write to it.*chmod 660"):
            SQLiteJournal(folder / "journal.db", shared=True)


OBJECTS = {
    "trigger": "CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END",
    "view": "CREATE VIEW v AS SELECT 1",
    "table": "CREATE VIRTUAL TABLE f USING fts5(x)",
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_what_changes_the_meaning_of_a_statement_is_refused(folder: Path, kind: str) -> None:
    """Triggers, views and virtual tables are not the journal's."""
    path = folder / "journal.db"
    make_journal(path)
    with sqlite3.connect(path) as connection:
        connection.execute(OBJECTS[kind])
    connection.close()
    with pytest.raises(JournalError, match=f"holds a {kind} named"):
        SQLiteJournal(path)
