"""Processes that share a journal in PostgreSQL, with the same orders: one charge each, even if one dies or stalls."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import anyio
import attrs
import pytest

from bardge_async import BardgeClient, PostgresJournal
from campaigns.crash.play import FORK, running
from campaigns.crash.worker import Notes, host, noted
from tests.support.postgres import Database
from tests.support.rig import PURCHASE

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

AT_ONCE: Final = 8
ORDERS: Final = tuple(f"order-{number}" for number in range(60))


@attrs.frozen
class Job:
    """The arguments of a worker process."""

    dsn: str
    folder: Path
    base_url: str
    api_key: str
    lease: float = 15.0

    def count_begun(self) -> int:
        return len(noted(self.folder / "begun"))

    def count_ends(self) -> Counter[tuple[str, str]]:
        return Counter((order, word) for order, word in noted(self.folder / "ended"))

    def count_charges(self) -> Counter[str]:
        """Count the charges of each key in the server's ledger."""
        with contextlib.closing(sqlite3.connect(self.folder / "server.db")) as books:
            rows = books.execute("SELECT idempotency_key FROM entries WHERE book = 'credits' AND type = 'CREDIT'")
            return Counter(key for (key,) in rows if key in ORDERS)


@pytest.fixture
def job(postgres: Database) -> Iterator[Job]:
    """A server of the API, and orders not yet processed."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(host, Path(folder) / "server.db", 90.0) as (_, answer),
    ):
        yield Job(postgres.clear(), Path(folder), *answer.recv())


def work(job: Job, begin: Any) -> None:
    """Enter every order, some concurrently, at the same time as the other process."""

    async def main() -> None:
        begun, ended = Notes(job.folder / "begun"), Notes(job.folder / "ended")
        journal = PostgresJournal(job.dsn, lease=job.lease)
        async with journal, BardgeClient(job.api_key, job.base_url, journal=journal) as bardge:

            async def buy(order: str) -> None:
                async with room, bardge.idempotent(order) as once:
                    begun.write(order)
                    await once.credits.purchase(PURCHASE)
                    ended.write(order, "again" if once.replayed == "journal" else "new")

            room = anyio.CapacityLimiter(AT_ONCE)
            begin.wait()
            async with anyio.create_task_group() as group:
                for order in ORDERS:
                    group.start_soon(buy, order)

    asyncio.run(main())


def start_two_processes(job: Job) -> list[Any]:
    """Start two processes."""
    begin = FORK.Barrier(2)
    processes = [FORK.Process(target=work, args=(job, begin), daemon=True) for _ in range(2)]
    for process in processes:
        process.start()
    return processes


def wait_for_half(job: Job) -> None:
    while job.count_begun() < len(ORDERS):
        time.sleep(0.001)


def test_the_same_keys_at_once(job: Job) -> None:
    """Two processes enter the same keys concurrently: each is sent by exactly one, and both get its response."""
    processes = start_two_processes(job)
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert job.count_ends() == Counter({(order, word): 1 for order in ORDERS for word in ("new", "again")})
    assert job.count_charges() == Counter(ORDERS)


def test_killed_holder(job: Job) -> None:
    """One of two processes is killed while it holds keys: the other completes all orders after the leases expire."""
    victim, other = start_two_processes(job := attrs.evolve(job, lease=0.6))
    wait_for_half(job)
    victim.kill()
    other.join(30)
    assert other.exitcode == 0
    assert {order for order, _ in job.count_ends()} == set(ORDERS)
    assert job.count_charges() == Counter(ORDERS)


def test_stalled_holder(job: Job) -> None:
    """One of two processes stalls beyond its leases with requests in flight, then continues: nothing is duplicated."""
    victim, other = start_two_processes(job := attrs.evolve(job, lease=0.6))
    wait_for_half(job)
    os.kill(victim.pid, signal.SIGSTOP)
    other.join(30)
    os.kill(victim.pid, signal.SIGCONT)
    victim.join(30)
    assert other.exitcode == 0
    assert {order for order, _ in job.count_ends()} == set(ORDERS)
    assert job.count_charges() == Counter(ORDERS)
