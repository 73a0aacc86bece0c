"""Housekeeping in pieces: how large they are, what goes before them, and what they leave for the next one."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from bardge_async import JournalEntry, RecordedResponse, SQLiteJournal, errors
from bardge_async._journal.pieces import PAUSE_SECONDS, PIECE_SECONDS, Piece, PieceSize
from bardge_async._journal.postgres_chores import REMOVE_ENTRIES, JournalChores
from bardge_async._journal.pruning import PruneTime
from bardge_async._journal.sqlite_chores import ChoreQueue, EraseChore, PruneChore
from bardge_async._journal.sqlite_clocks import FileClocks
from bardge_async._journal.sqlite_schema import open_journal_file
from bardge_async.testing import ManualClock
from tests.journal.factories import WALL, make_done, make_identity, make_sent

DAY: Final = 86_400.0


class StepClock:
    """A clock that advances by a step whenever it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.step = step
        self.now = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def grow(size: PieceSize, seconds_per_row: float, pieces: int = 20) -> int:
    """Adapt a size to full pieces whose rows take a time each; return the size."""
    for _ in range(pieces):
        size.adapt(size.rows, size.rows * seconds_per_row)
    return size.rows


@pytest.mark.parametrize("seconds_per_row", [1e-5, 1e-4, 1e-3])
def test_size_approaches_the_time_of_a_piece(seconds_per_row: float) -> None:
    """Pieces grow or shrink until one takes its time, whatever a row takes."""
    assert grow(PieceSize(), seconds_per_row) == pytest.approx(PIECE_SECONDS / seconds_per_row, rel=0.05)


def test_size_has_bounds() -> None:
    """However quick or slow the rows are, a piece has neither all of them nor none."""
    assert (grow(PieceSize(), 0.0), grow(PieceSize(), 10.0)) == (4096, 8)


def test_size_shrinks_immediately_and_grows_slowly() -> None:
    """One slow piece is enough to shrink; a quick one doubles the size at most."""
    size = PieceSize()
    grow(size, 1e-5)
    size.adapt(2000, 2000 * 1e-3)
    assert size.rows == 20
    size.adapt(20, 1e-6)
    assert size.rows == 40


def test_size_is_not_judged_by_the_last_piece() -> None:
    """A quick piece that had fewer rows than it might says nothing."""
    size = PieceSize()
    size.adapt(1, 1e-6)
    assert size.rows == PieceSize().rows


def test_piece_ends_by_rows() -> None:
    """A piece has no more rows than it may."""
    piece = Piece(5, StepClock())
    assert sum(piece.take_row() for _ in range(9)) == piece.rows == 5


def test_piece_ends_by_time() -> None:
    """A piece ends once it has taken its time, however many rows it may have."""
    piece = Piece(1000, StepClock(PIECE_SECONDS / 10))
    assert sum(piece.take_row() for _ in range(1000)) == 10


def test_piece_makes_progress() -> None:
    """A piece has one row, however slow that is."""
    piece = Piece(1000, StepClock(10.0))
    assert [piece.take_row(), piece.take_row()] == [True, False]


class CountedChore:
    """A chore of some rows."""

    def __init__(self, rows: int, *, writes: bool = True) -> None:
        self.left = rows
        self.writes = writes
        self.pieces: list[int] = []

    def run_piece(self, connection: sqlite3.Connection, piece: Piece) -> bool:
        while self.left and piece.take_row():
            self.left -= 1
        self.pieces.append(piece.rows)
        return self.left > 0


def run_due(queue: ChoreQueue[str], abandoned: Sequence[str] = (), error: str | None = None) -> Any:
    """Run a piece if it is due, without a database."""

    def run(work: Any, _: bool) -> bool | str:
        with closing(sqlite3.connect(":memory:")) as connection:
            has_more: bool = work(connection)
        return has_more if error is None else error

    return queue.run_due_piece(run, lambda receiver: receiver in abandoned)


def test_chore_in_pieces() -> None:
    """A chore runs a piece at a time, with a pause after each for other processes; then its caller is told."""
    clock, chore = StepClock(), CountedChore(150)
    queue = ChoreQueue[str](clock)
    queue.add(chore, "caller")
    assert (run_due(queue), run_due(queue), chore.pieces) == (None, None, [64])
    assert queue.seconds_until_due() == PAUSE_SECONDS
    clock.now += PAUSE_SECONDS
    assert (run_due(queue), chore.pieces) == (("caller", None), [64, 86])
    assert queue.seconds_until_due() is None


def test_pause_after_a_slow_piece() -> None:
    """After a slow piece, the file is free for as long as that took."""
    clock = StepClock()
    queue = ChoreQueue[str](clock)
    chore = CountedChore(100)
    queue.add(chore)

    def run(work: Any, _: bool) -> bool:
        clock.now += 1.0  # the disk
        with closing(sqlite3.connect(":memory:")) as connection:
            has_more: bool = work(connection)
        return has_more

    queue.run_due_piece(run, lambda _: False)
    assert queue.seconds_until_due() == 1.0


def test_failed_chore_ends() -> None:
    """The error of a piece ends the chore, and the next one begins."""
    clock, second = StepClock(), CountedChore(1)
    queue = ChoreQueue[str](clock)
    queue.add(CountedChore(1000), "first")
    queue.add(second, "second")
    assert run_due(queue, error="disk full") == ("first", "disk full")
    clock.now += PAUSE_SECONDS
    assert run_due(queue) == ("second", None)


def test_abandoned_chore_ends() -> None:
    """A chore whose caller was cancelled runs no further piece."""
    chore = CountedChore(1000)
    queue = ChoreQueue[str](StepClock())
    queue.add(chore, "gone")
    assert (run_due(queue, abandoned=["gone"]), chore.pieces, queue.seconds_until_due()) == (None, [], None)


async def test_puts_go_first(tmp_path: Path) -> None:
    """However long a chore lasts, puts and claims are done between its pieces."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        chore = CountedChore(10**9)
        task = asyncio.create_task(journal._writer.run_chore(chore))
        while len(chore.pieces) < 2:
            await journal.put(make_sent())
        await journal.claim(make_sent().identity, 0, ManualClock())
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])
        await journal.put(make_done(make_sent()))
        pieces = len(chore.pieces)
        await journal.prune(WALL)
        assert len(chore.pieces) == pieces


async def test_closing_ends_a_chore(tmp_path: Path) -> None:
    """Closing does not wait for a long chore; its caller gets an error."""
    journal = SQLiteJournal(tmp_path / "journal.db")
    chore = CountedChore(10**9)
    task = asyncio.create_task(journal._writer.run_chore(chore))
    while not chore.pieces:
        await journal.put(make_sent())
    journal.close()
    with pytest.raises(errors.JournalError, match="closed"):
        await task
    with pytest.raises(errors.JournalError, match="closed"):
        await journal.prune(WALL)


def make_old(number: int) -> JournalEntry:
    """Make a finished entry, sent a number of seconds after the tests' start; every third names ``c1``."""
    entry = make_done(make_sent(make_identity(f"order-{number}"), second=number), second=number)
    body = b'{"client_id":"c%d"}' % (number % 3)
    return attrs.evolve(entry, body=body, answer=RecordedResponse(201, b"{}", None))


@pytest.fixture
def file(tmp_path: Path) -> Any:
    """An open file with 100 finished entries and, among them, 10 in doubt."""

    async def fill() -> None:
        with SQLiteJournal(tmp_path / "journal.db") as journal:
            await asyncio.gather(*(journal.put(make_old(number)) for number in range(100)))
            await asyncio.gather(*(journal.put(make_sent(make_identity(f"doubt-{n}"), second=n)) for n in range(10)))

    asyncio.run(fill())
    connection = open_journal_file(tmp_path / "journal.db")
    yield connection
    connection.close()


def run_pieces(connection: sqlite3.Connection, chore: Any, rows: int) -> list[int]:
    """Run a chore in pieces of a number of rows; return what each had."""
    pieces: list[int] = []
    has_more = True
    while has_more:
        piece = Piece(rows, StepClock())
        has_more = chore.run_piece(connection, piece)
        pieces.append(piece.rows)
    return pieces


def make_prune(days: float, keep_bodies: float = 30, keep_entries: float = 400) -> PruneChore:
    time = PruneTime(WALL + days * DAY)
    return PruneChore(FileClocks(), time, keep_bodies * DAY, keep_entries * DAY, lambda: 0.0)


def count(connection: sqlite3.Connection, condition: str) -> int:
    found: int = connection.execute(f"SELECT count(*) FROM entries WHERE {condition}").fetchone()[0]  # noqa: S608
    return found


def test_prune_in_pieces(file: sqlite3.Connection) -> None:
    """Each piece has its number of rows, each row comes in one piece, and doubts stay."""
    chore = make_prune(500)
    # The bodies of all, then all entries.
    assert run_pieces(file, chore, 30) == [30, 30, 30, 30, 30, 30, 20]
    assert (chore.removed, count(file, "state <> 'sent'"), count(file, "state = 'sent'")) == (100, 0, 10)
    assert float(file.execute("SELECT substr(value, 9) FROM facts WHERE name = 'forgotten'").fetchone()[0]) == (
        WALL + 100 * DAY
    )


def test_prune_ends_in_between(file: sqlite3.Connection) -> None:
    """Retention that ends between two rows is kept to the row, in pieces as in one."""
    chore = make_prune(30 + 49.5 / DAY)
    assert run_pieces(file, chore, 7) == [7] * 7 + [1]
    assert (chore.removed, count(file, "body NOT NULL AND state <> 'sent'")) == (0, 50)


def test_rows_that_stay_are_looked_at_once(file: sqlite3.Connection) -> None:
    """Rows that are old by the wall clock alone stay, and are in no second piece."""
    file.execute("UPDATE entries SET last_boot = 'b', last_elapsed = ? WHERE seq <= 60", (500 * DAY,))
    time = PruneTime(WALL + 500 * DAY, 501 * DAY, "b")
    chore = PruneChore(FileClocks(), time, 30 * DAY, 400 * DAY, lambda: 0.0)
    assert run_pieces(file, chore, 30) == [30] * 6 + [20]
    assert (chore.removed, count(file, "state <> 'sent' AND body NOT NULL")) == (40, 60)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_rows_of_the_same_moment(file: sqlite3.Connection, rows: int) -> None:
    """Rows that were sent at the same moment all go, however the pieces divide them."""
    file.execute("UPDATE entries SET last_wall = ?, last_highest = ?", (WALL, WALL))
    chore = make_prune(500)
    run_pieces(file, chore, rows)
    assert (chore.removed, count(file, "state <> 'sent'")) == (100, 0)


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_erase_in_pieces(file: sqlite3.Connection, rows: int) -> None:
    """Searching pieces have their number of rows and write nothing; others remove what was found."""
    chore = EraseChore("c1")
    searched = 0
    has_more = True
    while has_more:
        piece, writes, before = Piece(rows, StepClock()), chore.writes, file.total_changes
        has_more = chore.run_piece(file, piece)
        assert piece.rows <= rows
        assert writes or file.total_changes == before
        searched += 0 if writes else piece.rows
    assert (searched, chore.changed, count(file, "state <> 'sent' AND body IS NULL")) == (110, 33, 33)


def test_a_key_used_anew_is_not_erased(file: sqlite3.Connection) -> None:
    """A key that was freed and used for another request after it was found keeps the new bodies."""
    chore = EraseChore("c1")
    while not chore.writes:
        chore.run_piece(file, Piece(1, StepClock()))
    file.execute("UPDATE entries SET fingerprint = 'v1:other'")
    chore.run_piece(file, Piece(10, StepClock()))
    assert chore.changed == 0


class Tables:
    """Answers pruning's statements like a database with old entries, each of which takes its time."""

    def __init__(self, rows: int, seconds_per_row: float) -> None:
        self.left = rows
        self.seconds_per_row = seconds_per_row
        self.asked: list[tuple[float, int]] = []

    async def fetch(self, statement: str, parameters: Any) -> list[list[Any]]:
        if statement is not REMOVE_ENTRIES:
            return [[0, None, 0.0]]
        self.asked.append((parameters["start"], parameters["rows"]))
        found = min(self.left, parameters["rows"])
        self.left -= found
        return [[found, WALL + len(self.asked), found * self.seconds_per_row]]


@pytest.mark.parametrize("seconds_per_row", [1e-5, 1e-3])
async def test_pieces_in_a_database(seconds_per_row: float) -> None:
    """No statement but the first has more rows than fit into a piece, and each begins where the last one ended."""
    tables, clock = Tables(3000, seconds_per_row), ManualClock()
    assert await JournalChores(tables.fetch, clock).prune(PruneTime(WALL), 0, 1) == 3000
    assert [start for start, _ in tables.asked] == [-math.inf, *(WALL + n for n in range(1, len(tables.asked)))]
    assert max(rows for _, rows in tables.asked[1:]) * seconds_per_row <= PIECE_SECONDS
    assert clock.sleeps == [PAUSE_SECONDS] * (len(tables.asked) - 1)
