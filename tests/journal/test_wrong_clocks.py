"""Wrong readings of the wall clock, over all stores: one deletes nothing, and closes no other key's window."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import pytest

from bardge_async import ClockReading, EntryState, Journal, PostgresJournal, RetryPolicy, SQLiteJournal, errors
from bardge_async._journal.pruning import agreed_time, is_due
from bardge_async._journal.sqlite_digests import with_checksum
from bardge_async.testing import ManualClock
from tests.journal.factories import FACTORIES, KEY, Opener, make_done, make_identity, make_sent, open_on_postgres
from tests.journal.place import Place, buy, fail_to_buy, open_place
from tests.journal.test_protocol import read_record
from tests.support.postgres import Database
from tests.support.rig import advance_then
from tests.support.server import cut, reply

BOUGHT = reply(201, {"balance": 5}, {"Bardge-Request-Id": "req_1"})
ONE = RetryPolicy(max_attempts=1, base=0)
HOUR: Final = 3600.0
DAY: Final = 86_400.0
YEAR: Final = 365 * DAY
NOW: Final = float(int(time.time()))


def make_reading(wall: float, elapsed: float, boot: str = "") -> ClockReading:
    """Return a reading near the present, which is the database's time, too."""
    return ClockReading(NOW + wall, 10 * DAY + elapsed, NOW + max(0.0, wall), boot)


def allow_pruning(request: pytest.FixtureRequest, journal: Journal) -> None:
    """Let a database's journal prune at the next opportunity, as the others do."""
    if isinstance(journal, PostgresJournal):
        database: Database = request.getfixturevalue("postgres")
        database.admin.execute("DELETE FROM bardge.facts WHERE name = 'pruned'")


async def put_finished(journal: Journal, key: str, reading: ClockReading) -> None:
    """Store the entry of a call that was sent and answered at a reading."""
    sent = attrs.evolve(make_sent(make_identity(key)), first_sent=reading, last_sent=reading)
    await journal.put(sent)
    await journal.put(attrs.evolve(make_done(sent), last_sent=reading))


async def wait_for_pruning(journal: Journal) -> None:
    """Wait until a database's journal has pruned in the background."""
    if isinstance(journal, PostgresJournal):
        session = journal._get_session()
        while session._pruning_task is not None and not session._pruning_task.done():  # noqa: ASYNC110
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "readings",
    [
        [(2 * YEAR, 1)],
        [(2 * YEAR, 1), (2 * YEAR + 60, 61)],
        [(0, 1), (2 * YEAR, HOUR + 2)],
        [(2 * YEAR, 1), (HOUR, HOUR + 2), (3 * YEAR, 2 * HOUR + 3), (3 * HOUR, 3 * HOUR + 4)],
        [(35 * DAY, 1), (1, 2), (HOUR + 5, HOUR + 5), (2 * HOUR + 6, 2 * HOUR + 6)],
        [(-50 * YEAR, 1), (HOUR, HOUR + 2), (2 * HOUR, 2 * HOUR + 3)],
    ],
    ids=["once", "for a minute", "an hour later", "again and again", "then right for hours", "far behind"],
)
async def test_deletes_nothing(
    request: pytest.FixtureRequest, journal: Journal, readings: Sequence[tuple[float, float]]
) -> None:
    """Whatever single readings the wall clock gives, a finished entry and its response stay."""
    await put_finished(journal, "order-1", make_reading(0, 0))
    allow_pruning(request, journal)
    for number, (wall, elapsed) in enumerate(readings):
        # Within 15 minutes for the journal in memory, which counts by elapsed time alone.
        await put_finished(
            journal, f"other-{number}", make_reading(wall, elapsed / 100 if _is_memory(journal) else elapsed)
        )
        await wait_for_pruning(journal)
    found = await read_record(journal, KEY)
    assert found is not None
    assert (found.state, found.answer and found.answer.body) == (EntryState.DONE, b'{"balance":5}')


def _is_memory(journal: Journal) -> bool:
    return journal.instant


@pytest.mark.parametrize("boot", ["", "next"])
async def test_entry_of_a_clock_that_was_behind(request: pytest.FixtureRequest, journal: Journal, boot: str) -> None:
    """An entry written while the clock showed 1976 is not taken for 50 years old once the clock is right."""
    await put_finished(journal, "before", make_reading(0, 0))
    await put_finished(journal, "order-1", make_reading(-50 * YEAR, 1))
    allow_pruning(request, journal)
    for elapsed in (2.0, 3.0) if _is_memory(journal) else (HOUR, 2 * HOUR + 1):
        await put_finished(journal, f"other-{elapsed}", make_reading(elapsed, elapsed, boot))
        await wait_for_pruning(journal)
    found = await read_record(journal, KEY)
    assert found is not None
    assert found.answer is not None
    assert found.answer.body is not None


@pytest.mark.parametrize(("seconds", "kept"), [(HOUR, True), (31 * DAY, False)])
async def test_prunes_by_two_readings_of_one_boot(tmp_path: Path, seconds: float, *, kept: bool) -> None:
    """Two processes that read the clocks an hour or more apart, and alike, prune what is past its retention."""
    for number, at in enumerate((0.0, seconds + 1)):
        with SQLiteJournal(tmp_path / "journal.db") as journal:
            await put_finished(journal, f"order-{number + 1}", make_reading(at, at))
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        found = await read_record(journal, KEY)
    assert found is not None
    assert found.answer is not None
    assert (found.answer.body is not None) is kept


@pytest.mark.parametrize(
    ("wall", "elapsed", "boot", "due", "agreed"),
    [
        (HOUR - 1, HOUR - 1, "", False, True),
        (HOUR + 1, HOUR + 1, "", True, True),
        (HOUR + 60, HOUR + 1, "", True, True),
        (HOUR + 62, HOUR + 1, "", True, False),
        (HOUR - 60, HOUR + 1, "", True, False),
        (HOUR + 1, HOUR + 1, "next", True, False),
        (HOUR + 1, -1, "", True, False),
    ],
)
def test_agreement(wall: float, elapsed: float, boot: str, *, due: bool, agreed: bool) -> None:
    """Two readings agree if wall and boot-time clock passed the same, within a minute, in one boot."""
    baseline, now = make_reading(0, 0), make_reading(wall, elapsed, boot)
    assert is_due(baseline, now) is due
    assert (agreed_time(baseline, now) is not None) is agreed


def test_first_reading() -> None:
    """The first reading of all is due, and nothing agrees with it yet."""
    assert is_due(None, make_reading(0, 0))
    assert agreed_time(None, make_reading(0, 0)) is None


# Windows.


async def buy_while(it: Place, seconds: float, key: str) -> None:
    """Buy once with the wall clock off by a number of seconds."""
    it.clock.jump_wall(seconds)
    it.server.script.insert(it.request_count, BOUGHT)
    await buy(await it.open_another(), key)
    it.clock.jump_wall(-seconds)


@pytest.mark.parametrize("seconds", [HOUR, 2 * YEAR, -HOUR, -50 * YEAR])
@pytest.mark.parametrize("later", [0.0, 1.0])
async def test_closes_no_later_window(opener: Opener, seconds: float, later: float) -> None:
    """A wrong wall time read before a key's first send leaves that key its window, in later processes, too."""
    async with open_place(opener, cut(), BOUGHT) as it:
        await buy_while(it, seconds, "spike")
        it.clock.advance(later)
        bardge = await it.open_another(retry=ONE)
        await fail_to_buy(bardge)
        it.clock.advance(30)
        await buy(await it.open_another())
        assert await it.read_state() is EntryState.DONE
    assert it.keys == ["spike", "order-1", "order-1"]


async def test_closes_the_windows_that_were_open(tmp_path: Path) -> None:
    """What the wall clock showed since a key's first send counts for later processes, though it was set back."""
    opener = _open_sqlite(tmp_path)
    async with open_place(opener, cut(), BOUGHT, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        await buy_while(it, HOUR, "spike")
        assert isinstance(await fail_to_buy(await it.open_another()), errors.OutcomeUnknownError)
    assert it.keys == ["order-1", "spike"]


@pytest.mark.parametrize("memory", [True, False])
async def test_refused_reentry_is_remembered(tmp_path: Path, *, memory: bool) -> None:
    """A wall time that closed a window stays known to later processes, though nothing was sent at it."""
    opener = FACTORIES["memory" if memory else "sqlite"](tmp_path)
    async with open_place(opener, cut(), retry=ONE) as it:
        await fail_to_buy(it.bardge)
        it.clock.jump_wall(100)
        await fail_to_buy(await it.open_another())
        it.clock.jump_wall(-100)
        assert isinstance(await fail_to_buy(await it.open_another()), errors.OutcomeUnknownError)
    assert it.request_count == 1


class NextBoot(ManualClock):
    """The clock of another boot."""

    boot = "another boot"


@pytest.mark.parametrize(("wall", "sent"), [(30, 2), (-1, 1), (-HOUR, 1), (79.5, 1)])
@pytest.mark.parametrize("memory", [True, False])
async def test_other_boot(tmp_path: Path, wall: float, sent: int, *, memory: bool) -> None:
    """After a reboot a wall time below one on record proves nothing, and the window counts as closed."""
    async with open_place(FACTORIES["memory" if memory else "sqlite"](tmp_path), cut(), BOUGHT, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        bardge = await it.open_another(clock=NextBoot(it.clock.wall() + wall))
        if sent == 2:
            await buy(bardge)
        else:
            assert isinstance(await fail_to_buy(bardge), errors.OutcomeUnknownError)
            assert await bardge.recover() == []
    assert it.request_count == sent


@pytest.mark.parametrize("memory", [True, False])
async def test_other_boot_that_came_up_behind(tmp_path: Path, *, memory: bool) -> None:
    """A wall clock that a reboot set back proves nothing later either, when it has passed what is on record."""
    async with open_place(FACTORIES["memory" if memory else "sqlite"](tmp_path), cut(), BOUGHT, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        clock = NextBoot(it.clock.wall() - 5)
        for _ in range(2):
            assert isinstance(await fail_to_buy(await it.open_another(clock=clock)), errors.OutcomeUnknownError)
            clock.advance(20)
    assert it.request_count == 1


async def test_recovery_in_a_boot_that_came_up_behind(tmp_path: Path) -> None:
    """A process that only recovers sends nothing either, nor does another process of that boot."""
    async with open_place(_open_sqlite(tmp_path), cut(), retry=ONE) as it:
        await fail_to_buy(it.bardge)
        it.clock.advance(10)
        await fail_to_buy(it.bardge)
        clock = NextBoot(it.clock.wall() - 30)
        for _ in range(3):
            bardge = await it.open_another(clock=clock)
            assert await bardge.recover() == []
            clock.advance(16)
    assert it.request_count == 2


async def test_other_boot_after_a_spike(tmp_path: Path) -> None:
    """After a reboot a wrong time on record closes only the windows of the boots before."""
    async with open_place(_open_sqlite(tmp_path), cut(), retry=ONE) as it:
        await buy_while(it, HOUR, "spike")
        it.clock.advance(1)
        await fail_to_buy(it.bardge)
        clock = NextBoot(it.clock.wall() + 5)
        assert isinstance(await fail_to_buy(await it.open_another(clock=clock)), errors.OutcomeUnknownError)
        it.server.script += [cut(), BOUGHT]
        bardge = await it.open_another(clock=clock)
        await buy(bardge, "order-2")
    assert it.keys == ["spike", "order-1", "order-2", "order-2"]


async def test_database_measures(request: pytest.FixtureRequest) -> None:
    """Over PostgreSQL the database's clock says how old a key of another boot is, whatever that boot's clocks said."""
    database: Database = request.getfixturevalue("postgres")
    async with open_place(open_on_postgres(database.clear()), cut(), BOUGHT, retry=ONE) as it:
        await fail_to_buy(it.bardge)
        await buy(await it.open_another(clock=NextBoot(it.clock.wall() - HOUR)))
    assert it.request_count == 2


async def test_file_of_the_first_version(tmp_path: Path) -> None:
    """A file that holds only the highest wall time opens: what is below it proves nothing after a reboot."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path) as journal:
        await journal.put(make_sent())
        highest = journal.highest
    database = sqlite3.connect(path)
    database.execute("DELETE FROM facts WHERE name IN ('walls', 'pruning', 'forgotten')")
    content = with_checksum(repr(highest + HOUR).encode())
    database.execute("UPDATE facts SET value = ? WHERE name = 'highest_wall'", (content,))
    database.commit()
    database.close()
    with SQLiteJournal(path, keep_entries=DAY) as journal:
        assert await read_record(journal, KEY) == make_sent()
        assert journal.highest == highest + HOUR
        assert journal.forgotten == highest + HOUR - DAY
        await journal.put(make_done(make_sent()))
        assert (journal.highest, journal.forgotten) == (highest + HOUR, highest + HOUR - DAY)


async def test_forgotten_is_what_was_removed(tmp_path: Path) -> None:
    """A wrong wall time does not make a journal seem pruned; removing entries does, for later processes, too."""
    with SQLiteJournal(tmp_path / "journal.db", keep_entries=DAY) as journal:
        await put_finished(journal, "order-1", make_reading(0, 0))
        await put_finished(journal, "spike", make_reading(2 * YEAR, 1))
        assert journal.forgotten == 0
        assert await journal.prune(NOW + DAY + 5) == 1
    with SQLiteJournal(tmp_path / "journal.db", keep_entries=DAY) as journal:
        await read_record(journal, KEY)
        assert journal.forgotten == NOW + 5


def _open_sqlite(folder: Path) -> Opener:
    return FACTORIES["sqlite"](folder)


@pytest.mark.parametrize("store", FACTORIES)
async def test_reading_at_a_repeat_is_on_record(store: str, tmp_path: Path) -> None:
    """The time at which a repeat was sent is on record with its outcome, for all clients over the store."""
    opener = FACTORIES[store](tmp_path)
    async with open_place(opener) as it:
        it.server.script = [advance_then(it.clock, 10, cut()), BOUGHT]
        begun = it.clock.wall()
        await buy(it.bardge)
        async with opener() as journal:
            assert journal.highest == begun + 10
