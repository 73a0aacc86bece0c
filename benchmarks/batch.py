"""What a batch costs: ``python -m benchmarks.batch [--operations N] [--rounds N]``.

Purchases through ``bardge.batch`` with a journal on disk, beside plain tasks over one client: with a journal in memory, and
with the same journal and keys, which shows what the batch alone costs. Each runs in a fresh process against the stub,
64 at once, those of one round directly one after another in random order; ratios are medians of such pairs. No client is
tied to a core: a journal on disk has a thread of its own. Exits 1 where a batch has less than 0.7 of the rate of plain tasks with a journal in memory.
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

AT_ONCE: Final = 64
PLAIN: Final = "plain tasks, memory journal"
KEYED: Final = "plain tasks, SQLite journal, given keys"
BATCH: Final = "batch, SQLite journal"
CONTESTANTS: Final = (PLAIN, KEYED, BATCH)
_WANTED: Final = 0.7
_WARM_UP: Final = 256

Figures = dict[str, float]


def plain(size: int, base_url: str) -> Figures:
    """Buy by plain tasks as users without a batch do."""
    return tasks.cost("memory journal", size, base_url)


def _on_disk(work: Callable[[Any, int], Awaitable[Figures]]) -> Callable[[int, str], Figures]:
    async def main(size: int, base_url: str, folder: str) -> Figures:
        from bardge_async import BardgeClient, SQLiteJournal  # noqa: PLC0415 - in this process only

        with SQLiteJournal(Path(folder) / "journal.db") as journal:
            async with BardgeClient(stub.API_KEY, base_url, journal=journal) as bardge:
                return await work(bardge, size)

    def run(size: int, base_url: str) -> Figures:
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(main(size, base_url, folder))

    return run


async def _keyed(bardge: Any, size: int) -> Figures:  # noqa: ANN401 - imported in its process only
    from bardge_async import PURCHASE_CREDITS, PurchaseCredits, operation_key  # noqa: PLC0415 - in this process only

    numbers = iter(range(size + _WARM_UP))

    async def buy(client: str) -> str:
        key = operation_key(f"job-{os.getpid()}", PURCHASE_CREDITS, f"row-{next(numbers)}")
        request = PurchaseCredits(client_id=client, package_id="cpkg_50")
        return str((await bardge.send(PURCHASE_CREDITS, request=request, key=key)).value.client_id)

    return await tasks.timed(buy, AT_ONCE, size)


async def _batch(bardge: Any, size: int) -> Figures:  # noqa: ANN401 - the same
    from bardge_async import PURCHASE_CREDITS, Operation, PurchaseCredits  # noqa: PLC0415 - in this process only

    def operations(job: str, count: int) -> Iterator[object]:
        for number in range(count):
            request = PurchaseCredits(client_id=stub.client_id(number), package_id="cpkg_50")
            yield Operation(PURCHASE_CREDITS, request=request, id=f"{job}-{number}")

    async def run(job: str, count: int) -> None:
        done = 0
        async for outcome in bardge.batch(operations(job, count), job=job, concurrency=AT_ONCE):
            done += outcome.result.client_id == outcome.operation.request.client_id
        if done != count:
            raise RuntimeError(f"{done} of {count} operations were done")

    await run(f"warm-up-{os.getpid()}", _WARM_UP)
    cpu, wall = time.process_time(), time.perf_counter()
    await run(f"job-{os.getpid()}", size)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"per second": size / wall, "CPU us": cpu / size * 1e6}


RUNS: Final = {PLAIN: plain, KEYED: _on_disk(_keyed), BATCH: _on_disk(_batch)}


def _child(contestant: str, size: int, port: int) -> Figures:
    """Run one in a fresh process; a key that came twice ends everything."""
    before = driver.stats(port)
    command = [sys.executable, "-m", "benchmarks.batch", "--one", contestant, "--operations", str(size)]
    command += ["--port", str(port)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - our own module
    after = driver.stats(port)
    keys, requests = (after[name] - before[name] for name in ("keys", "requests"))
    if keys != requests:
        sys.exit(f"{contestant}: {requests:.0f} POSTs bore {keys:.0f} different keys")
    figures: Figures = json.loads(done.stdout)
    return figures


def _ratio(rounds: list[dict[str, Figures]], one: str, base: str, figure: str) -> tuple[float, str]:
    ratios = [given[one][figure] / given[base][figure] for given in rounds]
    middle = statistics.median(ratios)
    return middle, f"**{middle:.2f}** ({min(ratios):.2f} - {max(ratios):.2f})"


def _print(rounds: list[dict[str, Figures]]) -> float:
    print("| contestant | operations a second | CPU us an operation |\n|---|---|---|")
    for one in CONTESTANTS:
        rate, cpu = (statistics.median(given[one][name] for given in rounds) for name in ("per second", "CPU us"))
        print(f"| {one} | {rate:,.0f} | {cpu:.0f} |")
    rate, said = _ratio(rounds, BATCH, PLAIN, "per second")
    print(f"\nA batch has {said} of the rate of plain tasks with a journal in memory, ", end="")
    print(f"{_ratio(rounds, BATCH, KEYED, 'per second')[1]} of those with its own journal and keys; ", end="")
    print(f"of their CPU time it takes {_ratio(rounds, BATCH, KEYED, 'CPU us')[1]}.")
    return rate


def main() -> int:
    """Measure and print, or be one of the processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description="Measure a batch.")
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(RUNS[given.one](given.operations, f"http://127.0.0.1:{given.port}")))
        return 0
    server_core, _ = driver.cores()
    rounds: list[dict[str, Figures]] = []
    with driver.running(0, server_core) as port:
        for _ in range(given.rounds):
            order = random.sample(CONTESTANTS, len(CONTESTANTS))
            rounds.append({one: _child(one, given.operations, port) for one in order})
    print(f"{given.operations:,} operations, {AT_ONCE} at once, {given.rounds} rounds\n")
    return 0 if _print(rounds) >= _WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
