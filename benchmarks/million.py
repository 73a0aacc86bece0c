"""Measure the durable journals with a million finished entries: ``python -m benchmarks.million [--rows N] [--only STORE]``.

Entries of the last 80 days, of which ``prune`` removes the oldest quarter, and the bodies of 3 more eighths. While a piece of
housekeeping runs, this process and a second one each put an entry every few milliseconds; the longest put is what it
cost them. Exits with 1 if one put waited 100 ms longer than without, or if ``entries()`` took more than 32 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from bardge_async import (
    BardgeClient,
    EntryState,
    JournalEntry,
    KeyIdentity,
    PostgresJournal,
    RecordedResponse,
    SQLiteJournal,
    SystemClock,
)
from bardge_async._core.settings import DAY
from bardge_async._core.window import ClockReading
from bardge_async._journal import postgres_statements as tables
from bardge_async._journal import sqlite_rows as file
from benchmarks.memory import resident
from tests.support.postgres import Server, run_server

AnyJournal: TypeAlias = SQLiteJournal | PostgresJournal

BASE: Final = "http://127.0.0.1:1/v3"
URL: Final = f"{BASE}/credit_purchases"
AGE: Final = 80 * DAY
KEEP: Final = {"keep_bodies": 30 * DAY, "keep_entries": 60 * DAY}
_MIB: Final = 1024 * 1024
_PAUSE: Final = 0.005
_CONTROL_SECONDS: Final = 30.0
_MAX_WAIT: Final = 0.1
_MAX_GROWTH: Final = 32 * _MIB


def make_entries(rows: int) -> Iterator[JournalEntry]:
    """Make finished entries, each of another client."""
    begin = time.time() - AGE
    for number in range(rows):
        sent = ClockReading(begin + number * AGE / rows, float(number), begin + number * AGE / rows, "earlier")
        client = b"client_%07d" % number
        yield JournalEntry(
            KeyIdentity(BASE, "", f"op1_{number:040x}"),
            "credits.purchase",
            URL,
            f"v1:{number:032x}",
            b'{"client_id":"%s","package_id":"cpkg_50"}' % client,
            True,
            EntryState.DONE,
            sent,
            sent,
            RecordedResponse(201, b'{"id":"cp_%09d","client_id":"%s","balance":50}' % (number, client), "req_1"),
        )


def fill_file(path: Path, rows: int) -> None:
    """Write entries into a journal's file without waiting for the disk."""
    SQLiteJournal(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    marks = ", ".join("?" * (file.COLUMNS.count(",") + 1))
    connection.executemany(
        f"INSERT INTO entries ({file.COLUMNS}) VALUES ({marks})",  # noqa: S608 - constants
        map(file.entry_columns, make_entries(rows)),
    )
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    os.sync()  # or the first put would wait for all of it


async def fill_tables(server: Server, rows: int) -> None:
    """Copy entries into the journal's tables."""
    async with PostgresJournal(server.dsn) as journal:
        await journal.listed()
    columns = f"{tables.COLUMNS}, first_at, last_at"
    with server.admin() as admin, admin.cursor() as cursor:
        with cursor.copy(f"COPY bardge.entries ({columns}) FROM STDIN") as copy:
            for entry in make_entries(rows):
                assert entry.first_sent is not None
                values = tables.RowValues(entry.identity, None, entry).all_columns()[:-3]
                copy.write_row((*values, *(entry.first_sent.to_datetime(),) * 2))
        # Not by the way, but when it is measured.
        cursor.execute("INSERT INTO bardge.facts VALUES ('pruned', extract(epoch FROM clock_timestamp()))")
        cursor.execute("ANALYZE bardge.entries")


def open_store(store: str, place: str) -> AbstractAsyncContextManager[AnyJournal]:
    """Open a journal."""
    if store == "sqlite":
        return _open_file(place)
    return PostgresJournal(place, **KEEP)


@asynccontextmanager
async def _open_file(place: str) -> AsyncGenerator[AnyJournal]:
    with SQLiteJournal(place, **KEEP) as journal:
        yield journal


async def put_entries(journal: AnyJournal, name: str, until: Callable[[], bool]) -> list[float]:
    """Claim keys and put entries until told to stop; return what the slowest of each cycle took, in seconds."""
    clock, waits, number = SystemClock(), [0.0], 0
    while not until():
        number += 1
        now = ClockReading(clock.wall(), clock.elapsed(), clock.wall(), clock.boot)
        entry = attrs.evolve(next(make_entries(1)), state=EntryState.SENT, first_sent=now, last_sent=now, answer=None)
        entry = attrs.evolve(entry, identity=KeyIdentity(BASE, "", f"{name}-{number}"))
        steps: list[Callable[[], Awaitable[object]]] = [
            lambda entry=entry: journal.claim(entry.identity, 10, clock),
            lambda entry=entry: journal.put(entry),
            lambda entry=entry: journal.put(attrs.evolve(entry, state=EntryState.DONE)),
        ]
        for step in steps:
            started_at = time.perf_counter()
            await step()
            waits.append(time.perf_counter() - started_at)
        journal.release(entry.identity)
        await asyncio.sleep(_PAUSE)
    return waits


async def put_until_told(store: str, place: str) -> None:
    """Be the second process: put entries until standard input ends, and print the waits."""
    loop = asyncio.get_running_loop()
    end = loop.run_in_executor(None, sys.stdin.read)
    async with open_store(store, place) as journal:
        print("ready", flush=True)
        waits = await put_entries(journal, f"other-{time.time_ns()}", end.done)
    print(max(waits), *statistics.quantiles(waits, n=100)[49::49])


@attrs.define
class Report:
    """What was too slow or too large; ``slowest`` is the longest wait here and in the other process with nothing on."""

    faults: list[str] = attrs.field(factory=list[str])
    slowest: tuple[float, float] = (0.0, 0.0)

    def add(self, *cells: str) -> None:
        """Print a line of the table."""
        print(f"| {' | '.join(cells)} |", flush=True)


async def measure_during(
    store: str, place: str, name: str, work: Callable[[AnyJournal], Awaitable[object]], report: Report
) -> None:
    """Measure some work, and what puts have to wait while it runs."""
    command = [sys.executable, "-m", "benchmarks.million", "--put-into", store, place]
    other = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert other.stdout is not None
    await other.stdout.readline()
    async with open_store(store, place) as journal:
        await put_entries(journal, f"warm-{name}-{time.time_ns()}", iter((False, True)).__next__)
        before = resident()
        started_at = time.perf_counter()
        task = asyncio.ensure_future(work(journal))
        waits = await put_entries(journal, f"{name}-{time.time_ns()}", task.done)
        result = await task
        seconds, growth = time.perf_counter() - started_at, resident() - before
    out, _ = await other.communicate(b"")
    theirs, *typical = map(float, out.split())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    mine = max(waits)
    report.add(
        store,
        f"{name}: {result}",
        f"{seconds:.1f} s",
        _format_waits(mine, *statistics.quantiles(waits, n=100)[49::49]),
        _format_waits(theirs, *typical),
        f"{growth / _MIB:+.0f} MiB, peak {peak:.0f}",
    )
    if name == "nothing":
        report.slowest = mine, theirs
    longer = max(mine - report.slowest[0], theirs - report.slowest[1])
    if longer > _MAX_WAIT:
        report.faults.append(f"{store}, {name}: a claim or put took {longer * 1000:.0f} ms longer than without")
    if name == "entries" and growth > _MAX_GROWTH:
        report.faults.append(f"{store}: entries() took {growth / _MIB:.0f} MiB")


def _format_waits(slowest: float, median: float, late: float) -> str:
    return f"{median * 1000:.1f} / {late * 1000:.0f} / {slowest * 1000:.0f} ms"


async def count_entries(journal: AnyJournal) -> int:
    """Iterate over all entries."""
    count = 0
    async for _ in journal.entries():
        count += 1
    return count


async def time_of(work: Callable[[], Awaitable[object]]) -> str:
    """Return what one piece of work takes, as text."""
    started_at = time.perf_counter()
    await work()
    return f"{(time.perf_counter() - started_at) * 1000:.1f} ms"


async def measure_calls(store: str, place: str, rows: int, report: Report) -> None:
    """Measure opening and the calls' own operations with nothing else going on."""
    started_at = time.perf_counter()
    async with open_store(store, place) as journal:
        identity, clock = KeyIdentity(BASE, "", f"op1_{rows - 1:040x}"), SystemClock()
        claimed = await journal.claim(identity, 1, clock)
        report.add(store, "open and first claim", f"{(time.perf_counter() - started_at) * 1000:.1f} ms", "", "", "")
        journal.release(identity)
        assert claimed is not None
        waits = await put_entries(journal, f"alone-{time.time_ns()}", iter([False] * 100 + [True]).__next__)
        report.add(
            store,
            "claim or put alone",
            f"{statistics.median(waits) * 1000:.1f} ms",
            f"{max(waits) * 1000:.0f} ms",
            "",
            "",
        )
        async with BardgeClient("key", BASE, journal=journal) as bardge:
            report.add(store, "recover()", await time_of(bardge.recover), "", "", "")
            report.add(store, "in_doubt()", await time_of(bardge.in_doubt), "", "", "")


async def measure_store(store: str, place: str, rows: int, report: Report) -> None:
    """Measure one store that is filled."""
    await measure_calls(store, place, rows, report)
    await measure_during(store, place, "nothing", lambda _: asyncio.sleep(_CONTROL_SECONDS), report)
    await measure_during(store, place, "entries", count_entries, report)
    await measure_during(store, place, "erase", lambda journal: journal.erase(f"client_{rows - 1:07d}"), report)
    await measure_during(store, place, "prune", lambda journal: journal.prune(time.time()), report)
    await measure_calls(store, place, rows, report)


def measure(store: str, rows: int, report: Report) -> None:
    """Fill one store and measure it."""
    started_at = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as folder,
        nullcontext() if store == "sqlite" else run_server(durable=True) as server,
    ):
        if server is None:
            place = str(Path(folder) / "journal.db")
            fill_file(Path(place), rows)
        else:
            place = server.dsn
            asyncio.run(fill_tables(server, rows))
        print(f"{store}: {rows:,} rows, filled in {time.perf_counter() - started_at:.0f} s", file=sys.stderr)
        asyncio.run(measure_store(store, place, rows, report))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.million", description="Measure large journals.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="number of finished entries")
    parser.add_argument("--only", choices=("sqlite", "postgres"), help="measure one store")
    parser.add_argument("--put-into", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.put_into is not None:
        asyncio.run(put_until_told(*given.put_into))
        return 0
    report = Report()
    report.add("journal", "what", "time", "a claim or put here: median, p99, slowest", "in the other process", "memory")
    report.add(*["---"] * 6)
    for store in (given.only,) if given.only else ("sqlite", "postgres"):
        measure(store, given.rows, report)
    print("\n".join(report.faults) or "no claim and no put waited 100 ms longer than without")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
