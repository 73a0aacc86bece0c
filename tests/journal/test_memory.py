"""Retention in the journal of one process."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager

import attrs
import pytest

from bardge_async import (
    BardgeClient,
    EntryState,
    KeyIdentity,
    MemoryJournal,
    RecordedResponse,
    WireRequest,
    WireResponse,
    operation_key,
)
from bardge_async._journal.memory_digests import KeyDigests
from bardge_async.errors import AlreadyDoneError
from bardge_async.testing import FakeTransport, ManualClock, json_response
from tests.journal.factories import KEY, WALL, make_done, make_identity, make_reading, make_sent
from tests.journal.test_protocol import read_record
from tests.support.calls import buy, catch_error, fail_to_buy
from tests.support.rig import OTHER

MINUTE = 60.0


async def put_done(journal: MemoryJournal, identity: KeyIdentity, second: float) -> None:
    await journal.put(make_done(make_sent(identity, second=second), second=second))


async def put_large(
    journal: MemoryJournal,
    identity: KeyIdentity,
    state: EntryState = EntryState.DONE,
    *,
    second: float = 0,
    path: str = "/p",
) -> None:
    """Put a finished entry with an answer of 1 MiB."""
    entry = make_done(make_sent(identity, second=second, path=path), second=second, state=state)
    await journal.put(attrs.evolve(entry, answer=RecordedResponse(201, b"x" * 2**20, None)))


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
    for number in range(25_000):
        await put_done(journal, make_identity(f"order-{number + 2}"), 1000 * MINUTE)
    assert await read_record(journal) == make_sent()


async def test_old_answers_make_room() -> None:
    """Of the finished keys' answers the last 16 MiB are kept; of older keys only that they are done."""
    journal = MemoryJournal()
    for number in range(20):
        await put_large(journal, make_identity(f"order-{number}"))
    found = [await read_record(journal, make_identity(f"order-{number}")) for number in range(20)]
    assert [entry is not None and entry.answer is not None for entry in found] == [False] * 5 + [True] * 15
    assert {entry and entry.state for entry in found} == {EntryState.DONE}
    assert journal.forgotten == make_reading(0).wall


async def test_refusals_make_room() -> None:
    """A refused key whose answer made room is forgotten: it is not done."""
    journal = MemoryJournal()
    for number in range(20):
        await put_large(journal, make_identity(f"order-{number}"), EntryState.REFUSED)
    assert await read_record(journal, make_identity("order-0")) is None


async def test_known_for_15_minutes_however_many_follow() -> None:
    """A done key is known for 15 minutes at any rate, and forgotten a minute later at most."""
    journal = MemoryJournal()
    await put_done(journal, KEY, 0)
    for number in range(25_000):
        await put_done(journal, make_identity(f"order-{number}"), number % 60)
    await put_done(journal, make_identity("other"), 15 * MINUTE)
    assert await read_record(journal) is not None
    await put_done(journal, make_identity("other-2"), 17 * MINUTE)
    assert await read_record(journal) is None


@pytest.mark.parametrize("key", ["order-1", "0123456789abcdef" * 2], ids=["any text", "as if generated"])
async def test_accounts_stay_apart_once_a_digest_is_left(key: str) -> None:
    """A key that the caller chose is known for its account alone, though only its digest is kept, whatever it is."""
    journal = MemoryJournal()
    await put_large(journal, make_identity(key))
    for number in range(16):
        await put_large(journal, make_identity(f"other-{number}"))
    mine = await read_record(journal, make_identity(key))
    assert mine is not None
    assert mine.fingerprint == ""
    assert await read_record(journal, make_identity(key)._replace(account="b")) is None


async def test_overtaken_by_one_that_made_room() -> None:
    """A later request to the same URL still overtakes a doubt once only its digest is kept."""
    journal = MemoryJournal()
    doubt = make_sent(second=1)
    await journal.put(make_sent(make_identity("before")))
    await put_large(journal, make_identity("before"))
    await journal.put(doubt)
    for number in range(16):
        await put_large(journal, make_identity(f"x-{number}"), path="/other")
    assert not await journal.overtaken(doubt)
    await put_large(journal, make_identity("after"), second=2)
    for number in range(16):
        await put_large(journal, make_identity(f"y-{number}"), path="/other")
    assert await journal.overtaken(doubt)


async def test_key_of_which_a_digest_is_left() -> None:
    """A key is not sent again once its answer made room, whatever the new request: AlreadyDoneError."""
    padding = b" " * 2**20
    answers = [WireResponse(201, {}, b'{"balance":5}' + padding) for _ in range(20)]
    transport = FakeTransport(*answers)
    async with BardgeClient("key", transport=transport, clock=ManualClock()) as bardge:
        for number in range(20):
            await buy(bardge, f"order-{number}")
        error = await fail_to_buy(bardge, "order-0")
        assert type(await catch_error(buy(bardge, "order-1", OTHER))) is AlreadyDoneError
        assert (await buy(bardge, "order-19")).replayed == "journal"
    assert (type(error), error.idempotency_key, error.endpoint) == (AlreadyDoneError, "order-0", "credits.purchase")
    assert len(transport.requests) == 20


@contextmanager
def measure_bytes() -> Generator[Callable[[], int]]:
    """Measure the memory taken since the start of the block."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


async def test_size_of_a_finished_key() -> None:
    """A finished key of a usual size takes at most 1.6 KB, whatever its bytes were built with."""
    answer = {"object": "credit_purchase", "id": "cp_0123456789abcdef", "balance": 75, "message": "purchased" * 12}

    def make_answer(_: WireRequest) -> WireResponse:
        return json_response(answer, 201)

    transport = FakeTransport(*[make_answer] * 1100)
    async with BardgeClient("key", transport=transport) as bardge:
        for number in range(100):
            await buy(bardge, operation_key("job", "credits.purchase", str(number)))
        transport.requests.clear()
        with measure_bytes() as count_bytes:
            for number in range(100, 1100):
                await buy(bardge, operation_key("job", "credits.purchase", str(number)))
                transport.requests.clear()
            assert count_bytes() / 1000 <= 1600


async def test_size_of_many_finished_keys() -> None:
    """Of 1,000,000 finished keys each takes at most 120 bytes on average; a sixth of them, as fast as they come."""
    digests = KeyDigests()
    with measure_bytes() as count_bytes:
        for number in range(170_000):
            digests.add_key(make_identity(f"order-{number}"), number / 1111)
        assert count_bytes() / 170_000 <= 120


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
    """A key that was refused many times before it was done takes the room of one."""
    journal = MemoryJournal()
    await put_done(journal, KEY, 0)
    for _ in range(50):
        await put_large(journal, make_identity("order-2"), EntryState.REFUSED)
    record = await read_record(journal)
    assert record is not None
    assert record.answer is not None


async def test_forgotten() -> None:
    """What was removed counts as forgotten up to the latest send among it, whichever was removed last."""
    journal = MemoryJournal()
    seen = list[float]()
    for number, second in enumerate([50, 20, 50 + 15 * MINUTE, 51 + 15 * MINUTE]):
        await put_done(journal, make_identity(f"order-{number}"), second)
        seen.append(journal.forgotten)
    assert await read_record(journal, make_identity("order-1")) is None
    assert seen == [0, 0, 0, WALL + 50]


async def test_erase_before_the_fingerprint() -> None:
    """A body that was kept in place of its fingerprint goes, too, and the key still knows its request."""
    journal = MemoryJournal()
    entry = attrs.evolve(make_sent(given=False), fingerprint="", body=b'{"client_id":"client_1"}')
    journal.put_finished(entry, EntryState.DONE, entry.last_sent, RecordedResponse(201, b"{}", None))
    [before] = await journal.listed()
    assert await journal.erase("client_1") == 1
    assert await journal.listed() == [before]
    assert before.fingerprint
    assert b"client_1" not in pickle.dumps(list(journal._finished.values()))
    assert await journal.erase("client_1") == 0
