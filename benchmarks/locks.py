"""Measure both ways of holding keys: ``python -m benchmarks.locks [--folder PATH] [--rounds N] [--tasks N]``.

Tasks repeatedly claim a key, put an intent and an outcome, and release the key. Each round measures both ways one after
the other, in random order; the ratio is the median of such pairs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import anyio
import attrs

from bardge_async import EntryState, RecordedResponse, SQLiteJournal
from bardge_async._runtime.clock import SystemClock
from benchmarks.journal import make_sent_entry

SECONDS: Final = 2.0
BODY: Final = b'{"client_id": "client_abc123", "package_id": "cpkg_50"}'
_WAYS: Final = ("auto", "portable")


async def _use_keys(journal: SQLiteJournal, number: int, until: float, counts: list[int]) -> None:
    clock = SystemClock()
    while (started_at := time.perf_counter()) < until:
        sent = make_sent_entry(f"order-{number}-{counts[0]}", started_at)
        identity = sent.identity
        await journal.claim(identity, 10, clock)
        await journal.put(sent)
        await journal.put(attrs.evolve(sent, state=EntryState.DONE, answer=RecordedResponse(201, BODY, "req_1")))
        journal.release(identity)
        counts[0] += 1


async def measure_cycles(folder: Path, tasks: int, seconds: float) -> float:
    """Return the cycles per second of some tasks; the environment says how keys are held."""
    counts = [0]
    with tempfile.TemporaryDirectory(dir=folder) as inner, SQLiteJournal(Path(inner) / "journal.db") as journal:
        started_at = time.perf_counter()
        async with anyio.create_task_group() as group:
            for number in range(tasks):
                group.start_soon(_use_keys, journal, number, started_at + seconds, counts)
        return counts[0] / (time.perf_counter() - started_at)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.locks", description="Measure both ways of holding keys."
    )
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="folder on the disk to measure")
    parser.add_argument("--rounds", type=int, default=7, help="number of pairs")
    parser.add_argument("--tasks", type=int, default=200, help="number of concurrent tasks")
    given = parser.parse_args()
    rates: dict[str, list[float]] = {way: [] for way in _WAYS}
    for _ in range(given.rounds):
        for way in random.sample(_WAYS, 2):
            os.environ["BARDGE_JOURNAL_LOCKS"] = way
            rates[way].append(asyncio.run(measure_cycles(given.folder, given.tasks, SECONDS)))
    ratios = [portable / auto for auto, portable in zip(*rates.values(), strict=True)]
    print(f"{given.tasks} tasks, claim, intent, outcome and release, {given.rounds} pairs of {SECONDS:g} s\n")
    print("| keys are held by | cycles per second |\n|---|---|")
    print(f"| ranges of one file | {statistics.median(rates['auto']):,.0f} |")
    print(f"| whole files | {statistics.median(rates['portable']):,.0f} |")
    print(f"\n**{statistics.median(ratios):.2f}** times the rate ({min(ratios):.2f} - {max(ratios):.2f})")


if __name__ == "__main__":
    main()
