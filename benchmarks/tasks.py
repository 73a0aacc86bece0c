"""Measure one client of ours shared by many tasks, and with optional features."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks import stub

COUNTS: Final[Mapping[str, int]] = {"64 tasks": 64, "512 tasks": 512, "4,096 tasks": 4096}
OPTIONS: Final = ("memory journal", "memory journal, a hook", "SQLite journal")


async def measure_calls(call: Callable[[str], Awaitable[str]], count: int, size: int) -> dict[str, float]:
    """Make ``size`` calls from ``count`` tasks; a call's fair share is the time that one call per task takes."""
    slowest = 0.0

    async def work(numbers: Iterator[int]) -> None:
        nonlocal slowest
        for number in numbers:
            wanted, begin = stub.client_id(number), time.perf_counter()
            if await call(wanted) != wanted:
                raise RuntimeError(f"expected {wanted} in the response")
            slowest = max(slowest, time.perf_counter() - begin)

    async def make_calls(amount: int) -> None:
        numbers = iter(range(amount))
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(work(numbers))

    await make_calls(max(256, count))
    slowest = 0.0
    cpu, wall = time.process_time(), time.perf_counter()
    await make_calls(size)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    fair = wall * count / size
    return {
        "per second": size / wall,
        "CPU us": cpu / size * 1e6,
        "slowest over fair share": slowest / fair,
        "wall": wall,
    }


def run_gets(contestant: str, size: int, base_url: str) -> dict[str, float]:
    """Get from many tasks through one client."""

    async def main() -> dict[str, float]:
        from bardge_async import BardgeClient  # noqa: PLC0415 - in this process only

        async with BardgeClient(stub.API_KEY, base_url) as bardge:

            async def get(client: str) -> str:
                return str((await bardge.passes.get_issued(client)).client_id)

            return await measure_calls(get, COUNTS[contestant], size)

    return asyncio.run(main())


def run_purchases(contestant: str, size: int, base_url: str) -> dict[str, float]:
    """Buy with a journal or a hook enabled."""

    async def main(folder: str) -> dict[str, float]:
        from bardge_async import BardgeClient, PurchaseCredits, SQLiteJournal  # noqa: PLC0415 - in this process only

        options: dict[str, Any] = {}
        if "SQLite" in contestant:
            options["journal"] = SQLiteJournal(Path(folder) / "journal.db")
        if "hook" in contestant:
            seen: list[object] = []
            options["hooks"] = [seen.append]
        async with BardgeClient(stub.API_KEY, base_url, **options) as bardge:

            async def buy(client: str) -> str:
                request = PurchaseCredits(client_id=client, package_id="cpkg_50")
                return str((await bardge.credits.purchase(request)).client_id)

            return await measure_calls(buy, 64, size)

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(main(folder))
