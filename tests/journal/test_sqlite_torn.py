"""Every write of the journal, cut at every byte of its last page: an error, or a state without the torn entry.

Here some of the bytes and all at the edges; all of them: ``python -m tests.journal.test_sqlite_torn``.
"""

# ruff: noqa: T201, ASYNC240 - also a command; it may block on the disk
from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import pytest

from bardge_async import JournalEntry, SQLiteJournal, errors
from bardge_async._journal.sqlite import _select_page
from bardge_async._journal.sqlite_schema import open_journal_file
from tests.journal.factories import KEY, make_done, make_identity, make_sent

PAGE = 4096
FRAME = PAGE + 24
State = frozenset[JournalEntry]


@attrs.frozen
class Written:
    """The files after one write, and their state ``before`` and after it."""

    name: str
    files: dict[str, bytes]
    before: State
    after: State


async def write_all(folder: Path) -> list[Written]:
    """Do what a journal does to its file, write by write, with the log and without it."""
    path = folder / "journal.db"
    found: list[Written] = []
    state: State = frozenset()

    def record_write(name: str, after: State) -> None:
        nonlocal state
        files = {end: Path(f"{path}{end}").read_bytes() for end in ("", "-wal") if Path(f"{path}{end}").exists()}
        found.append(Written(name, files, state, after))
        state = after

    big = attrs.evolve(make_sent(make_identity("big")), body=b'{"note":"%s"}' % (b"x" * 9000))
    steps: list[tuple[str, JournalEntry | None]] = [
        ("intent", make_sent()),
        ("outcome", make_done(make_sent())),
        ("second intent", make_sent(make_identity("order-2"), second=5)),
        ("long intent", big),
        ("withdrawn", None),
    ]
    for closed in (False, True):
        journal = SQLiteJournal(path)
        for name, record in steps:
            if record is None:
                await journal.remove(make_identity("order-2"))
                after = frozenset(one for one in state if one.identity.key != "order-2")
            else:
                await journal.put(record)
                after = frozenset(one for one in state if one.identity != record.identity) | {record}
            if closed:
                journal.close()
            record_write(f"{name}{' and closed' if closed else ''}", after)
            if closed:
                journal = SQLiteJournal(path)
        journal.close()
        for end in ("", "-wal", "-shm", "-lock"):
            Path(f"{path}{end}").unlink(missing_ok=True)
        state = frozenset()
    return found


def cut_content(content: bytes, size: int, places: Iterable[int]) -> Iterator[bytes]:
    """Truncate and zero the last ``size`` bytes from each place on."""
    begin = len(content) - size
    for place in places:
        yield content[: begin + place]
        zeroed = content[: begin + place] + bytes(size - place)
        if zeroed != content:
            yield zeroed


def open_copy(files: dict[str, bytes], folder: Path) -> State | None:
    """Return what a copy of the files holds, or None for an error."""
    path = folder / "copy.db"
    for end in ("", "-wal", "-shm", "-lock"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    for end, content in files.items():
        Path(f"{path}{end}").write_bytes(content)
    try:
        found = open_journal_file(path)
    except errors.JournalError:
        return None
    try:
        found.execute("PRAGMA query_only = 1")
        return frozenset(_select_page(found, 0, unfinished=False)[0])
    except errors.JournalError:
        return None
    finally:
        found.close()


def find_faults(written: Written, folder: Path, places: Iterable[int]) -> Iterator[str]:
    """Yield every cut of a write that opens with a wrong state."""
    end = "-wal" if written.files.get("-wal") else ""
    size = FRAME if end else PAGE
    for number, content in enumerate(cut_content(written.files[end], size, places)):
        state = open_copy({**written.files, end: content}, folder)
        if state is not None and state not in {written.before, written.after}:
            yield f"{written.name}: cut {number}, {len(content)} bytes: {state}"


@pytest.fixture(scope="module")
def writes(tmp_path_factory: pytest.TempPathFactory) -> list[Written]:
    return asyncio.run(write_all(tmp_path_factory.mktemp("writes")))


NAMES = ["intent", "outcome", "second intent", "long intent", "withdrawn"]


@pytest.mark.parametrize("end", ["", " and closed"])
@pytest.mark.parametrize("name", NAMES)
def test_torn(writes: list[Written], tmp_path: Path, name: str, end: str) -> None:
    """A write that is cut off opens with an error, or as it was before or after, never otherwise."""
    [written] = [one for one in writes if one.name == name + end]
    size = FRAME if not end else PAGE
    places = sorted({*range(0, size, 611), *range(4), 24, *range(size - 4, size)})
    assert list(find_faults(written, tmp_path, places)) == []


def test_whole(writes: list[Written], tmp_path: Path) -> None:
    """An uncut file opens as it was written, so that the test above is meaningful."""
    assert [open_copy(one.files, tmp_path) for one in writes] == [one.after for one in writes]


def test_a_torn_entry_is_gone(writes: list[Written], tmp_path: Path) -> None:
    """A log whose last frame is cut opens as it was before the write."""
    written = next(one for one in writes if one.name == "outcome")
    cut = {**written.files, "-wal": written.files["-wal"][:-1]}
    assert open_copy(cut, tmp_path) == written.before == {make_sent()}
    assert make_sent().identity == KEY


async def write_many(path: Path, end: int) -> None:
    with SQLiteJournal(path) as journal:
        for number in range(end):
            await journal.put(make_sent(make_identity(f"order-{number}"), second=number))
        shutil.copy(path, f"{path}.before")
        shutil.copy(f"{path}-wal", f"{path}.wal")


def test_killed_while_the_log_is_moved(tmp_path: Path) -> None:
    """A process that was killed while it moved its log into the file, after any page, loses nothing."""
    path = tmp_path / "journal.db"
    asyncio.run(write_many(path, 60))
    after, before = path.read_bytes(), Path(f"{path}.before").read_bytes()
    log = Path(f"{path}.wal").read_bytes()
    assert len(after) > len(before) + 2 * PAGE
    for pages in range(len(after) // PAGE + 1):
        half = after[: pages * PAGE] + before[pages * PAGE :]
        found = open_copy({"": half, "-wal": log}, tmp_path)
        assert found is not None
        assert len(found) == 60


def main() -> int:
    """Test every cut of every write."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108
        (Path(folder) / "made").mkdir()
        total, wrong = 0, 0
        for written in asyncio.run(write_all(Path(folder) / "made")):
            size = FRAME if written.files.get("-wal") else PAGE
            found = list(find_faults(written, Path(folder), range(size)))
            print(f"{written.name}: cut at {size} bytes, twice each: {len(found)} wrong", *found[:3], sep="\n  ")
            total, wrong = total + 2 * size, wrong + len(found)
        shutil.rmtree(Path(folder) / "made")
    print(f"{total} cuts, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
