"""The journal through PgBouncer in transaction mode: each statement may use another session, which keeps no state."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from bardge_async import BardgeClient, EntryState, PostgresJournal, RetryPolicy, errors
from bardge_async.testing import ManualClock
from tests.journal.elsewhere import read_states
from tests.journal.factories import KEY, make_done, make_identity, make_sent
from tests.journal.place import buy, fail_to_buy
from tests.support.postgres import Database, run_pooler
from tests.support.server import ScriptedServer, cut, reply


@pytest.fixture(scope="module")
def pooled(postgres: Database) -> Iterator[str]:
    """Return the pooler's connection string."""
    with run_pooler(postgres.server) as dsn:
        yield dsn


async def test_tables_are_made_through_a_pooler(postgres: Database, pooled: str) -> None:
    """A journal creates and uses its tables through a pooler."""
    async with PostgresJournal(pooled, schema="pooled") as journal:
        await journal.put(make_sent())
        assert await journal.listed() == [make_sent()]


async def test_calls_through_a_pooler(postgres: Database, pooled: str) -> None:
    """Calls of two machines with the same keys, and a doubt that is recovered: each order is sent once."""
    postgres.clear()
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(ScriptedServer(cut(), reply(201, {"balance": 5})))
        once = RetryPolicy(max_attempts=1)
        async with (
            PostgresJournal(pooled) as gone,
            BardgeClient("key", api.base_url, journal=gone, retry=once) as bardge,
        ):
            await fail_to_buy(bardge, "doubt")
        clients = list[BardgeClient]()
        for name in ("here", "there"):
            journal = await stack.enter_async_context(PostgresJournal(f"{pooled}?application_name={name}"))
            client = BardgeClient("key", api.base_url, journal=journal, retry=once)
            clients.append(await stack.enter_async_context(client))
        [recovered] = await clients[1].recover()
        assert recovered.error is None
        await asyncio.gather(*(buy(client, f"order-{number}") for number in range(50) for client in clients))
        keys = [request.headers["idempotency-key"] for request in api.requests]
    assert sorted(keys) == sorted(["doubt", "doubt", *(f"order-{number}" for number in range(50))])
    assert set(read_states(postgres).values()) == {EntryState.DONE}


async def test_claims_through_a_pooler(postgres: Database, pooled: str) -> None:
    """A key that is claimed through one session is held for every other, until it is released through a third."""
    postgres.clear()
    async with PostgresJournal(pooled) as here, PostgresJournal(f"{pooled}?application_name=there") as there:
        await here.claim(KEY, 0, ManualClock())
        await asyncio.gather(
            *(here.put(make_done(make_sent(make_identity(f"order-{number}")))) for number in range(2, 9))
        )
        with pytest.raises(errors.KeyInUseError):
            await there.claim(KEY, 0, ManualClock())
        here.release(KEY)
        assert await there.claim(KEY, 1000, ManualClock()) is None
