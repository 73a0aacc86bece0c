"""What sharing commits gains: ``python -m benchmarks.journal [--folder PATH] [--rounds N]``.

200 tasks put an intent and an outcome again and again, with a commit for all that wait and with one for each. Each round
plays both directly one after the other, in random order; the ratio is the median of such pairs. The disk's own fsync is
measured beside. Exits 1 where the rate is below 3 times, or p99 above 4 times p50.
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


class OneByOne(SQLiteJournal):
    """The same journal with a commit for every put."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._turn = anyio.Lock()

    async def put(self, entry: JournalEntry) -> None:
        """Keep a record, alone."""
        async with self._turn:
            await super().put(entry)


@attrs.frozen
class Played:
    """One play: calls or turns a second, and the milliseconds that each waited for its puts."""

    rate: float
    waits: list[float]

    def at(self, part: float) -> float:
        """Return a percentile."""
        return sorted(self.waits)[int(len(self.waits) * part)]


async def _task(journal: SQLiteJournal, number: int, until: float, waits: list[float]) -> None:
    turn = 0
    while (begun := time.perf_counter()) < until:
        now = ClockReading(time.time(), begun, time.time())
        identity = KeyIdentity("https://api.example/v3", "", f"order-{number}-{turn}")
        sent = JournalEntry(
            identity,
            "credits.purchase",
            "https://api.example/v3/credit_purchases",
            "v1:1",
            BODY,
            given=True,
            state=EntryState.SENT,
            first_sent=now,
            last_sent=now,
        )
        await journal.put(sent)
        await journal.put(attrs.evolve(sent, state=EntryState.DONE, answer=RecordedResponse(201, BODY, "req_1")))
        waits.append((time.perf_counter() - begun) * 1000)
        turn += 1


async def play(kind: type[SQLiteJournal], folder: Path, seconds: float) -> Played:
    """Let 200 tasks put for a while."""
    waits: list[float] = []
    with tempfile.TemporaryDirectory(dir=folder) as inner, kind(Path(inner) / "journal.db") as journal:
        begun = time.perf_counter()
        async with anyio.create_task_group() as group:
            for number in range(TASKS):
                group.start_soon(_task, journal, number, begun + seconds, waits)
        return Played(len(waits) / (time.perf_counter() - begun), waits)


def fsync(folder: Path) -> float:
    """Measure one write and fsync of a page, in milliseconds."""
    with tempfile.TemporaryFile(dir=folder) as file:
        spent: list[float] = []
        for _ in range(50):
            begun = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            spent.append((time.perf_counter() - begun) * 1000)
    return statistics.median(spent)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.journal", description="Measure shared commits.")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="on the disk to measure")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of plays")
    given = parser.parse_args()
    kinds: list[type[SQLiteJournal]] = [SQLiteJournal, OneByOne]
    plays: dict[type[SQLiteJournal], list[Played]] = {kind: [] for kind in kinds}
    disk = [fsync(given.folder)]
    for _ in range(given.rounds):
        for kind in random.sample(kinds, 2):
            plays[kind].append(asyncio.run(play(kind, given.folder, SECONDS)))
        disk.append(fsync(given.folder))
    ratios = [shared.rate / alone.rate for shared, alone in zip(*plays.values(), strict=True)]
    tails = [one.at(0.99) / one.at(0.5) for one in plays[SQLiteJournal]]
    print(f"{TASKS} tasks, intent and outcome, {given.rounds} pairs of {SECONDS:g} s; fsync of a page: ", end="")
    print(f"{statistics.median(disk):.2f} ms\n\n| commits | calls a second | p50 ms | p99 ms |\n|---|---|---|---|")
    for name, kind in (("shared", SQLiteJournal), ("one each", OneByOne)):
        figures = [statistics.median(getter) for getter in _figures(plays[kind])]
        print(f"| {name} | {figures[0]:,.0f} | {figures[1]:.1f} | {figures[2]:.1f} |")
    gain, tail = statistics.median(ratios), statistics.median(tails)
    print(f"\n**{gain:.1f}** times the rate ({min(ratios):.1f} - {max(ratios):.1f}); p99 is {tail:.2f} x p50")
    return 0 if gain >= _WANTED and tail <= _TAIL else 1


def _figures(played: list[Played]) -> list[list[float]]:
    return [[one.rate for one in played], [one.at(0.5) for one in played], [one.at(0.99) for one in played]]


if __name__ == "__main__":
    sys.exit(main())
