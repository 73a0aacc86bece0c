"""Keys across machines: who holds one, who takes it over, and what a holder that lost it may still do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from bardge_async import BardgeClient, EntryState, PostgresJournal, errors
from bardge_async.testing import ManualClock
from tests.journal.elsewhere import connect_other_machine, expire_leases, open_two_machines, read_states, take_over
from tests.journal.factories import KEY, make_done, make_identity, make_reading, make_sent
from tests.journal.place import buy, fail_to_buy
from tests.support.clock import PausedClock
from tests.support.net import call_back_then
from tests.support.postgres import Database
from tests.support.rig import AT_ONCE
from tests.support.server import ScriptedServer, error, reply

BOUGHT = reply(201, {"balance": 5})
REFUSED = make_done(make_sent(), state=EntryState.REFUSED)


async def test_other_machines_wait(postgres: Database) -> None:
    """A claim waits for a key that another machine holds, until its timeout."""
    clock = ManualClock()
    begun = clock.elapsed()
    async with open_two_machines(postgres) as (here, there):
        await here.claim(KEY, 0, ManualClock())
        with pytest.raises(errors.KeyInUseError, match="order-1") as caught:
            await there.claim(KEY, 1, clock)
    assert (caught.value.timed_out, caught.value.sent, clock.elapsed() - begun) == (True, False, 1)


async def test_released_for_other_machines(postgres: Database) -> None:
    """A released key is granted to the machine that waits for it, with what was put."""
    async with open_two_machines(postgres) as (here, there):
        await here.claim(KEY, 0, ManualClock())
        waiting = asyncio.ensure_future(there.claim(KEY, 1000, ManualClock()))
        await here.put(make_sent())
        here.release(KEY)
        assert await waiting == make_sent()


async def test_taken_over_when_the_lease_has_run_out(postgres: Database) -> None:
    """The key of a holder that renews nothing passes to another machine after the lease, by the server's clock."""
    async with open_two_machines(postgres, lease=0.4) as (here, there):
        begun = time.monotonic()
        await here.claim(KEY, 0, ManualClock())
        await there.claim(KEY, 10_000, ManualClock())
    assert time.monotonic() - begun >= 0.4


async def test_renewed_while_it_is_held(postgres: Database) -> None:
    """A live holder renews its lease three times in its length, for as long as it holds the key."""
    postgres.clear()
    clock = PausedClock()
    async with connect_other_machine(postgres, clock=clock, lease=15) as here:
        await here.claim(KEY, 0, ManualClock())
        for _ in range(6):
            expire_leases(postgres)
            clock.advance(5)
            # Writes are answered in their order: after this one, the lease has been renewed.
            await here.remove(make_identity("order-2"))
            assert 14 < read_remaining_lease(postgres) <= 15


async def test_renewed_lease_is_no_lost_one(postgres: Database) -> None:
    """After its lease was renewed, a holder may still put its intent."""
    postgres.clear()
    clock = PausedClock()
    async with connect_other_machine(postgres, clock=clock) as here:
        await here.claim(KEY, 0, ManualClock())
        clock.advance(5)
        # Writes are answered in their order: after this one, the renewal's answer has arrived.
        await here.remove(make_identity("order-2"))
        await here.put(make_sent())
        assert read_states(postgres) == {"order-1": EntryState.SENT}


def read_remaining_lease(database: Database) -> float:
    sql = "SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 FROM bardge.entries"
    [[seconds]] = database.admin.execute(sql).fetchall()
    return float(seconds)


async def test_no_timer_when_nothing_is_held(postgres: Database) -> None:
    """Once every key is released the journal has no timers left."""
    postgres.clear()
    clock = PausedClock()
    async with connect_other_machine(postgres, clock=clock) as here:
        await here.claim(KEY, 0, ManualClock())
        here.release(KEY)
    clock.advance(15)
    assert clock.pending_timers == 0


async def test_lost_lease_is_told(postgres: Database, caplog: pytest.LogCaptureFixture) -> None:
    """A holder whose key was taken learns it on renewal: it logs it, and puts no intent."""
    clock = PausedClock()
    async with (
        open_two_machines(postgres) as (_, there),
        connect_other_machine(postgres, "third", clock=clock) as third,
    ):
        await third.claim(KEY, 0, ManualClock())
        await take_over(postgres, there)
        clock.advance(5)
        while not caplog.records:  # noqa: ASYNC110 - waits for the server
            await asyncio.sleep(0)
        with pytest.raises(errors.JournalError, match="another process has claimed"):
            await third.put(make_sent())
    assert "order-1" in caplog.text
    assert read_states(postgres) == {}


def make_client(server: ScriptedServer, journal: PostgresJournal, api_key: Any = "key") -> BardgeClient:
    return BardgeClient(api_key, server.base_url, journal=journal, retry=AT_ONCE, clock=ManualClock())


async def test_stalled_holder_sends_nothing(postgres: Database) -> None:
    """A call that stalls before its intent while another machine makes the same call sends nothing."""
    async with (
        open_two_machines(postgres) as (here, there),
        ScriptedServer(BOUGHT) as server,
        make_client(server, there) as other,
    ):

        async def get_key_slowly() -> str:
            expire_leases(postgres)
            await buy(other)
            return "key"

        async with make_client(server, here, get_key_slowly) as stalled:
            found = await fail_to_buy(stalled)
        assert isinstance(found, errors.JournalError)
        assert (found.sent, len(server.requests)) == (False, 1)
        assert read_states(postgres) == {"order-1": EntryState.DONE}


async def test_run_out_and_not_taken(postgres: Database) -> None:
    """An expired lease that was not taken over is valid for an intent, which renews it."""
    async with open_two_machines(postgres) as (here, _):
        await here.claim(KEY, 0, ManualClock())
        expire_leases(postgres)
        await here.put(make_sent())
        assert 14 < read_remaining_lease(postgres) <= 15


class Jumping(PausedClock):
    """A clock that jumps while the first intent is written."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self.meanwhile = meanwhile
        self.readings = -1

    def elapsed(self) -> float:
        if self.readings >= 0:
            self.readings += 1
        if self.readings == 3:
            self.advance(20)
            self.meanwhile()
        return super().elapsed()


async def test_intent_that_took_longer_than_a_lease(postgres: Database) -> None:
    """An intent that was written too slowly is not trusted: it is written again, and the lost lease is detected."""
    postgres.clear()
    steal = "UPDATE bardge.entries SET owner = 'another'"
    clock = Jumping(lambda: postgres.admin.execute(steal))
    async with connect_other_machine(postgres, clock=clock) as here:
        await here.claim(KEY, 0, ManualClock())
        clock.readings = 0
        with pytest.raises(errors.JournalError, match="another process has claimed"):
            await here.put(make_sent())
    assert read_states(postgres) == {"order-1": EntryState.SENT}


async def test_answer_after_the_lease(postgres: Database) -> None:
    """A response that arrives after the key was taken over is kept: the new holder sends nothing more."""
    async with (
        open_two_machines(postgres) as (here, there),
        ScriptedServer(BOUGHT) as server,
        make_client(server, here) as bardge,
    ):
        taking = list[asyncio.Task[Any]]()
        server.script = [call_back_then(lambda: taking.append(asyncio.ensure_future(steal(there))), BOUGHT)]

        async def steal(there: PostgresJournal) -> None:
            expire_leases(postgres)
            await there.claim(KEY._replace(base_url=server.base_url), 0, ManualClock())

        await buy(bardge)
        await asyncio.gather(*taking)
        assert read_states(postgres) == {"order-1": EntryState.DONE}
        with pytest.raises(errors.JournalError):
            await there.put(make_sent(KEY._replace(base_url=server.base_url)))


@pytest.mark.parametrize(
    "later", [REFUSED, make_sent(), make_done(make_sent(), second=9)], ids=["refused", "sent", "done again"]
)
async def test_done_stays_done(postgres: Database, later: Any) -> None:
    """A holder whose key was taken over cannot replace what the new holder put."""
    async with open_two_machines(postgres) as (here, there):
        await here.claim(KEY, 0, ManualClock())
        await here.put(make_sent())
        await take_over(postgres, there)
        await there.put(make_done(make_sent(), second=1))
        with contextlib.suppress(errors.JournalError):
            await here.put(later)
        assert await there.listed() == [make_done(make_sent(), second=1)]


async def test_refused_after_the_key_was_taken(postgres: Database) -> None:
    """A refusal is kept after the key was taken over, if the new holder has not put anything yet."""
    async with open_two_machines(postgres) as (here, there):
        await here.claim(KEY, 0, ManualClock())
        await here.put(make_sent())
        await take_over(postgres, there)
        await here.put(REFUSED)
        assert await there.listed() == [REFUSED]


async def test_refused_after_the_other_has_sent(postgres: Database) -> None:
    """A refusal is not kept once the new holder has sent: that outcome counts, and the key stays in doubt."""
    async with open_two_machines(postgres) as (here, there):
        await here.claim(KEY, 0, ManualClock())
        await here.put(make_sent())
        await take_over(postgres, there)
        await there.put(make_sent(second=20))
        there.release(KEY)
        with pytest.raises(errors.JournalError, match="another process has claimed"):
            await here.put(REFUSED)
        assert await there.unfinished(KEY.base_url, KEY.account) == [make_sent(second=20)]


async def test_withdrawn_after_the_key_was_taken(postgres: Database) -> None:
    """A holder whose key was taken over cannot take an intent back: the record is the new holder's."""
    async with open_two_machines(postgres) as (here, there):
        await here.claim(KEY, 0, ManualClock())
        await here.put(make_sent())
        await take_over(postgres, there)
        with pytest.raises(errors.JournalError):
            await here.remove(KEY)
        assert read_states(postgres) == {"order-1": EntryState.SENT}


async def test_withdrawn_and_put_again(postgres: Database) -> None:
    """A holder that took its intent back still holds the key, and may put another one."""
    async with open_two_machines(postgres) as (here, there):
        await here.claim(KEY, 0, ManualClock())
        await here.put(make_sent())
        await here.remove(KEY)
        with pytest.raises(errors.KeyInUseError):
            await there.claim(KEY, 0, ManualClock())
        await here.put(make_sent(second=5))
        assert await here.listed() == [make_sent(second=5)]


async def test_late_release_frees_nothing_of_another(postgres: Database) -> None:
    """A former holder that releases a key leaves the new holder's lease alone."""
    async with open_two_machines(postgres) as (here, there), connect_other_machine(postgres, "third") as third:
        await here.claim(KEY, 0, ManualClock())
        await take_over(postgres, there)
        here.release(KEY)
        await here.claim(KEY._replace(key="order-2"), 0, ManualClock())
        with pytest.raises(errors.KeyInUseError):
            await third.claim(KEY, 0, ManualClock())


async def test_unfinished_leaves_out_what_other_machines_work_on(postgres: Database) -> None:
    """``unfinished`` lists a key in doubt once its holder's lease has expired, not before."""
    async with open_two_machines(postgres) as (here, there):
        await here.claim(KEY, 0, ManualClock())
        await here.put(make_sent())
        assert await there.unfinished(KEY.base_url, KEY.account) == []
        expire_leases(postgres)
        assert await there.unfinished(KEY.base_url, KEY.account) == [make_sent()]


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20, 100])
async def test_cancelled_claim_leaves_no_lease(postgres: Database, turns: int) -> None:
    """A claim that is cancelled at any moment leaves no lease that others would wait for."""
    async with open_two_machines(postgres) as (here, _):
        await here.listed()
        task = asyncio.ensure_future(here.claim(KEY, 0, ManualClock()))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
            here.release(KEY)
    assert read_states(postgres) == {}


async def test_closed_journal_gives_its_keys_back(postgres: Database) -> None:
    """``aclose`` releases every key; later calls report that the journal is closed."""
    postgres.clear()
    here = connect_other_machine(postgres, "here")
    await here.claim(KEY, 0, ManualClock())
    await here.aclose()
    with pytest.raises(errors.JournalError, match="closed"):
        await here.put(make_sent())
    async with connect_other_machine(postgres) as there:
        assert await there.claim(KEY, 0, ManualClock()) is None


def test_ended_loop_gives_its_keys_back(postgres: Database) -> None:
    """A loop that ends takes its leases and connections with it; the journal works in the next one."""
    postgres.clear()
    journal = connect_other_machine(postgres)
    asyncio.run(hold_key(journal))
    assert read_states(postgres) == {}
    asyncio.run(journal.put(make_sent()))
    assert read_states(postgres) == {"order-1": EntryState.SENT}


async def hold_key(journal: PostgresJournal) -> None:
    await journal.claim(KEY, 0, ManualClock())


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork(postgres: Database) -> None:
    """The child of a fork holds nothing of its parent's, and both continue with their own connections."""
    postgres.clear()
    journal = connect_other_machine(postgres)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(journal.claim(KEY, 0, ManualClock()))

    async def run_child() -> None:
        with pytest.raises(errors.KeyInUseError):
            await journal.claim(KEY, 0, ManualClock())
        await journal.put(make_sent(KEY._replace(key="child")))

    pid = os.fork()
    if not pid:
        try:
            asyncio.run(run_child())
        except BaseException:  # noqa: BLE001 - a child must never continue as the test
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    loop.run_until_complete(journal.put(make_sent()))
    loop.run_until_complete(journal.aclose())
    loop.close()
    assert read_states(postgres) == {"child": EntryState.SENT, "order-1": EntryState.SENT}


class Machine(ManualClock):
    """The clock of another machine."""

    def __init__(self, boot: str, wall: float, elapsed: float) -> None:
        super().__init__(wall - elapsed)
        self.boot = boot
        self.advance(elapsed)


@pytest.mark.parametrize(("ago", "requests"), [(30, 2), (85, 1)])
async def test_age_is_the_servers(postgres: Database, ago: int, requests: int) -> None:
    """The age of another machine's key comes from the server's clock, though this machine's clock is an hour off."""
    postgres.clear()
    async with ScriptedServer(error(503), BOUGHT) as server:
        server.script = [reply(503, body=b"<html>")] * 4 + [BOUGHT]
        for boot, wall, elapsed in (("a", make_reading(0).wall, 5000.0), ("b", make_reading(-3600).wall, 70.0)):
            async with connect_other_machine(postgres, boot) as journal:
                clock = Machine(boot, wall, elapsed)
                options: dict[str, Any] = {"journal": journal, "retry": AT_ONCE, "clock": clock}
                async with BardgeClient("key", server.base_url, **options) as bardge:
                    if boot == "a":
                        server.script = [reply(503, body=b"<html>"), BOUGHT]
                        await fail_to_buy(bardge.with_options(retry=attrs.evolve(AT_ONCE, max_attempts=1)))
                        move = "UPDATE bardge.entries SET first_at = first_at - make_interval(secs => %s)"
                        postgres.admin.execute(move, (ago,))
                    elif requests == 2:
                        await buy(bardge)
                    else:
                        assert isinstance(await fail_to_buy(bardge), errors.OutcomeUnknownError)
        assert len(server.requests) == requests
