"""``python -m campaigns.batch.many``: one long batch, whose memory stays flat and whose effects are checked.

Every client's pass gets a date of its own. Exits with 1 if an outcome is not "done", if the server has another date for
any client, or if the process grew by more than the limit after the first 1,000 outcomes.
"""

# ruff: noqa: T201 - a command
from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import os
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from bardge_async import UPDATE_EXPIRY, BardgeClient, Operation, SQLiteJournal, UpdateIssuedPassExpiry
from bardge_async.sandbox import Sandbox
from bardge_async.sandbox._formats import lagos_day
from campaigns.batch.play import format_counts
from campaigns.batch.server import Server
from campaigns.batch.worker import Place

MIB: Final = 2**20
_FIRST: Final = dt.date(2027, 1, 1)
_SAMPLE: Final = 50
_CLIENTS: Final = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? - 1)
INSERT INTO clients (reseller, id, credits, created)
SELECT (SELECT seq FROM resellers ORDER BY seq LIMIT 1), 'many_' || i, 0, 1767000000000 FROM n
"""
_PASSES: Final = """
INSERT INTO issued_passes (client, pass, id, passcode, transaction_id, tx_ref, start_date, expires_at, created)
SELECT seq, (SELECT min(seq) FROM passes), 'brgpass_' || id, 'ABCDEFGH', 'txn_' || id, 'FLW-' || id, 1767000000000,
       1798760000000, 1767000000000 FROM clients WHERE id LIKE 'many/_%' ESCAPE '/'
"""
_GRANTS: Final = """
INSERT INTO issued_categories SELECT i.seq, c.type, c.visits_allowed, 0
FROM issued_passes i JOIN pass_categories c ON c.pass = i.pass WHERE i.id LIKE 'brgpass/_many/_%' ESCAPE '/'
"""
_EXPIRIES: Final = """
SELECT c.id, i.expires_at FROM issued_passes i JOIN clients c ON c.seq = i.client WHERE c.id LIKE 'many/_%' ESCAPE '/'
"""


@attrs.define
class Long:
    """Result of a long batch; memory is in bytes, ``grown`` is the growth from the first outcomes to the maximum."""

    operations: int
    ends: Counter[str] = attrs.field(factory=Counter[str])
    seconds: float = 0.0
    first: int = 0
    largest: int = 0
    wrong: list[str] = attrs.field(factory=list[str])

    @property
    def grown(self) -> int:
        return self.largest - self.first

    def format_summary(self) -> str:
        return (
            f"{self.operations:,} expiry updates, {self.seconds:.0f} s, "
            f"{self.operations / self.seconds:,.0f} per second: "
            f"{format_counts(self.ends)}; {self.first / MIB:.1f} MiB, grew by {self.grown / MIB:.1f} MiB; "
            f"{len(self.wrong)} errors"
        )


def read_resident_memory() -> int:
    """Return the read_resident_memory memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def choose_date(number: int) -> dt.date:
    """Return the date that a client's pass is given."""
    return _FIRST + dt.timedelta(days=number)


def _make_operations(count: int) -> Iterator[Operation[Any, Any]]:
    for number in range(count):
        request = UpdateIssuedPassExpiry(expiry_date=choose_date(number))
        yield Operation(UPDATE_EXPIRY, f"many_{number}", request=request, id=f"row-{number}")


async def create_state(db: Path, count: int) -> None:
    """Create the sandbox's state with ``count`` more clients, each with a pass."""
    async with Sandbox(db=db):
        pass
    with contextlib.closing(sqlite3.connect(db)) as connection, connection:
        connection.execute(_CLIENTS, (count,))
        connection.execute(_PASSES)
        connection.execute(_GRANTS)


async def run_batch(bardge: BardgeClient, long: Long) -> None:
    """Run the batch and count its outcomes."""
    started_at = time.perf_counter()
    at = min(1000, long.operations // 2)
    seen = 0
    async for outcome in bardge.batch(_make_operations(long.operations), job="renewals-2026-11"):
        long.ends[outcome.status] += 1
        seen += 1
        if seen == at:
            long.first = long.largest = read_resident_memory()
        elif seen % 100 == 0:
            long.largest = max(long.largest, read_resident_memory())
    long.largest = max(long.largest, read_resident_memory())
    long.seconds = time.perf_counter() - started_at


async def check_dates(bardge: BardgeClient, long: Long, db: Path) -> None:
    """Compare the requested dates with the server's state, and a sample of them with the API's responses."""
    with contextlib.closing(sqlite3.connect(db)) as books:
        have = {client: lagos_day(expires_at) for client, expires_at in books.execute(_EXPIRIES)}
    asked = {f"many_{number}": choose_date(number) for number in range(long.operations)}
    different = sorted(client for client in asked | have if asked.get(client) != have.get(client))
    if different:
        long.wrong.append(f"{len(different)} clients have a different date, such as {different[:5]}")
    for client in list(asked)[:: max(1, long.operations // _SAMPLE)]:
        expires_at = (await bardge.passes.get_issued(client)).expires_at
        if expires_at is None or lagos_day(int(expires_at.timestamp() * 1000)) != asked[client]:
            long.wrong.append(f"{client}: the API returns {expires_at}, requested was {asked[client]}")


async def _run_and_check(db: Path, server: Server, long: Long) -> None:
    with SQLiteJournal(db.with_name("journal.db")) as journal:
        async with BardgeClient(server.api_key, server.base_url, journal=journal) as bardge:
            await run_batch(bardge, long)
            await check_dates(bardge, long, db)
            if doubts := await bardge.in_doubt():
                long.wrong.append(f"{len(doubts)} operations are in doubt")
    if long.ends != {"done": long.operations}:
        long.wrong.append("not all operations are done")


def play(operations: int) -> Long:
    """Run once, in a folder of its own, with the server in a process of its own."""
    long = Long(operations)
    with tempfile.TemporaryDirectory() as folder:
        db = Path(folder) / "server.db"
        asyncio.run(create_state(db, operations))
        with Server(Place(db, 90.0, rate=0.0, seed=1, latency=0.0)) as server:
            asyncio.run(_run_and_check(db, server, long))
    return long


def main(arguments: list[str]) -> int:
    """Run, print the result and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.batch.many", description=__doc__)
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--growth", type=float, default=40.0, help="MiB by which the process may grow")
    given = parser.parse_args(arguments)
    long = play(given.operations)
    print(long.format_summary(), *long.wrong[:10], sep="\n")
    return 1 if long.wrong or long.grown > given.growth * MIB else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
