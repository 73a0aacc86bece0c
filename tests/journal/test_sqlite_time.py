"""Years, reboots and forks: what the journal on disk keeps and what it removes."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from bardge_async import (
    BardgeClient,
    ClockReading,
    EntryState,
    JournalEntry,
    RecordedResponse,
    RetryPolicy,
    SQLiteJournal,
    errors,
)
from bardge_async import models as m
from bardge_async.testing import ManualClock
from tests.journal.factories import ELAPSED, KEY, WALL, make_done, make_identity, make_reading, make_sent
from tests.journal.held import is_key_freed, is_key_held
from tests.journal.place import buy, fail_to_buy
from tests.journal.test_protocol import read_record
from tests.support.rig import AT_ONCE, OTHER
from tests.support.server import ScriptedServer, Step, cut, error, reply

DAY = 86_400.0
BOUGHT = reply(201, {"object": "credit_purchase", "balance": 5})


async def read_after(journal: SQLiteJournal, days: float, record: JournalEntry) -> JournalEntry | None:
    """Return what is left of a record after a number of days, once something else is written."""
    await journal.put(record)
    await journal.prune(WALL + days * DAY)
    return await read_record(journal, record.identity)


@pytest.mark.parametrize(("days", "kept"), [(29.9, True), (30.1, False)])
async def test_bodies_stay_for_30_days(tmp_path: Path, days: float, *, kept: bool) -> None:
    """Bodies of done entries are removed after 30 days; key, fingerprint and outcome stay."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        record = make_done(make_sent())
        bare = attrs.evolve(record, body=None, answer=RecordedResponse(201, None, "req_1"))
        assert await read_after(journal, days, record) == (record if kept else bare)


@pytest.mark.parametrize(("days", "kept"), [(399.9, True), (400.1, False)])
async def test_entries_stay_for_400_days(tmp_path: Path, days: float, *, kept: bool) -> None:
    """Done entries are removed after 400 days."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        assert (await read_after(journal, days, make_done(make_sent())) is not None) is kept


async def test_entries_for_ever(tmp_path: Path) -> None:
    """``keep_entries=0`` keeps outcomes for ever."""
    with SQLiteJournal(tmp_path / "journal.db", keep_entries=0) as journal:
        assert await read_after(journal, 40_000, make_done(make_sent())) is not None


async def test_doubts_stay(tmp_path: Path) -> None:
    """Entries in doubt stay, with their bodies, however old."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        assert await read_after(journal, 40_000, make_sent()) == make_sent()


async def test_pruned_by_the_way(tmp_path: Path) -> None:
    """Pruning needs no call: putting records prunes, at most once an hour."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        await journal.put(make_done(make_sent()))
        await journal.put(make_done(make_sent(make_identity("order-2"), second=31 * DAY), second=31 * DAY))
        record = await read_record(journal)
    assert record is not None
    assert record.body is None


async def test_erase(tmp_path: Path) -> None:
    """``erase`` removes the bodies of finished entries that name the client, and leaves its doubts and others alone."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        mine = attrs.evolve(make_sent(), body=b'{"client_id":"c1"}')
        await journal.put(make_done(mine))
        await journal.put(attrs.evolve(mine, identity=make_identity("doubt")))
        await journal.put(make_done(make_sent(make_identity("other"))))
        await journal.put(make_done(make_sent(make_identity("path"), path="/issued_passes/c1/expiry")))
        assert await journal.erase("c1") == 2
        bodies = {record.identity.key: record.body is not None for record in await journal.listed()}
    assert bodies == {"order-1": False, "doubt": True, "other": True, "path": False}


async def test_erased_bytes_are_gone(tmp_path: Path) -> None:
    """Once the journal is closed, no byte of an erased body is left in its file."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        await journal.put(make_done(attrs.evolve(make_sent(), body=b'{"client_id":"c1","name":"Ngozi"}')))
        await journal.erase("c1")
    assert b"Ngozi" not in (tmp_path / "journal.db").read_bytes()


@asynccontextmanager
async def open_shop(folder: Path, *script: Step) -> AsyncGenerator[tuple[ScriptedServer, Callable[..., Any]]]:
    """Run a scripted server, and yield it with a function that opens a client over the folder's journal."""
    async with ScriptedServer(*script) as server:

        @asynccontextmanager
        async def client(clock: ManualClock, **options: Any) -> AsyncGenerator[tuple[BardgeClient, SQLiteJournal]]:
            with SQLiteJournal(folder / "journal.db") as journal:
                options = {"clock": clock, "journal": journal, "retry": AT_ONCE, **options}
                async with BardgeClient("key", server.base_url, **options) as bardge:
                    yield bardge, journal

        yield server, client


async def test_already_done(tmp_path: Path) -> None:
    """A done key whose response was removed raises AlreadyDoneError; nothing is sent."""
    clock = ManualClock()
    async with open_shop(tmp_path, BOUGHT) as (server, client), client(clock) as (bardge, journal):
        await buy(bardge)
        await journal.prune(clock.wall() + 31 * DAY)
        assert type(await fail_to_buy(bardge)) is errors.AlreadyDoneError
        assert type(await fail_to_buy(bardge, request=OTHER)) is errors.IdempotencyMisuseError
    assert len(server.requests) == 1


async def test_refused_long_ago(tmp_path: Path) -> None:
    """A refused key whose body was removed is sent with the caller's body."""
    clock = ManualClock()
    async with open_shop(tmp_path, error(400), BOUGHT) as (server, client), client(clock) as (bardge, journal):
        await fail_to_buy(bardge)
        await journal.prune(clock.wall() + 31 * DAY)
        await buy(bardge)
    assert server.requests[0].body == server.requests[1].body != b""


class Rebooted(ManualClock):
    """The clock of another boot: elapsed time started again from zero, five seconds ago."""

    boot = "another boot"

    def __init__(self, wall: float) -> None:
        super().__init__(wall - 5.0)
        self.advance(5.0)


async def test_reboot_inside_the_window(tmp_path: Path) -> None:
    """After a reboot within the window a doubt is sent again, under its key and with its bytes."""
    clock = ManualClock()
    async with open_shop(tmp_path, cut(), BOUGHT) as (server, client):
        async with client(clock, timeout=1) as (bardge, _):
            server.script[0] = cut()
            with pytest.raises(errors.OutcomeUnknownError):
                await buy_once(bardge)
        async with client(Rebooted(clock.wall() + 60)) as (bardge, _):
            assert [one.idempotency_key for one in await bardge.recover()] == ["order-1"]
    assert len({(one.headers["idempotency-key"], one.body) for one in server.requests}) == 1


async def buy_once(bardge: BardgeClient) -> None:
    """Buy with a single attempt."""
    await buy(bardge.with_options(retry=RetryPolicy(max_attempts=1)))


async def test_reboot_past_the_window(tmp_path: Path) -> None:
    """After a reboot past the window a doubt is neither recovered nor sent again, though the boot clock restarted."""
    clock = ManualClock()
    async with open_shop(tmp_path, cut(), BOUGHT) as (server, client):
        async with client(clock) as (bardge, _):
            with pytest.raises(errors.OutcomeUnknownError):
                await buy_once(bardge)
        async with client(Rebooted(clock.wall() + 81)) as (bardge, _):
            assert await bardge.recover() == []
            assert type(await fail_to_buy(bardge)) is errors.OutcomeUnknownError
            [doubt] = await bardge.in_doubt()
            assert not doubt.recoverable
    assert len(server.requests) == 1


async def test_wall_jumps_back_over_a_restart(tmp_path: Path) -> None:
    """A wall clock that jumps back between two processes reopens no window: the journal stores the highest time."""
    clock = ManualClock()
    async with open_shop(tmp_path, cut(), BOUGHT) as (server, client):
        async with client(clock) as (bardge, _):
            with pytest.raises(errors.OutcomeUnknownError):
                await buy_once(bardge)
            clock.advance(100)
            await buy(bardge, "order-2")
        async with client(Rebooted(clock.wall() - 99)) as (bardge, _):
            assert type(await fail_to_buy(bardge)) is errors.OutcomeUnknownError
            assert await bardge.recover() == []
    assert len(server.requests) == 2


@pytest.mark.parametrize(("kept", "is_kept"), [(100.0, False), (5e9, True), (0.0, True)])
async def test_forgotten(tmp_path: Path, kept: float, *, is_kept: bool) -> None:
    """What was removed counts as forgotten, in another process, too; without a removal nothing of that time does."""
    with SQLiteJournal(tmp_path / "journal.db", keep_entries=kept) as journal:
        await journal.put(make_done(make_sent(second=5), second=5))
        await journal.put(make_sent(make_identity("order-2"), second=1000))
        await journal.prune(WALL + 1000)
    with SQLiteJournal(tmp_path / "journal.db", keep_entries=kept) as again:
        found = [record.identity for record in await again.since(make_sent(make_identity("order-3")))]
        assert (KEY in found, WALL + 5 <= again.forgotten < WALL + 1000) == (is_kept, not is_kept)


@pytest.mark.parametrize("key", ["k2", None], ids=["given", "fresh"])
async def test_overtaken_after_a_reboot_with_the_wall_back(tmp_path: Path, key: str | None) -> None:
    """A later POST supersedes a doubt of another boot even if the wall clock shows an earlier time since."""
    clock = ManualClock()
    december = m.UpdateIssuedPassExpiry(expiry_date=dt.date(2026, 12, 31))
    january = m.UpdateIssuedPassExpiry(expiry_date=dt.date(2027, 1, 31))
    async with open_shop(tmp_path, cut(), reply(200, {"object": "issued_pass"})) as (server, client):
        async with client(clock, retry=RetryPolicy(max_attempts=1)) as (bardge, _):
            with pytest.raises(errors.OutcomeUnknownError):
                await bardge.send("passes.update_expiry", "c1", request=december, key="k1")
        async with client(later := Rebooted(clock.wall() - 3600)) as (bardge, _):
            await bardge.send("passes.update_expiry", "c1", request=january, key=key)
            later.advance(3600 + 100)
            with pytest.raises(errors.OutcomeUnknownError):
                await bardge.send("passes.update_expiry", "c1", request=december, key="k1")
    assert len(server.requests) == 2


async def test_overtaken_while_the_wall_is_back(tmp_path: Path) -> None:
    """A later POST supersedes a record even if the wall clock had jumped back in between."""
    with SQLiteJournal(tmp_path / "journal.db") as journal:
        await journal.put(make_sent())
        back = ClockReading(WALL - 3600, ELAPSED + 1, WALL)
        await journal.put(attrs.evolve(make_sent(make_identity("order-2")), first_sent=back, last_sent=back))
        assert await journal.overtaken(make_sent())


def run_in_child(work: Callable[[], object]) -> int:
    """Run a function in the child of a fork, and return its exit code."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a child must never continue as the test
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def test_fork(tmp_path: Path) -> None:
    """The child of a fork uses the inherited journal, and the parent continues to use it."""
    journal = SQLiteJournal(tmp_path / "journal.db")
    asyncio.run(journal.put(make_sent()))

    def run_child() -> None:
        assert asyncio.run(read_record(journal)) == make_sent()
        asyncio.run(journal.put(make_sent(make_identity("child"))))

    assert run_in_child(run_child) == 0
    asyncio.run(journal.put(make_sent(make_identity("parent"))))
    assert {record.identity.key for record in asyncio.run(journal.listed())} == {"order-1", "child", "parent"}
    journal.close()


def test_fork_keeps_the_parents_keys(tmp_path: Path) -> None:
    """A key that the parent holds is locked for its children, and stays locked when they end."""
    journal = SQLiteJournal(tmp_path / "journal.db")
    asyncio.run(journal.claim(KEY, 0, ManualClock()))

    def run_child() -> None:
        try:
            asyncio.run(journal.claim(KEY, 0, ManualClock()))
        except errors.KeyInUseError:
            journal.close()
            return
        raise AssertionError

    assert run_in_child(run_child) == 0
    assert is_key_held(tmp_path / "journal.db")
    journal.release(KEY)
    assert is_key_freed(tmp_path / "journal.db")
    journal.close()


def test_parent_closes_after_a_fork(tmp_path: Path) -> None:
    """A parent that closes after the fork does not remove the log that its child uses: the child's record is stored."""
    journal = SQLiteJournal(tmp_path / "journal.db")
    asyncio.run(journal.put(make_sent()))
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            asyncio.run(journal.put(make_sent(make_identity("before"))))
            os.read(read_end, 1)
            asyncio.run(journal.put(make_sent(make_identity("after"))))
        finally:
            os._exit(0)
    while len(asyncio.run(journal.listed())) < 2:
        pass
    journal.close()
    os.write(write_end, b"x")
    assert os.waitpid(child, 0)[1] == 0
    os.close(read_end)
    os.close(write_end)
    with SQLiteJournal(tmp_path / "journal.db") as again:
        assert {record.identity.key for record in asyncio.run(again.listed())} == {"order-1", "before", "after"}


def test_states_by_name() -> None:
    """The states have the names stored in files."""
    assert [state.value for state in EntryState] == ["intent", "sent", "done", "refused"]
    assert make_reading(1).wall == WALL + 1
