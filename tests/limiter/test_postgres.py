"""One rate in PostgreSQL: its row, holds across processes, outages, a pooler, and clients that use it."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bardge_async import BardgeClient, PostgresJournal, PostgresLimiter, RetryPolicy, SystemClock, errors
from bardge_async._core.secret import Secret
from bardge_async._limits.permits import PermitGrant, PermitRequest
from bardge_async._limits.rate_table import RateSettings, RateTable
from bardge_async._postgres.schema import fill_schema
from tests.support.clock import PausedClock
from tests.support.postgres import Database, run_pooler
from tests.support.server import ScriptedServer, error, reply

RATE = 50.0


def make_fresh_name() -> str:
    """Return a rate name that no other test uses."""
    return os.urandom(8).hex()


@asynccontextmanager
async def open_row(database: Database, name: str, schema: str = "bardge") -> AsyncGenerator[RateTable]:
    """Open a connection to a rate's row."""
    one = RateTable(RateSettings(Secret(database.dsn), schema, name, RATE, SystemClock()))
    try:
        yield one
    finally:
        await one.aclose()


async def take_slots(
    one: RateTable, count: int = 1, *, lead: float = 0.0, timeout: float = 60.0, hold: float = 0.0
) -> PermitGrant:
    return await one.take_slots(PermitRequest(count, lead, timeout, hold))


async def get_refusal(limiter: PostgresLimiter, timeout: float) -> errors.ThrottledError:
    """Return the error that waiting for a permit ends with."""
    with pytest.raises(errors.ThrottledError) as caught:
        await limiter.acquire(timeout)
    return caught.value


async def wait_for_hold(database: Database, name: str, schema: str = "bardge") -> None:
    """Wait until a hold has reached the database."""
    query = fill_schema("SELECT held_until > clock_timestamp() FROM {schema}.rates WHERE name = %s", schema)
    while database.admin.execute(query, (name,)).fetchone() != (True,):  # noqa: ASYNC110 - waits for another session
        await asyncio.sleep(0)


# The row.

ASKS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 20), st.floats(0, 0.3), st.floats(0, 1)), max_size=12)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asks=ASKS)
def test_slots_never_overlap(postgres: Database, asks: list[tuple[int, int, float, float]]) -> None:
    """Whatever the askers, counts, lead times and holds, slots never overlap and never lie within a hold."""

    async def take_all() -> list[tuple[PermitGrant, int]]:
        name = make_fresh_name()
        async with open_row(postgres, name) as a, open_row(postgres, name) as b, open_row(postgres, name) as c:
            rows = (a, b, c)
            return [
                (await take_slots(rows[who], count, lead=lead, hold=hold), count) for who, count, lead, hold in asks
            ]

    end = held = 0.0
    for grant, count in asyncio.run(take_all()):
        assert grant.is_taken
        assert grant.first_slot >= max(grant.now, grant.held_until, end - 1e-5)
        assert grant.held_until >= held - 1e-5
        end, held = grant.first_slot + count / RATE, grant.held_until


async def test_slots_of_many_at_once(postgres: Database) -> None:
    """Concurrent askers get consecutive slots, without gaps."""
    name = make_fresh_name()
    async with open_row(postgres, name) as a, open_row(postgres, name) as b, open_row(postgres, name) as c:
        await take_slots(a, 50)
        found = await asyncio.gather(*(take_slots(one, 5) for one in (a, b, c)))
    firsts = sorted(grant.first_slot for grant in found)
    assert [later - sooner for sooner, later in itertools.pairwise(firsts)] == pytest.approx([0.1, 0.1], abs=1e-4)


async def test_rates_are_apart(postgres: Database) -> None:
    """Rates of different names are independent."""
    async with open_row(postgres, make_fresh_name()) as one, open_row(postgres, make_fresh_name()) as other:
        await take_slots(one, 500, hold=60)
        grant = await take_slots(other)
    assert grant.first_slot == pytest.approx(grant.now, abs=0.001)


async def test_far_slots_are_left(postgres: Database) -> None:
    """Slots beyond the asker's timeout are not taken."""
    async with open_row(postgres, make_fresh_name()) as one:
        await take_slots(one, 100)
        far = await take_slots(one, 5, timeout=1)
        near = await take_slots(one, 1, timeout=3)
    assert (far.is_taken, near.is_taken) == (False, True)
    assert near.first_slot == pytest.approx(far.first_slot, abs=1e-4)


async def test_slots_in_time(postgres: Database) -> None:
    """A slot is not due before its response can have arrived."""
    async with open_row(postgres, make_fresh_name()) as one:
        new, known = await take_slots(one, lead=0.2), await take_slots(one, lead=0.2)
    assert new.first_slot - new.now == pytest.approx(0.2, abs=1e-3)
    assert known.first_slot - new.first_slot >= 1 / RATE - 1e-5


async def test_server_clock_set_back(postgres: Database) -> None:
    """When the server's clock is set back by an hour no caller waits for an hour, and a hold keeps its length."""
    name = make_fresh_name()
    async with open_row(postgres, name) as one:
        await take_slots(one, 50, hold=5)
        hour = "interval '1 hour'"
        columns = ", ".join(f"{it} = {it} + {hour}" for it in ("first_at", "next_at", "held_until", "asked_at"))
        postgres.admin.execute(f"UPDATE bardge.rates SET {columns} WHERE name = %s", (name,))  # noqa: S608 - a constant of this file
        grant = await take_slots(one)
    assert grant.held_until - grant.now == pytest.approx(5, abs=0.2)
    assert grant.first_slot - grant.now == pytest.approx(6, abs=0.2)


async def test_table_is_made_once(postgres: Database) -> None:
    """Limiters and journals that start concurrently in a database without tables create them once."""
    rows = [RateTable(RateSettings(Secret(postgres.dsn), "at_once", "one", RATE, SystemClock())) for _ in range(6)]
    async with PostgresJournal(postgres.dsn, schema="at_once") as journal:
        grants, _ = await asyncio.gather(asyncio.gather(*(take_slots(one) for one in rows)), journal.listed())
    await asyncio.gather(*(one.aclose() for one in rows))
    assert len({grant.first_slot for grant in grants}) == 6


async def test_no_right_to_the_table(postgres: Database) -> None:
    """If the database refuses, the error contains its message."""
    postgres.admin.execute("DROP ROLE IF EXISTS stranger; CREATE ROLE stranger LOGIN")
    dsn = postgres.dsn.replace("bardge@", "stranger@")
    async with PostgresLimiter(dsn, make_fresh_name(), RATE, schema="strange") as limiter:
        told = await get_refusal(limiter, 5)
    assert "the limiter granted no permit: the limiter's database refused: permission denied" in str(told)
    assert told.sent is False


# Permits.


async def test_two_limiters_share_a_rate(postgres: Database) -> None:
    """Two processes' limiters together grant no more than the rate."""
    name = make_fresh_name()
    async with PostgresLimiter(postgres.dsn, name, 200) as here, PostgresLimiter(postgres.dsn, name, 200) as there:
        await asyncio.gather(here.acquire(5), there.acquire(5))
        begun = time.monotonic()
        await asyncio.gather(*(limiter.acquire(5) for limiter in (here, there) for _ in range(20)))
        took = time.monotonic() - begun
    assert 40 / 200 - 0.05 <= took < 2


async def test_hold_over_limiters(postgres: Database) -> None:
    """A hold of one process applies to every other, which reports its length."""
    name = make_fresh_name()
    async with PostgresLimiter(postgres.dsn, name, RATE) as here, PostgresLimiter(postgres.dsn, name, RATE) as there:
        here.hold(30)
        assert (await get_refusal(here, 10)).retry_after == pytest.approx(30, abs=0.5)
        await wait_for_hold(postgres, name)
        assert (await get_refusal(there, 10)).retry_after == pytest.approx(30, abs=2)


async def test_cancelled_under_way(postgres: Database) -> None:
    """A caller that is cancelled while slots are requested leaves its permit to the next one."""
    async with PostgresLimiter(postgres.dsn, make_fresh_name(), RATE) as limiter:
        gone = asyncio.ensure_future(limiter.acquire(5))
        await asyncio.sleep(0)
        next_one = asyncio.ensure_future(limiter.acquire(5))
        gone.cancel()
        await next_one
    assert gone.cancelled()


async def test_no_server() -> None:
    """Without a server no permit is granted: calls wait for their timeout, and the error says what to fix."""
    clock = PausedClock()
    async with PostgresLimiter("postgresql://nobody@127.0.0.1:1/none", "one", RATE, clock=clock) as limiter:
        waiting = asyncio.ensure_future(limiter.acquire(5))
        while not clock.sleeps:  # noqa: ASYNC110 - until it has tried once
            await asyncio.sleep(0)
        clock.advance(5)
        with pytest.raises(errors.ThrottledError, match="cannot be reached, start it or check dsn="):
            await waiting


async def test_ended_session(postgres: Database) -> None:
    """A session that an administrator terminates is reopened, and no waiter misses a permit."""
    dsn = f"{postgres.dsn}?application_name=rates"
    async with PostgresLimiter(dsn, make_fresh_name(), RATE) as limiter:
        await limiter.acquire(5)
        postgres.admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'rates'"
        )
        await limiter.acquire(5)
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rates' AND state <> 'idle'"
    assert postgres.admin.execute(count).fetchone() == (0,)


async def test_pooler(postgres: Database) -> None:
    """Permits and holds work through PgBouncer in transaction mode."""
    with run_pooler(postgres.server) as dsn:
        name = make_fresh_name()
        async with (
            PostgresLimiter(dsn, name, RATE, schema="pooled_rates") as here,
            PostgresLimiter(dsn, name, RATE, schema="pooled_rates") as other,
        ):
            await asyncio.gather(*(limiter.acquire(5) for limiter in (here, other) for _ in range(5)))
            here.hold(30)
            await wait_for_hold(postgres, name, "pooled_rates")
            assert (await get_refusal(other, 10)).retry_after == pytest.approx(30, abs=2)


async def test_closed(postgres: Database) -> None:
    """A closed limiter rejects waiters and new callers, and leaves no session."""
    dsn = f"{postgres.dsn}?application_name=closing"
    clock = PausedClock()
    limiter = PostgresLimiter(dsn, make_fresh_name(), 1, clock=clock)
    await limiter.acquire(5)
    waiting = asyncio.ensure_future(limiter.acquire(5))
    await asyncio.sleep(0)
    await limiter.aclose()
    with pytest.raises(errors.ThrottledError, match="closed"):
        await waiting
    assert "closed" in str(await get_refusal(limiter, 5))
    limiter.hold(5)
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'closing'"
    while postgres.admin.execute(count).fetchone() != (0,):  # noqa: ASYNC110 - waits for another session
        await asyncio.sleep(0)


def test_several_loops(postgres: Database) -> None:
    """One limiter works in successive loops and in threads, and ends with each."""
    limiter = PostgresLimiter(postgres.dsn, make_fresh_name(), 1000)

    async def acquire_some() -> None:
        await asyncio.gather(*(limiter.acquire(5) for _ in range(3)))

    asyncio.run(acquire_some())
    asyncio.run(acquire_some())
    thread = threading.Thread(target=asyncio.run, args=(acquire_some(),))
    thread.start()
    thread.join(30)
    assert not thread.is_alive()


# Clients.


async def test_clients_of_two_processes(postgres: Database) -> None:
    """A 429 for one client keeps another process's client from sending."""
    name = make_fresh_name()
    busy = error(429, Retry_After="20")
    async with (
        PostgresLimiter(postgres.dsn, name, RATE) as here,
        PostgresLimiter(postgres.dsn, name, RATE) as there,
        ScriptedServer(busy, reply(200, {"balance": 5})) as api,
        BardgeClient("key", api.base_url, limiter=here, retry=RetryPolicy(max_attempts=1)) as one,
        BardgeClient("key", api.base_url, limiter=there, timeout=10.0) as other,
    ):
        with pytest.raises(errors.RateLimitError):
            await one.clients.get_credits("c")
        await wait_for_hold(postgres, name)
        with pytest.raises(errors.ThrottledError) as caught:
            await other.clients.get_credits("c")
        assert len(api.requests) == 1
    assert caught.value.retry_after == pytest.approx(20, abs=2)


@pytest.mark.parametrize(
    ("name", "per_second", "options", "said"),
    [
        ("", 1.0, {}, "name: expected printable text"),
        ("a\nb", 1.0, {}, "name: expected printable text"),
        ("one", 0.0, {}, "per_second: expected a number"),
        ("one", float("nan"), {}, "per_second: expected a number"),
        ("one", True, {}, "per_second: expected a number"),
        ("one", 1e9, {}, "per_second: expected a number"),
        ("one", 1.0, {"schema": "Bad-Name"}, "schema: expected lower-case"),
    ],
)
def test_arguments_that_cannot_work(name: str, per_second: float, options: dict[str, str], said: str) -> None:
    """Wrong arguments are rejected when the limiter is made."""
    with pytest.raises(errors.ConfigurationError, match=said):
        PostgresLimiter(
            "postgresql://nobody@127.0.0.1:1/none", name, per_second, schema=options.get("schema", "bardge")
        )


def test_extra_is_missing() -> None:
    """Without psycopg the constructor names the extra."""
    program = (
        "import sys; sys.modules['psycopg'] = None\nimport bardge_async\n"
        "try: bardge_async.PostgresLimiter('postgresql://127.0.0.1/x', 'one', 1)\n"
        "except bardge_async.ConfigurationError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "pip install 'bardge-async[postgres]'" in done.stdout


def test_no_connection_string() -> None:
    """An invalid connection string is rejected without being repeated: it may hold a password."""
    with pytest.raises(errors.ConfigurationError, match="dsn") as caught:
        PostgresLimiter("postgresql://me:canary@[", "one", 1.0)
    assert "canary" not in str(caught.value)
