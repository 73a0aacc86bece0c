"""What a fleet of workers does: ``python -m benchmarks.queue [--operations N] [--workers 1 2 4] [--plain]``.

Puts purchases into procrastinate's queue in a private PostgreSQL that waits for the disk (fsync on), and has worker
processes do them against the stub server, 25 at once each, with the journal in the same database. Tells throughput, and
the processor time that an operation takes of workers, PostgreSQL and stub. ``--plain`` leaves the workers' connections as
procrastinate makes them, without ``worker_connection``. The machine's cores are shared by all of them.
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
from tests.support.postgres import Server, server

AT_ONCE: Final = 25
JOB: Final = "benchmark"
_TICK: Final = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Spent:
    """Processor seconds so far."""

    postgres: float
    stub: float


def operations(count: int) -> Iterator[Operation[Any, Any]]:
    """Make purchases of many clients."""
    for number in range(count):
        request = PurchaseCredits(client_id=stub.client_id(number), package_id="cpkg_50")
        yield Operation("credits.purchase", request=request, id=f"order-{number}")


def _queue(dsn: str, base_url: str, *, plain: bool) -> tuple[procrastinate.App, BardgeQueue]:
    @asynccontextmanager
    async def client() -> AsyncGenerator[BardgeClient]:
        async with PostgresJournal(dsn) as journal, BardgeClient(stub.API_KEY, base_url, journal=journal) as bardge:
            yield bardge

    configure = None if plain else worker_connection
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=dsn, configure=configure))
    return app, BardgeQueue(app, client)


async def _work(dsn: str, base_url: str, *, plain: bool, delete: bool) -> None:
    _, queue = _queue(dsn, base_url, plain=plain)
    begun = time.process_time()
    await queue.run_worker(concurrency=AT_ONCE, wait=False, delete_done=delete)
    print(json.dumps(time.process_time() - begun), flush=True)


async def _put_in(dsn: str, count: int) -> float:
    app, queue = _queue(dsn, "", plain=True)
    async with app.open_async():
        begun = time.perf_counter()
        await queue.defer_many(operations(count), job=JOB)
        return time.perf_counter() - begun


def _cpu(pid: int) -> float:
    """Processor seconds of a process and of its children, ended or not."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    live = 0.0
    for child in children:
        with contextlib.suppress(FileNotFoundError):
            live += _cpu(int(child))
    return sum(map(int, fields[11:15])) / _TICK + live


@contextmanager
def _stub() -> Generator[str]:
    command = [sys.executable, "-m", "benchmarks.stub", "100", "-1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


def _stats(base_url: str) -> dict[str, float]:
    request = urllib.request.Request(f"{base_url}/_stats", headers={"Authorization": f"Bearer {stub.API_KEY}"})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        found: dict[str, float] = json.load(answer)
    return found


def _run(postgres: Server, base_url: str, workers: int, given: argparse.Namespace) -> str:
    with postgres.admin() as admin:
        admin.execute("TRUNCATE procrastinate_jobs, procrastinate_events, procrastinate_workers CASCADE")
        admin.execute("DROP SCHEMA IF EXISTS bardge CASCADE")
    putting = asyncio.run(_put_in(postgres.dsn, given.operations))
    assert postgres.process is not None
    before = Spent(_cpu(postgres.process.pid), _stats(base_url)["cpu"])
    count = _stats(base_url)["requests"]
    command = [sys.executable, "-m", "benchmarks.queue", "--work", postgres.dsn, base_url]
    command += ["--plain"] * given.plain + ["--delete"] * given.delete
    begun = time.perf_counter()
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(workers)]  # noqa: S603
    ends = [process.communicate()[0] for process in processes]
    seconds = time.perf_counter() - begun
    after = Spent(_cpu(postgres.process.pid), _stats(base_url)["cpu"])
    with postgres.admin() as admin:
        left = admin.execute("SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'").fetchone()
        sizes = admin.execute(
            "SELECT pg_total_relation_size('bardge.entries'), pg_total_relation_size('procrastinate_jobs'), "
            "pg_total_relation_size('procrastinate_events'), pg_database_size(current_database())"
        ).fetchone()
    assert left == (0,), f"{left} unfinished"
    assert _stats(base_url)["requests"] - count == given.operations, "not one request for each operation"
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
        f"{workers} workers: {given.operations:,} operations put in in {putting:.1f} s "
        f"({given.operations / putting:,.0f}/s), done in {seconds:.1f} s: {given.operations / seconds:,.0f} a second; "
        f"processor microseconds each: {each}; cores busy {sum(cost) / seconds:.2f}; bytes each: {bytes_each}"
    )


def main(arguments: list[str]) -> None:
    """Measure, or work as a worker process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queue", description=__doc__)
    parser.add_argument("--operations", type=int, default=20_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--delete", action="store_true", help="remove what was done")
    parser.add_argument("--work", nargs=2, metavar=("DSN", "URL"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.work:
        asyncio.run(_work(*given.work, plain=given.plain, delete=given.delete))
        return
    with _stub() as base_url, server(durable=True) as postgres:
        # As in earnest; the tests' servers are small.
        postgres.stop()
        postgres.options = ("autovacuum=on", "autovacuum_naptime=1s", "shared_buffers=256MB")
        postgres.start()
        with postgres.admin() as admin:
            admin.execute(SchemaManager.get_schema().encode())
        for workers in given.workers:
            print(_run(postgres, base_url, workers, given), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
