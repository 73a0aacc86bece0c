"""Measure the cost of a batch: ``python -m benchmarks.batch [--operations N] [--rounds N]``.

Compares purchases through ``bardge.batch``, with a journal on disk, with plain tasks that share one client: with a
journal in memory, and with the same journal and keys, which shows the cost of the batch alone. Each runs in a fresh
process against the stub, 64 concurrent; those of one round run back to back in random order, and ratios are medians of
such pairs. No client is pinned to a core: a journal on disk has a thread of its own. Exits with 1 if a batch has less
than 0.7 of the rate of plain tasks with a journal in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks import driver, stub, tasks

CONCURRENCY: Final = 64
PLAIN: Final = "plain tasks, memory journal"
KEYED: Final = "plain tasks, SQLite journal, given keys"
BATCH: Final = "batch, SQLite journal"
CONTESTANTS: Final = (PLAIN, KEYED, BATCH)
_WANTED: Final = 0.7
_WARM_UP: Final = 256

Figures = dict[str, float]


def run_plain_tasks(size: int, base_url: str) -> Figures:
    """Buy with plain tasks, as users without a batch do."""
    return tasks.run_purchases("memory journal", size, base_url)


def _with_journal(work: Callable[[Any, int], Awaitable[Figures]]) -> Callable[[int, str], Figures]:
    async def main(size: int, base_url: str, folder: str) -> Figures:
        from bardge_async import BardgeClient, SQLiteJournal  # noqa: PLC0415 - in this process only

        with SQLiteJournal(Path(folder) / "journal.db") as journal:
            async with BardgeClient(stub.API_KEY, base_url, journal=journal) as bardge:
                return await work(bardge, size)

    def run(size: int, base_url: str) -> Figures:
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(main(size, base_url, folder))

    return run


async def _run_keyed_tasks(bardge: Any, size: int) -> Figures:  # noqa: ANN401 - imported in its process only
    from bardge_async import PURCHASE_CREDITS, PurchaseCredits, operation_key  # noqa: PLC0415 - in this process only

    numbers = iter(range(size + _WARM_UP))

    async def buy(client: str) -> str:
        key = operation_key(f"job-{os.getpid()}", PURCHASE_CREDITS, f"row-{next(numbers)}")
        request = PurchaseCredits(client_id=client, package_id="cpkg_50")
        return str((await bardge.send(PURCHASE_CREDITS, request=request, key=key)).value.client_id)

    return await tasks.measure_calls(buy, CONCURRENCY, size)


async def _run_batch(bardge: Any, size: int) -> Figures:  # noqa: ANN401 - the same
    from bardge_async import PURCHASE_CREDITS, Operation, PurchaseCredits  # noqa: PLC0415 - in this process only

    def operations(job: str, count: int) -> Iterator[object]:
        for number in range(count):
            request = PurchaseCredits(client_id=stub.client_id(number), package_id="cpkg_50")
            yield Operation(PURCHASE_CREDITS, request=request, id=f"{job}-{number}")

    async def run(job: str, count: int) -> None:
        done = 0
        async for outcome in bardge.batch(operations(job, count), job=job, concurrency=CONCURRENCY):
            done += outcome.result.client_id == outcome.operation.request.client_id
        if done != count:
            raise RuntimeError(f"only {done} of {count} operations were done")

    await run(f"warm-up-{os.getpid()}", _WARM_UP)
    cpu, wall = time.process_time(), time.perf_counter()
    await run(f"job-{os.getpid()}", size)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"per second": size / wall, "CPU us": cpu / size * 1e6}


RUNS: Final = {PLAIN: run_plain_tasks, KEYED: _with_journal(_run_keyed_tasks), BATCH: _with_journal(_run_batch)}


def _run_child(contestant: str, size: int, port: int) -> Figures:
    """Run one contestant in a fresh process; a key that was sent twice ends the run."""
    before = driver.fetch_stats(port)
    command = [sys.executable, "-m", "benchmarks.batch", "--one", contestant, "--operations", str(size)]
    command += ["--port", str(port)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own module
    after = driver.fetch_stats(port)
    keys, requests = (after[name] - before[name] for name in ("keys", "requests"))
    if keys != requests:
        sys.exit(f"{contestant}: {requests:.0f} POSTs had {keys:.0f} different keys")
    figures: Figures = json.loads(done.stdout)
    return figures


def _format_ratio(rounds: list[dict[str, Figures]], one: str, base: str, figure: str) -> tuple[float, str]:
    ratios = [given[one][figure] / given[base][figure] for given in rounds]
    middle = statistics.median(ratios)
    return middle, f"**{middle:.2f}** ({min(ratios):.2f} - {max(ratios):.2f})"


def _print_report(rounds: list[dict[str, Figures]]) -> float:
    print("| contestant | operations per second | CPU us per operation |\n|---|---|---|")
    for one in CONTESTANTS:
        rate, cpu = (statistics.median(given[one][name] for given in rounds) for name in ("per second", "CPU us"))
        print(f"| {one} | {rate:,.0f} | {cpu:.0f} |")
    rate, ratio = _format_ratio(rounds, BATCH, PLAIN, "per second")
    print(f"\nA batch has {ratio} of the rate of plain tasks with a journal in memory, ", end="")
    print(f"{_format_ratio(rounds, BATCH, KEYED, 'per second')[1]} of those with the same journal and keys; ", end="")
    print(f"it takes {_format_ratio(rounds, BATCH, KEYED, 'CPU us')[1]} of the CPU time of the latter.")
    return rate


def main() -> int:
    """Measure and print, or run as one of the processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description="Measure a batch.")
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(RUNS[given.one](given.operations, f"http://127.0.0.1:{given.port}")))
        return 0
    server_core, _ = driver.choose_cores()
    rounds: list[dict[str, Figures]] = []
    with driver.run_stub(0, server_core) as port:
        for _ in range(given.rounds):
            order = random.sample(CONTESTANTS, len(CONTESTANTS))
            rounds.append({one: _run_child(one, given.operations, port) for one in order})
    print(f"{given.operations:,} operations, {CONCURRENCY} concurrent, {given.rounds} rounds\n")
    return 0 if _print_report(rounds) >= _WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
