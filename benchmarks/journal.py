"""Measure the gain of shared commits: ``python -m benchmarks.journal [--folder PATH] [--rounds N]``.

200 tasks repeatedly put an intent and an outcome, with one commit for all puts that are waiting, and with one commit
for each put. Each round runs both back to back, in random order; the ratio is the median of such pairs. The disk's own
fsync is measured as well. Exits with 1 if the rate is below 3 times, or p99 above 4 times p50.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import anyio
import attrs

from bardge_async import EntryState, JournalEntry, KeyIdentity, RecordedResponse, SQLiteJournal
from bardge_async._core.window import ClockReading

TASKS: Final = 200
SECONDS: Final = 2.0
BODY: Final = b'{"client_id": "client_abc123", "package_id": "cpkg_50"}'
_WANTED: Final = 3.0
_TAIL: Final = 4.0


class UnsharedJournal(SQLiteJournal):
    """The same journal with one commit for each put."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._lock = anyio.Lock()

    async def put(self, entry: JournalEntry) -> None:
        """Store an entry in a commit of its own."""
        async with self._lock:
            await super().put(entry)


@attrs.frozen
class Measurement:
    """One measurement: calls or cycles per second, and the milliseconds that each waited for its puts."""

    rate: float
    waits: list[float]

    def percentile(self, part: float) -> float:
        """Return a percentile."""
        return sorted(self.waits)[int(len(self.waits) * part)]


def make_sent_entry(key: str, elapsed: float) -> JournalEntry:
    """Make the entry of a purchase that was sent just now."""
    now = ClockReading(time.time(), elapsed, time.time())
    return JournalEntry(
        KeyIdentity("https://api.example/v3", "", key),
        "credits.purchase",
        "https://api.example/v3/credit_purchases",
        "v1:1",
        BODY,
        given=True,
        state=EntryState.SENT,
        first_sent=now,
        last_sent=now,
    )


async def _put_entries(journal: SQLiteJournal, number: int, until: float, waits: list[float]) -> None:
    cycle = 0
    while (started_at := time.perf_counter()) < until:
        sent = make_sent_entry(f"order-{number}-{cycle}", started_at)
        await journal.put(sent)
        await journal.put(attrs.evolve(sent, state=EntryState.DONE, answer=RecordedResponse(201, BODY, "req_1")))
        waits.append((time.perf_counter() - started_at) * 1000)
        cycle += 1


async def measure_puts(kind: type[SQLiteJournal], folder: Path, seconds: float) -> Measurement:
    """Let 200 tasks put entries for some seconds."""
    waits: list[float] = []
    with tempfile.TemporaryDirectory(dir=folder) as inner, kind(Path(inner) / "journal.db") as journal:
        started_at = time.perf_counter()
        async with anyio.create_task_group() as group:
            for number in range(TASKS):
                group.start_soon(_put_entries, journal, number, started_at + seconds, waits)
        return Measurement(len(waits) / (time.perf_counter() - started_at), waits)


def measure_fsync(folder: Path) -> float:
    """Return the median duration of writing and syncing one page, in milliseconds."""
    with tempfile.TemporaryFile(dir=folder) as file:
        durations: list[float] = []
        for _ in range(50):
            started_at = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            durations.append((time.perf_counter() - started_at) * 1000)
    return statistics.median(durations)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description="Measure shared commits.")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="folder on the disk to measure")
    parser.add_argument("--rounds", type=int, default=7, help="number of pairs")
    given = parser.parse_args()
    kinds: list[type[SQLiteJournal]] = [SQLiteJournal, UnsharedJournal]
    measurements: dict[type[SQLiteJournal], list[Measurement]] = {kind: [] for kind in kinds}
    disk = [measure_fsync(given.folder)]
    for _ in range(given.rounds):
        for kind in random.sample(kinds, 2):
            measurements[kind].append(asyncio.run(measure_puts(kind, given.folder, SECONDS)))
        disk.append(measure_fsync(given.folder))
    ratios = [shared.rate / alone.rate for shared, alone in zip(*measurements.values(), strict=True)]
    tails = [one.percentile(0.99) / one.percentile(0.5) for one in measurements[SQLiteJournal]]
    print(f"{TASKS} tasks, intent and outcome, {given.rounds} pairs of {SECONDS:g} s; fsync of a page: ", end="")
    print(f"{statistics.median(disk):.2f} ms\n\n| commits | calls per second | p50 ms | p99 ms |\n|---|---|---|---|")
    for name, kind in (("shared", SQLiteJournal), ("one each", UnsharedJournal)):
        figures = [statistics.median(getter) for getter in _collect_figures(measurements[kind])]
        print(f"| {name} | {figures[0]:,.0f} | {figures[1]:.1f} | {figures[2]:.1f} |")
    gain, tail = statistics.median(ratios), statistics.median(tails)
    print(f"\n**{gain:.1f}** times the rate ({min(ratios):.1f} - {max(ratios):.1f}); p99 is {tail:.2f} x p50")
    return 0 if gain >= _WANTED and tail <= _TAIL else 1


def _collect_figures(measurements: list[Measurement]) -> list[list[float]]:
    return [
        [one.rate for one in measurements],
        [one.percentile(0.5) for one in measurements],
        [one.percentile(0.99) for one in measurements],
    ]


if __name__ == "__main__":
    sys.exit(main())
