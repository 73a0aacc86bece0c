"""What every journal does with claims and records, whatever stores them."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import attrs
import pytest

from bardge_async import EntryState, Journal, JournalEntry, KeyIdentity, RecordedResponse, errors
from bardge_async.testing import ManualClock
from tests.journal.factories import KEY, WALL, Opener, make_done, make_identity, make_sent
from tests.support.loop import run_loop

LONG = 1000.0


async def read_record(journal: Journal, identity: KeyIdentity = KEY) -> JournalEntry | None:
    """Return the record of a key, as a claim does."""
    record = await journal.claim(identity, LONG, ManualClock())
    journal.release(identity)
    return record


@asynccontextmanager
async def hold_key(journal: Journal, identity: KeyIdentity = KEY) -> AsyncGenerator[None]:
    await journal.claim(identity, LONG, ManualClock())
    try:
        yield
    finally:
        journal.release(identity)


def start_claim(journal: Journal, clock: ManualClock, timeout: float = LONG) -> asyncio.Task[JournalEntry | None]:
    return asyncio.ensure_future(journal.claim(KEY, timeout, clock))


async def cancel_task(task: asyncio.Task[JournalEntry | None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_unknown_key(journal: Journal) -> None:
    """A key that was never put has no record, even after a claim."""
    assert await read_record(journal) is None
    assert await read_record(journal) is None


async def test_put_then_claimed(journal: Journal) -> None:
    """A claim returns what was put, field by field."""
    async with hold_key(journal):
        await journal.put(make_sent())
    assert await read_record(journal) == make_sent()


async def test_put_again_replaces(journal: Journal) -> None:
    """A key has one record: the last."""
    await journal.put(make_sent())
    await journal.put(make_done(make_sent(), second=3))
    assert await read_record(journal) == make_done(make_sent(), second=3)


async def test_put_is_there_for_another_opener(opener: Opener) -> None:
    """A record is stored when ``put`` returns: another client over the same store reads it."""
    async with opener() as first, opener() as second:
        await first.put(make_sent())
        assert await read_record(second) == make_sent()


async def test_remove(journal: Journal) -> None:
    """A removed record is gone, and its key is free for any request."""
    await journal.put(make_sent())
    await journal.remove(KEY)
    assert await read_record(journal) is None


async def test_remove_nothing(journal: Journal) -> None:
    """Removing a missing record does nothing."""
    await journal.remove(KEY)
    assert await read_record(journal) is None


@pytest.mark.parametrize(
    "other",
    [KEY._replace(base_url="https://other.example/v3"), KEY._replace(account="b"), KEY._replace(key="order-2")],
    ids=["base URL", "account", "key"],
)
async def test_identity(journal: Journal, other: KeyIdentity) -> None:
    """Base URL, account and key keep records, and claims, separate."""
    await journal.put(make_sent())
    async with hold_key(journal):
        assert await read_record(journal, other) is None


@pytest.mark.parametrize("body", [None, b"", b'{"a":1}', '{"a":"\u00e9\u0000"}'.encode()])
async def test_bodies(journal: Journal, body: bytes | None) -> None:
    """Bytes are returned unchanged, and none as none."""
    record = attrs.evolve(make_sent(), body=body, answer=RecordedResponse(200, body, None), state=EntryState.DONE)
    await journal.put(record)
    assert await read_record(journal) == record


@pytest.mark.parametrize("state", EntryState)
async def test_states(journal: Journal, state: EntryState) -> None:
    """Every state is returned unchanged."""
    await journal.put(attrs.evolve(make_sent(), state=state))
    record = await read_record(journal)
    assert record is not None
    assert record.state is state


@pytest.mark.parametrize(("given", "kept"), [(True, b'{"balance":5}'), (False, None)])
async def test_answers_of_fresh_keys(journal: Journal, given: bool, kept: bytes | None) -> None:
    """The response to a caller's key is stored; for a fresh key only that it was done, and when."""
    await journal.put(make_done(make_sent(given=given)))
    record = await read_record(journal)
    assert record is not None
    assert record.state is EntryState.DONE
    assert record.answer == RecordedResponse(201, kept, "req_1")


async def test_unfinished_fresh_keys_keep_their_body(journal: Journal) -> None:
    """A fresh key in doubt keeps its request, so that it can be sent again with the same bytes."""
    await journal.put(make_sent(given=False))
    record = await read_record(journal)
    assert record is not None
    assert record.body == b'{"a":1}'


async def test_claims_wait_in_line(journal: Journal) -> None:
    """A key has one holder at a time; waiters get it in the order in which they came."""
    clock, order = ManualClock(), list[int]()

    async def hold_briefly(number: int) -> None:
        await journal.claim(KEY, LONG, clock)
        order.append(number)
        await run_loop(20)
        assert order[-1] == number
        journal.release(KEY)

    async with anyio.create_task_group() as group, hold_key(journal):
        for number in range(5):
            group.start_soon(hold_briefly, number)
            await run_loop(20)
        assert order == []
    assert order == [0, 1, 2, 3, 4]


async def test_claims_wait_across_openers(opener: Opener) -> None:
    """A claim waits for a key that another client holds over the same store."""
    async with opener() as first, opener() as second:
        async with hold_key(first):
            task = start_claim(second, ManualClock())
            await run_loop(20)
            assert not task.done()
            await first.put(make_sent())
        assert await task == make_sent()
        second.release(KEY)


async def test_newcomers_wait_behind_the_line(journal: Journal) -> None:
    """A claim right after a release does not overtake a queued one."""
    clock = ManualClock()
    await journal.claim(KEY, LONG, clock)
    first = start_claim(journal, clock)
    await run_loop(20)
    journal.release(KEY)
    late = start_claim(journal, clock)
    await first
    await run_loop(20)
    assert not late.done()
    journal.release(KEY)
    await late
    journal.release(KEY)


async def test_waiter_reads_the_latest_record(journal: Journal) -> None:
    """A waiter gets what the holder put last."""
    async with hold_key(journal):
        task = start_claim(journal, ManualClock())
        await run_loop(20)
        await journal.put(make_sent())
        await journal.put(make_done(make_sent()))
    assert await task == make_done(make_sent())
    journal.release(KEY)


async def test_patience(journal: Journal) -> None:
    """The timeout of a claim is counted on the given clock: KeyInUseError at its end, not before."""
    clock = ManualClock()
    async with hold_key(journal):
        task = start_claim(journal, clock, 10)
        await run_loop(20)
        clock.advance(9.9)
        await run_loop(20)
        assert not task.done()
        clock.advance(0.1)
        with pytest.raises(errors.KeyInUseError, match="order-1") as caught:
            await task
    assert (caught.value.sent, caught.value.timed_out, clock.pending_timers) == (False, True, 0)


async def test_error_survives_pickle(journal: Journal) -> None:
    """KeyInUseError can be pickled."""
    clock = ManualClock()
    async with hold_key(journal):
        task = start_claim(journal, clock, 1)
        await run_loop(20)
        clock.advance(1)
        with pytest.raises(errors.KeyInUseError) as caught:
            await task
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - our own bytes


async def test_impatient_waiter_holds_nothing(journal: Journal) -> None:
    """After a KeyInUseError the next queued claim gets the key, and after it all others."""
    clock = ManualClock()
    async with hold_key(journal):
        impatient, patient = start_claim(journal, clock, 1), start_claim(journal, clock)
        await run_loop(20)
        clock.advance(1)
        with pytest.raises(errors.KeyInUseError):
            await impatient
    await patient
    journal.release(KEY)
    assert await read_record(journal) is None


async def test_granted_claim_stops_its_timer(journal: Journal) -> None:
    """A claim that was granted leaves no timer behind."""
    clock = ManualClock()
    async with hold_key(journal):
        task = start_claim(journal, clock)
        await run_loop(20)
    await task
    journal.release(KEY)
    assert clock.pending_timers == 0


async def test_cancelled_waiter_leaves_the_line(journal: Journal) -> None:
    """A cancelled claim holds nothing: the next one gets the key."""
    clock = ManualClock()
    async with hold_key(journal):
        first, second = start_claim(journal, clock), start_claim(journal, clock)
        await run_loop(20)
        await cancel_task(first)
    await second
    journal.release(KEY)
    assert clock.pending_timers == 0


@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_while_it_is_granted(journal: Journal, turns: int) -> None:
    """A claim that is cancelled while the key is handed to it passes it on, at any turn of the loop."""
    clock = ManualClock()
    await journal.claim(KEY, LONG, clock)
    first = start_claim(journal, clock)
    await run_loop(20)
    journal.release(KEY)
    for _ in range(turns):
        await asyncio.sleep(0)
    first.cancel()
    try:
        await first
        journal.release(KEY)
    except asyncio.CancelledError:
        pass
    assert await read_record(journal) is None


async def test_cancelled_scope_holds_nothing(journal: Journal) -> None:
    """A claim inside a cancelled scope holds nothing either."""
    clock = ManualClock()
    async with hold_key(journal), anyio.create_task_group() as group:
        group.start_soon(journal.claim, KEY, LONG, clock)
        await run_loop(20)
        group.cancel_scope.cancel()
    assert await read_record(journal) is None


async def test_out_of_patience_while_it_is_granted(journal: Journal) -> None:
    """A claim that times out as the key is handed to it either holds it or passes it on."""
    clock = ManualClock()
    await journal.claim(KEY, LONG, clock)
    first = start_claim(journal, clock, 5)
    await run_loop(20)
    clock.advance(5)
    journal.release(KEY)
    try:
        await first
        journal.release(KEY)
    except errors.KeyInUseError:
        pass
    assert await read_record(journal) is None


def claim_in_thread(opener: Opener, got: threading.Event, order: list[str]) -> threading.Thread:
    """Start a thread with its own loop that claims the key and releases it."""

    async def claim_and_release() -> None:
        async with opener() as journal:
            got.set()
            await journal.claim(KEY, LONG, ManualClock())
            order.append("other")
            await journal.put(make_sent())
            journal.release(KEY)

    thread = threading.Thread(target=lambda: asyncio.run(claim_and_release()))
    thread.start()
    return thread


async def test_two_loops(opener: Opener) -> None:
    """A key is handed from one thread's loop to another's, with what was put."""
    order, begun = list[str](), threading.Event()
    async with opener() as journal:
        async with hold_key(journal):
            thread = claim_in_thread(opener, begun, order)
            await asyncio.to_thread(begun.wait)
            await run_loop(20)
            order.append("mine")
        await asyncio.to_thread(thread.join)
        assert order == ["mine", "other"]
        assert await read_record(journal) == make_sent()


def test_two_loops_count(opener: Opener) -> None:
    """Claims from two threads' loops exclude each other: no update is lost."""
    rounds = 100
    inside = 0
    counted = list[int]()

    async def count_holders() -> None:
        nonlocal inside
        async with opener() as journal:
            for _ in range(rounds):
                await journal.claim(KEY, LONG, ManualClock())
                inside += 1
                await asyncio.sleep(0)
                counted.append(inside)
                inside -= 1
                journal.release(KEY)

    threads = [threading.Thread(target=lambda: asyncio.run(count_holders())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == [1] * (2 * rounds)


def test_waiter_whose_loop_has_ended(opener: Opener) -> None:
    """A waiter whose loop ended leaves the key to the next one."""

    async def hold_on(journal: Journal) -> None:
        await journal.claim(KEY, LONG, ManualClock())

    async def line_up(journal: Journal) -> None:
        start_claim(journal, ManualClock())
        await run_loop(20)

    async def main() -> None:
        async with opener() as journal:
            await hold_on(journal)
            await asyncio.to_thread(lambda: asyncio.run(line_up(journal)))
            journal.release(KEY)
            assert await read_record(journal) is None

    asyncio.run(main())


async def test_overtaken_by_a_later_post(journal: Journal) -> None:
    """A POST to the same endpoint and path, sent later under another key, supersedes a record."""
    await journal.put(make_sent())
    await journal.put(make_sent(make_identity("order-2"), second=1))
    assert await journal.overtaken(make_sent())


async def test_not_overtaken_by_earlier_posts(journal: Journal) -> None:
    """A POST that was sent before a record does not supersede it."""
    await journal.put(make_sent())
    await journal.put(make_sent(make_identity("order-2"), second=1))
    assert not await journal.overtaken(make_sent(make_identity("order-2"), second=1))


@pytest.mark.parametrize(
    "other",
    [
        make_sent(make_identity("order-2"), second=1, path="/q"),
        make_sent(KEY._replace(account="b", key="order-2"), second=1),
        make_sent(KEY._replace(base_url="https://other.example/v3", key="order-2"), second=1),
    ],
    ids=["another path", "another account", "another server"],
)
async def test_not_overtaken_by_others(journal: Journal, other: JournalEntry) -> None:
    """Only the same account's POST to the same endpoint and path at the same server supersedes."""
    await journal.put(make_sent())
    await journal.put(other)
    assert not await journal.overtaken(make_sent())


async def test_overtaken_by_what_was_sent_again(journal: Journal) -> None:
    """An older key that was refused, and sent again after a record, supersedes it."""
    await journal.put(make_done(make_sent(make_identity("order-2")), state=EntryState.REFUSED))
    await journal.put(make_sent(second=10))
    await journal.put(make_sent(make_identity("order-2"), second=20))
    assert await journal.overtaken(make_sent(second=10))


async def test_sent_again_is_not_overtaken_by_what_came_between(journal: Journal) -> None:
    """A record that was itself sent again later than the others is the latest."""
    await journal.put(make_done(make_sent(), state=EntryState.REFUSED))
    await journal.put(make_done(make_sent(make_identity("order-2"), second=10), second=10))
    await journal.put(make_sent(second=20))
    assert not await journal.overtaken(make_sent(second=20))


async def test_not_overtaken_by_an_earlier_post_that_ends_later(journal: Journal) -> None:
    """The time of sending counts: a POST sent before and answered after a record does not supersede it."""
    await journal.put(make_sent(make_identity("order-2")))
    await journal.put(make_sent(second=10))
    await journal.put(make_done(make_sent(make_identity("order-2"))))
    assert not await journal.overtaken(make_sent(second=10))


async def test_removed_posts_overtake_nothing(journal: Journal) -> None:
    """A later POST that never reached the server supersedes nothing."""
    await journal.put(make_sent())
    await journal.put(make_sent(make_identity("order-2"), second=1))
    await journal.remove(make_identity("order-2"))
    assert not await journal.overtaken(make_sent())


async def test_overtaken_after_the_record_is_gone(journal: Journal) -> None:
    """A record that was removed between claim and query raises nothing."""
    await journal.put(make_sent())
    await journal.remove(KEY)
    assert not await journal.overtaken(make_sent())


async def test_records_survive_pickle(journal: Journal) -> None:
    """A record can be pickled."""
    await journal.put(make_done(make_sent()))
    record = await read_record(journal)
    assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301 - our own bytes


@pytest.mark.parametrize(("second", "overtakes"), [(-1, False), (0, True), (1, True)])
async def test_overtaken_at_the_same_instant(journal: Journal, second: float, overtakes: bool) -> None:
    """Of two POSTs that were sent at the same instant the one that was recorded later supersedes the other."""
    await journal.put(make_sent(make_identity("order-0"), second=-5))
    if second < 0:
        await journal.put(make_sent(make_identity("order-2"), second=second))
        await journal.put(make_sent())
    else:
        await journal.put(make_sent())
        await journal.put(make_sent(make_identity("order-2"), second=second))
    assert await journal.overtaken(make_sent()) is overtakes
    assert await journal.overtaken(make_sent(make_identity("order-2"), second=second)) is not overtakes


@pytest.mark.parametrize("state", [EntryState.SENT, EntryState.DONE, EntryState.REFUSED])
async def test_overtaken_in_every_state(journal: Journal, state: EntryState) -> None:
    """A later POST supersedes a record whatever its outcome: it may have reached the server."""
    later = make_sent(make_identity("order-2"), second=1)
    await journal.put(make_sent())
    await journal.put(later)
    if state is not EntryState.SENT:
        await journal.put(make_done(later, second=1, state=state))
    assert await journal.overtaken(make_sent())


SINCE = {
    "older than ten minutes": (make_done(make_sent(make_identity("o"), second=-601), second=-601), False),
    "ten minutes": (make_done(make_sent(make_identity("o"), second=-600), second=-600), True),
    "later": (make_done(make_sent(make_identity("o"), second=1e6), second=1e6), True),
    "sent again": (attrs.evolve(make_sent(make_identity("o"), second=-5000), last_sent=make_sent().last_sent), True),
    "in doubt": (make_sent(make_identity("o"), second=50), True),
    "an old doubt": (make_sent(make_identity("o"), second=-5000), False),
    "refused": (make_done(make_sent(make_identity("o")), state=EntryState.REFUSED), False),
    "another path": (make_sent(make_identity("o"), path="/q"), True),
    "a generated key": (make_sent(make_identity("o"), given=False), True),
    "another endpoint": (attrs.evolve(make_sent(make_identity("o")), endpoint="credits.purchase"), False),
    "another account": (make_sent(KEY._replace(account="b")), False),
    "another server": (make_sent(KEY._replace(base_url="https://other.example/v3")), False),
}


@pytest.mark.parametrize(("other", "counts"), SINCE.values(), ids=SINCE)
async def test_since(journal: Journal, other: JournalEntry, counts: bool) -> None:
    """``since`` returns the endpoint's other records of the account, last sent from ten minutes before on."""
    await journal.put(make_sent())
    await journal.put(other)
    assert [record.identity for record in await journal.since(make_sent())] == [other.identity] * counts


async def test_unfinished_is_in_order(journal: Journal) -> None:
    """``unfinished`` returns the records in doubt in the order of their first sends, each with its bytes."""
    records = [make_sent(make_identity(f"order-{number}"), second=number, given=number > 1) for number in range(4)]
    for record in records:
        await journal.put(record)
    await journal.put(make_done(records[1], second=10))
    # Sent again, it keeps its place.
    await journal.put(again := attrs.evolve(records[0], last_sent=make_sent(second=20).last_sent))
    assert await journal.unfinished(KEY.base_url, KEY.account) == [again, *records[2:]]


@pytest.mark.parametrize("state", [EntryState.INTENT, EntryState.DONE, EntryState.REFUSED])
async def test_unfinished_leaves_out_other_states(journal: Journal, state: EntryState) -> None:
    """What was not sent, is done or was refused is not in doubt."""
    await journal.put(attrs.evolve(make_sent(), state=state))
    assert await journal.unfinished(KEY.base_url, KEY.account) == []


@pytest.mark.parametrize(
    "other", [KEY._replace(base_url="https://other.example/v3"), KEY._replace(account="b")], ids=["server", "account"]
)
async def test_unfinished_leaves_out_others(journal: Journal, other: KeyIdentity) -> None:
    """Another server's or account's doubts are not this one's."""
    await journal.put(make_sent(other))
    assert await journal.unfinished(KEY.base_url, KEY.account) == []
    assert await journal.unfinished(other.base_url, other.account) == [make_sent(other)]


async def test_unfinished_leaves_out_held_keys(opener: Opener) -> None:
    """A key that is held, by this client or another one over the same store, is in flight and not in doubt."""
    async with opener() as first, opener() as second:
        await first.put(make_sent())
        async with hold_key(first):
            found = [await journal.unfinished(KEY.base_url, KEY.account) for journal in (first, second)]
        assert found == [[], []]
        # The release reaches another client once it is stored.
        async with asyncio.timeout(5):
            while not (free := await second.unfinished(KEY.base_url, KEY.account)):  # noqa: ASYNC110 - the database signals nothing
                await asyncio.sleep(0)
        assert free == [make_sent()]


async def test_highest(journal: Journal) -> None:
    """``highest`` is the highest wall time of what was put, by first or last send, and never goes back."""
    seen = list[float]()
    for record in (
        make_sent(second=10),
        make_sent(make_identity("order-2"), second=5),
        make_done(make_sent(make_identity("order-3"), second=5), second=20),
        make_sent(make_identity("order-4"), second=15),
    ):
        await journal.put(record)
        seen.append(journal.highest - WALL)
    assert seen == [10, 10, 20, 20]


async def test_nothing_is_forgotten_at_first(journal: Journal) -> None:
    """A store from which nothing was pruned has forgotten nothing."""
    await journal.put(make_done(make_sent()))
    assert (await journal.since(make_sent(make_identity("order-2"))), journal.forgotten < WALL) == (
        [make_done(make_sent())],
        True,
    )


async def test_remove_in_every_state(journal: Journal) -> None:
    """A removed record is gone in whatever state it was."""
    for state in EntryState:
        await journal.put(attrs.evolve(make_sent(), state=state))
        await journal.remove(KEY)
        assert await read_record(journal) is None
