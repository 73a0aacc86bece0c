"""Measure a fleet of workers: ``python -m benchmarks.queue [--operations N] [--workers 1 2 4] [--plain]``.

Defers purchases to procrastinate's queue in a private PostgreSQL that waits for the disk (fsync on). Worker processes
execute them against the stub server with a concurrency of 25 each, and the journal is in the same database. Prints the
throughput, and the CPU time per operation of workers, PostgreSQL and stub, which all share the machine's cores.
``--plain`` uses procrastinate's default connections for the workers, without ``worker_connection``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import procrastinate
from procrastinate.schema import SchemaManager

from bardge_async import BardgeClient, Operation, PostgresJournal, PurchaseCredits
from bardge_async.integrations.procrastinate import BardgeQueue, worker_connection
from benchmarks import stub
from tests.support.postgres import Server, run_server

CONCURRENCY: Final = 25
JOB: Final = "benchmark"
_TICK: Final = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class CpuTimes:
    """CPU seconds used so far."""

    postgres: float
    stub: float


def make_operations(count: int) -> Iterator[Operation[Any, Any]]:
    """Yield purchases for many clients."""
    for number in range(count):
        request = PurchaseCredits(client_id=stub.client_id(number), package_id="cpkg_50")
        yield Operation("credits.purchase", request=request, id=f"order-{number}")


def _make_queue(dsn: str, base_url: str, *, plain: bool) -> tuple[procrastinate.App, BardgeQueue]:
    @asynccontextmanager
    async def client() -> AsyncGenerator[BardgeClient]:
        async with PostgresJournal(dsn) as journal, BardgeClient(stub.API_KEY, base_url, journal=journal) as bardge:
            yield bardge

    configure = None if plain else worker_connection
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, configure=configure))
    return app, BardgeQueue(app, client)


async def _run_worker(dsn: str, base_url: str, *, plain: bool, delete: bool) -> None:
    _, queue = _make_queue(dsn, base_url, plain=plain)
    started_at = time.process_time()
    await queue.run_worker(concurrency=CONCURRENCY, wait=False, delete_done=delete)
    print(json.dumps(time.process_time() - started_at), flush=True)


async def _defer_operations(dsn: str, count: int) -> float:
    app, queue = _make_queue(dsn, "", plain=True)
    async with app.open_async():
        started_at = time.perf_counter()
        await queue.defer_many(make_operations(count), job=JOB)
        return time.perf_counter() - started_at


def _read_cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and its children, including those that have exited."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    live = 0.0
    for child in children:
        with contextlib.suppress(FileNotFoundError):
            live += _read_cpu_seconds(int(child))
    return sum(map(int, fields[11:15])) / _TICK + live


@contextmanager
def _run_stub() -> Generator[str]:
    command = [sys.executable, "-m", "benchmarks.stub", "100", "-1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def _fetch_stats(base_url: str) -> dict[str, float]:
    request = urllib.request.Request(f"{base_url}/_stats", headers={"Authorization": f"Bearer {stub.API_KEY}"})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        found: dict[str, float] = json.load(answer)
    return found


def _measure(postgres: Server, base_url: str, workers: int, given: argparse.Namespace) -> str:
    with postgres.admin() as admin:
        admin.execute("TRUNCATE procrastinate_jobs, procrastinate_events, procrastinate_workers CASCADE")
        admin.execute("DROP SCHEMA IF EXISTS bardge CASCADE")
    defer_seconds = asyncio.run(_defer_operations(postgres.dsn, given.operations))
    assert postgres.process is not None
    before = CpuTimes(_read_cpu_seconds(postgres.process.pid), _fetch_stats(base_url)["cpu"])
    count = _fetch_stats(base_url)["requests"]
    command = [sys.executable, "-m", "benchmarks.queue", "--work", postgres.dsn, base_url]
    command += ["--plain"] * given.plain + ["--delete"] * given.delete
    started_at = time.perf_counter()
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(workers)]  # noqa: S603
    ends = [process.communicate()[0] for process in processes]
    seconds = time.perf_counter() - started_at
    after = CpuTimes(_read_cpu_seconds(postgres.process.pid), _fetch_stats(base_url)["cpu"])
    with postgres.admin() as admin:
        left = admin.execute("SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'").fetchone()
        sizes = admin.execute(
            "SELECT pg_total_relation_size('bardge.entries'), pg_total_relation_size('procrastinate_jobs'), "
            "pg_total_relation_size('procrastinate_events'), pg_database_size(current_database())"
        ).fetchone()
    assert left == (0,), f"{left} jobs are unfinished"
    assert _fetch_stats(base_url)["requests"] - count == given.operations, "not one request for each operation"
    cost = [sum(map(float, ends)), after.postgres - before.postgres, after.stub - before.stub]
    each = ", ".join(
        f"{name} {1e6 * spent / given.operations:,.0f}"
        for name, spent in zip(("worker", "PostgreSQL", "stub"), cost, strict=True)
    )
    assert sizes is not None
    bytes_each = ", ".join(
        f"{name} {size / given.operations:,.0f}"
        for name, size in zip(("journal", "jobs", "events"), sizes, strict=False)
    )
    return (
        f"{workers} workers: {given.operations:,} operations deferred in {defer_seconds:.1f} s "
        f"({given.operations / defer_seconds:,.0f}/s), done in {seconds:.1f} s: "
        f"{given.operations / seconds:,.0f} per second; "
        f"CPU microseconds each: {each}; cores busy {sum(cost) / seconds:.2f}; bytes each: {bytes_each}"
    )


def main(arguments: list[str]) -> None:
    """Measure, or run as one of the worker processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue", description=__doc__)
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--delete", action="store_true", help="delete jobs that are done")
    parser.add_argument("--work", nargs=2, metavar=("DSN", "URL"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.work:
        asyncio.run(_run_worker(*given.work, plain=given.plain, delete=given.delete))
        return
    with _run_stub() as base_url, run_server(durable=True) as postgres:
        # Settings as in production; the servers of the tests are small.
        postgres.stop()
        postgres.options = ("autovacuum=on", "autovacuum_naptime=1s", "shared_buffers=256MB")
        postgres.start()
        with postgres.admin() as admin:
            admin.execute(SchemaManager.get_schema().encode())
        for workers in given.workers:
            print(_measure(postgres, base_url, workers, given), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
