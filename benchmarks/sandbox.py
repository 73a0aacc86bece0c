"""Measure the sandbox: paging through 1,000,000 rows, and simple requests per second.

Run ``python -m benchmarks.sandbox``. It prints medians and ratios; the last page must cost no more than the first.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import aiohttp

from bardge_async.sandbox import Sandbox, serve

ROWS: Final = 1_000_000
PAGES: Final = 300
REQUESTS: Final = 6_000
CONCURRENCY: Final = 16
_FILL: Final = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO bookings (client, reseller, id, type, status, name, provider, date, time, scheduled_for, visits_deducted,
                      credits_spent, created)
SELECT (SELECT seq FROM clients WHERE reseller = 1 AND id = 'client_abc123'), 1, 'booking_' || i, 'class', 'COMPLETED',
       'Yoga', 1, '2026-01-01', '07:00', 1767247200000, 1, 0, 1767000000000 FROM n
"""

Get = Callable[[str], Awaitable[None]]


def main() -> None:
    """Run both measurements."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure_paging(Path(folder) / "sandbox.db"))
    asyncio.run(_measure_throughput())


async def _measure_paging(db: Path) -> None:
    async with Sandbox(db=db):
        pass
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute(_FILL, (ROWS,))
    async with Sandbox(db=db) as sandbox, aiohttp.ClientSession() as session:
        get = _make_get(sandbox.base_url, sandbox.api_key, session)
        marks = {"start": ROWS, "middle": ROWS // 2, "end": 150}
        durations = {name: await _measure_median(get, _page_path(mark)) for name, mark in marks.items()}
    print(f"A page of 100 in a list of {ROWS:,} rows, median of {PAGES}:")
    for name, seconds in durations.items():
        print(f"  {name:<7}{seconds * 1e3:7.2f} ms, {seconds / durations['start']:5.2f} times the start")


def _page_path(mark: int) -> str:
    return f"/clients/client_abc123/bookings?limit=100&starting_after=booking_{mark}"


def _make_get(base_url: str, api_key: str, session: aiohttp.ClientSession) -> Get:
    headers = {"Authorization": f"Bearer {api_key}"}

    async def get(path: str) -> None:
        async with session.get(base_url + path, headers=headers) as response:
            assert response.status == 200, await response.text()
            await response.read()

    return get


async def _measure_median(get: Get, path: str) -> float:
    durations: list[float] = []
    for _ in range(PAGES):
        begin = time.perf_counter()
        await get(path)
        durations.append(time.perf_counter() - begin)
    return statistics.median(durations)


async def _measure_throughput() -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    child.start()
    try:
        base_url, api_key = await asyncio.to_thread(ours.recv)
        await _measure_load(child.pid or 0, base_url, api_key)
    finally:
        child.terminate()
        child.join()


def _serve(pipe: Connection) -> None:
    asyncio.run(serve(Sandbox(), lambda sandbox: pipe.send((sandbox.base_url, sandbox.api_key))))


async def _measure_load(pid: int, base_url: str, api_key: str) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:
        get = _make_get(base_url, api_key, session)
        for path in ("/clients/client_abc123", "/passes?limit=10"):
            await _send_requests(get, path, 500)
            begin, busy = time.perf_counter(), _cpu_seconds(pid)
            await _send_requests(get, path, REQUESTS)
            wall, cpu = time.perf_counter() - begin, _cpu_seconds(pid) - busy
            print(
                f"GET {path}: {REQUESTS / wall:,.0f} requests/s; by the server's CPU time alone, {REQUESTS / cpu:,.0f}"
            )


async def _send_requests(get: Get, path: str, requests: int) -> None:
    async def send_sequentially() -> None:
        for _ in range(requests // CONCURRENCY):
            await get(path)

    await asyncio.gather(*(send_sequentially() for _ in range(CONCURRENCY)))


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except FileNotFoundError:
        # Without /proc, use the wall time instead: the figure is then a lower bound.
        return time.perf_counter()
    return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    main()
