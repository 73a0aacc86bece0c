"""Retention in the journal of one process."""

from __future__ import annotations

from bardge_async import EntryState, KeyIdentity, MemoryJournal
from tests.journal.factories import KEY, WALL, make_done, make_identity, make_sent
from tests.journal.test_protocol import read_record

MINUTE = 60.0


async def put_done(journal: MemoryJournal, identity: KeyIdentity, second: float) -> None:
    await journal.put(make_done(make_sent(identity, second=second), second=second))


async def test_finished_ones_stay_for_15_minutes() -> None:
    """A done key is known for 15 minutes, and removed when another one finishes later than that."""
    journal = MemoryJournal()
    await put_done(journal, KEY, 0)
    await put_done(journal, make_identity("order-2"), 15 * MINUTE)
    assert await read_record(journal) is not None
    await put_done(journal, make_identity("order-3"), 15 * MINUTE + 1)
    assert await read_record(journal) is None


async def test_unfinished_ones_stay() -> None:
    """A key in doubt is never removed, however old and however many came after."""
    journal = MemoryJournal()
    await journal.put(make_sent())
    for number in range(10_100):
        await put_done(journal, make_identity(f"order-{number + 2}"), 1000 * MINUTE)
    assert await read_record(journal) == make_sent()


async def test_the_last_10_000_finished_ones_stay() -> None:
    """Of finished keys exactly the last 10,000 are known."""
    journal = MemoryJournal()
    for number in range(10_001):
        await put_done(journal, make_identity(f"order-{number}"), 1)
    assert await read_record(journal, make_identity("order-0")) is None
    assert await read_record(journal, make_identity("order-1")) is not None


async def test_refused_then_done() -> None:
    """A key that was refused first and done later is known for 15 minutes after it was done."""
    journal = MemoryJournal()
    await journal.put(make_done(make_sent(), state=EntryState.REFUSED))
    await journal.put(make_sent(second=14 * MINUTE))
    await put_done(journal, KEY, 14 * MINUTE)
    await put_done(journal, make_identity("order-2"), 16 * MINUTE)
    record = await read_record(journal)
    assert record is not None
    assert record.state is EntryState.DONE


async def test_refused_then_in_doubt() -> None:
    """A key that was refused first and is now in doubt is not removed with its refusal."""
    journal = MemoryJournal()
    await journal.put(make_done(make_sent(), state=EntryState.REFUSED))
    await journal.put(make_sent(second=14 * MINUTE))
    await put_done(journal, make_identity("order-2"), 16 * MINUTE)
    assert await read_record(journal) is not None


async def test_a_key_counts_once() -> None:
    """A key that was refused many times before it was done takes one of the 10,000 slots."""
    journal = MemoryJournal()
    await put_done(journal, KEY, 0)
    for second in range(10_000):
        await journal.put(make_done(make_sent(make_identity("order-2")), second=second % 60, state=EntryState.REFUSED))
    assert await read_record(journal) is not None


async def test_forgotten() -> None:
    """What was removed counts as forgotten up to the latest send among it, whichever was removed last."""
    journal = MemoryJournal()
    seen = list[float]()
    for number, second in enumerate([50, 20, 50 + 15 * MINUTE, 51 + 15 * MINUTE]):
        await put_done(journal, make_identity(f"order-{number}"), second)
        seen.append(journal.forgotten)
    assert await read_record(journal, make_identity("order-1")) is None
    assert seen == [0, 0, 0, WALL + 50]
