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

pytestmark = pytest.mark.asyncio

WRITES = 2_000
AT_ONCE = 20
KEYS = "SELECT idempotency_key FROM entries WHERE idempotency_key NOTNULL AND book = "
CHILD = """
import asyncio, sys
from bardge_async.sandbox import serve
ready = lambda sandbox: print(sandbox.base_url, sandbox.api_key, flush=True)
asyncio.run(serve(db=sys.argv[1], on_ready=ready))
"""


@attrs.define
class Buyer:
    """Buy credits, each time under a new key, until the server is gone."""

    base_url: str
    api_key: str
    enough_at: int
    enough: asyncio.Event = attrs.field(factory=asyncio.Event)
    answered: set[str] = attrs.field(factory=set[str])

    async def run(self, number: int, session: aiohttp.ClientSession) -> None:
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
async def serving(db: Path, answers: int) -> AsyncGenerator[tuple[asyncio.subprocess.Process, Buyer]]:
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


async def killed_after(db: Path, answers: int) -> set[str]:
    """Kill the server once so many purchases were answered, and return the keys of those."""
    async with serving(db, answers) as (child, buyer), aiohttp.ClientSession() as session:
        buyers = [asyncio.ensure_future(buyer.run(n, session)) for n in range(AT_ONCE)]
        await buyer.enough.wait()
        os.kill(child.pid, signal.SIGKILL)
        gone = await asyncio.gather(*buyers, return_exceptions=True)
        assert any(isinstance(error, aiohttp.ClientError) for error in gone)
        return buyer.answered


def read(db: Path, sql: str) -> list[Any]:
    """Read the file as any other program would."""
    with closing(sqlite3.connect(db)) as connection:
        return [row[0] for row in connection.execute(sql)]


async def test_kill_leaves_nothing_half_done(tmp_path: Path) -> None:
    """Ledger, account and idempotency store hold the same keys, once each, and every answered one is there."""
    db = tmp_path / "sandbox.db"
    answered = await killed_after(db, 700)
    kept = sorted(read(db, "SELECT key FROM idempotency"))
    books = [sorted(read(db, KEYS + book)) for book in ("'credits'", "'account'")]
    assert (books, answered <= set(kept)) == ([kept, kept], True)


async def test_balances_agree_with_the_ledger_after_a_kill(tmp_path: Path) -> None:
    """No balance moved without its entry."""
    db = tmp_path / "sandbox.db"
    await killed_after(db, 150)
    torn = read(
        db,
        "SELECT c.id FROM clients c WHERE credits <> (SELECT coalesce(sum(iif(type = 'CREDIT', amount, -amount)), 0) "
        "FROM entries e WHERE e.client = c.seq AND e.book = 'credits')",
    )
    assert torn == []


async def test_restarted_server_replays_what_it_answered(tmp_path: Path) -> None:
    """After the kill a repeat under an answered key is a replay, and charges nothing."""
    db = tmp_path / "sandbox.db"
    answered = await killed_after(db, 50)
    n = int(min(answered).removeprefix("order-"))
    async with Sandbox(db=db) as sandbox, aiohttp.ClientSession() as session:
        before = len(sandbox.account())
        async with session.post(
            sandbox.base_url + "/credit_purchases",
            json={"client_id": f"client_{n % 100 + 10:04d}", "package_id": "cpkg_50"},
            headers={"Authorization": f"Bearer {sandbox.api_key}", "Idempotency-Key": f"order-{n}"},
        ) as response:
            replayed = response.headers.get("X-Idempotent-Replayed")
        assert (replayed, len(sandbox.account())) == ("true", before)


async def test_file_keeps_the_state(tmp_path: Path) -> None:
    """What was made is there at the next start, the key too."""
    db = tmp_path / "sandbox.db"
    keys: list[str] = []
    for _ in range(2):
        async with Sandbox(db=db) as sandbox:
            keys.append(sandbox.rotate_key() if not keys else sandbox.api_key)
    assert keys[0] == keys[1]
