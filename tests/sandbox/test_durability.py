"""A sandbox with a file survives kill -9 in the middle of writes: nothing is half done."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest

from bardge_async.sandbox import Sandbox
from bardge_async.sandbox._store import Store

WRITES = 2_000
AT_ONCE = 20
KEYS = "SELECT idempotency_key FROM entries WHERE idempotency_key NOTNULL AND book = "
CHILD = """
import asyncio, sys
from bardge_async.sandbox import Sandbox, serve
ready = lambda sandbox: print(sandbox.base_url, sandbox.api_key, flush=True)
asyncio.run(serve(Sandbox(db=sys.argv[1]), ready))
"""


@attrs.define
class Buyer:
    """Buy credits, each time under a new key, until the server is gone."""

    base_url: str
    api_key: str
    enough_at: int
    enough: asyncio.Event = attrs.field(factory=asyncio.Event)
    answered: set[str] = attrs.field(factory=set[str])

    async def send_share(self, number: int, session: aiohttp.ClientSession) -> None:
        """Send every twentieth of the writes."""
        for n in range(number, WRITES, AT_ONCE):
            async with session.post(
                self.base_url + "/credit_purchases",
                json={"client_id": f"client_{n % 100 + 10:04d}", "package_id": "cpkg_50"},
                headers={"Authorization": f"Bearer {self.api_key}", "Idempotency-Key": f"order-{n}"},
            ) as response:
                await response.read()
                self.answered.add(f"order-{n}")
            if len(self.answered) >= self.enough_at:
                self.enough.set()


@asynccontextmanager
async def serve_in_process(db: Path, answers: int) -> AsyncGenerator[tuple[asyncio.subprocess.Process, Buyer]]:
    """Serve in another process."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, str(db), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert child.stdout is not None
    try:
        base_url, api_key = (await child.stdout.readline()).decode().split()
        yield child, Buyer(base_url, api_key, answers)
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def kill_after(db: Path, answers: int) -> set[str]:
    """Kill the server once a number of purchases were answered, and return their keys."""
    async with serve_in_process(db, answers) as (child, buyer), aiohttp.ClientSession() as session:
        buyers = [asyncio.ensure_future(buyer.send_share(n, session)) for n in range(AT_ONCE)]
        await buyer.enough.wait()
        os.kill(child.pid, signal.SIGKILL)
        gone = await asyncio.gather(*buyers, return_exceptions=True)
        assert any(isinstance(error, aiohttp.ClientError) for error in gone)
        return buyer.answered


def query_file(db: Path, sql: str) -> list[Any]:
    """Read the file as any other program would."""
    with closing(sqlite3.connect(db)) as connection:
        return [row[0] for row in connection.execute(sql)]


@attrs.frozen
class Killed:
    """A file whose server was killed, and the keys of the purchases that were answered."""

    db: Path
    answered: set[str]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """Kill a server in the middle of its writes."""
    db = tmp_path_factory.mktemp("killed") / "sandbox.db"
    return Killed(db, asyncio.run(kill_after(db, 700)))


def test_books_and_idempotency_store_agree_after_a_kill(killed: Killed) -> None:
    """Ledger, account and idempotency store hold the same keys, once each."""
    kept = sorted(query_file(killed.db, "SELECT key FROM idempotency"))
    assert [sorted(query_file(killed.db, KEYS + book)) for book in ("'credits'", "'account'")] == [kept, kept]


def test_answered_purchases_outlive_a_kill(killed: Killed) -> None:
    """What was answered is stored."""
    assert killed.answered <= set(query_file(killed.db, "SELECT key FROM idempotency"))


def test_balances_agree_with_the_ledger_after_a_kill(killed: Killed) -> None:
    """No balance moved without its entry."""
    torn = query_file(
        killed.db,
        "SELECT c.id FROM clients c WHERE credits <> (SELECT coalesce(sum(iif(type = 'CREDIT', amount, -amount)), 0) "
        "FROM entries e WHERE e.client = c.seq AND e.book = 'credits')",
    )
    assert torn == []


async def test_restarted_server_replays_what_it_answered(killed: Killed) -> None:
    """After the kill a repeat under an answered key is a replay, and charges nothing."""
    n = int(min(killed.answered).removeprefix("order-"))
    async with Sandbox(db=killed.db) as sandbox, aiohttp.ClientSession() as session:
        before = len(sandbox.account())
        async with session.post(
            sandbox.base_url + "/credit_purchases",
            json={"client_id": f"client_{n % 100 + 10:04d}", "package_id": "cpkg_50"},
            headers={"Authorization": f"Bearer {sandbox.api_key}", "Idempotency-Key": f"order-{n}"},
        ) as response:
            replayed = response.headers.get("X-Idempotent-Replayed")
        assert (replayed, len(sandbox.account())) == ("true", before)


async def test_work_and_key_are_one_transaction(raw: Any, buy: dict[str, str]) -> None:
    """A keyed purchase takes a single commit, which holds money and record."""
    statements: list[str] = []
    raw.sandbox._store._db.set_trace_callback(statements.append)
    await raw.post("/credit_purchases", buy, key="order-1")
    begin, commit = statements.index("BEGIN IMMEDIATE"), statements.index("COMMIT")
    tables = {line.split("INTO ")[1].split()[0] for line in statements[begin:commit] if "INTO " in line}
    assert (statements.count("COMMIT"), tables) == (1, {"entries", "idempotency"})


def test_broken_transaction_leaves_nothing() -> None:
    """A transaction that does not reach its end is rolled back, whatever stops it."""
    with closing(Store()) as store:
        store.create_tables()
        with pytest.raises(KeyboardInterrupt):
            leave_transaction_open(store)
        assert store.fetch_all("SELECT * FROM class_categories") == []


def leave_transaction_open(store: Store) -> None:
    """Begin a transaction and never end it."""
    with store.transaction():
        store.insert_row("class_categories", {"id": "ccat", "name": "Dance"})
        raise KeyboardInterrupt


async def test_file_keeps_the_state(tmp_path: Path) -> None:
    """Changes survive a restart, including the key."""
    db = tmp_path / "sandbox.db"
    async with Sandbox(db=db) as sandbox:
        rotated = sandbox.rotate_key()
    async with Sandbox(db=db) as sandbox:
        assert sandbox.api_key == rotated
