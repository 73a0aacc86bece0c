"""Measure the gain of shared commits in PostgreSQL: ``python -m benchmarks.postgres [--rounds N]``.

Starts a private server that waits for the disk (fsync on). 200 tasks repeatedly put an intent and an outcome, with one
commit for all puts that are waiting, and with one for each put; then full cycles of claim, intent, outcome and release.
Each round runs all three back to back, in random order.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from typing import Final

import anyio
import attrs

from bardge_async import EntryState, JournalEntry, KeyIdentity, PostgresJournal, RecordedResponse, SystemClock
from bardge_async._core.window import ClockReading
from benchmarks.journal import Measurement
from tests.support.postgres import Server, run_server

TASKS: Final = 200
SECONDS: Final = 2.0
BODY: Final = b'{"client_id": "client_abc123", "package_id": "cpkg_50"}'
KINDS: Final = ("one each", "shared", "full cycles")


@attrs.define
class _RunState:
    """A running measurement: the milliseconds of its cycles, and the lock of the variant with one commit each."""

    waits: list[float] = attrs.field(factory=list[float])
    lock: anyio.Lock = attrs.field(factory=anyio.Lock)


def _make_sent_entry(key: str, clock: SystemClock) -> JournalEntry:
    now = ClockReading(clock.wall(), clock.elapsed(), clock.wall(), clock.boot)
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


async def _put_entries(journal: PostgresJournal, kind: str, number: str, until: float, state: _RunState) -> None:
    clock, cycle = SystemClock(), 0
    while (started_at := time.perf_counter()) < until:
        sent = _make_sent_entry(f"order-{number}-{cycle}", clock)
        done = attrs.evolve(sent, state=EntryState.DONE, answer=RecordedResponse(201, BODY, "req_1"))
        if kind == "full cycles":
            await journal.claim(sent.identity, 60, clock)
        for entry in (sent, done):
            if kind == "one each":
                async with state.lock:
                    await journal.put(entry)
            else:
                await journal.put(entry)
        if kind == "full cycles":
            journal.release(sent.identity)
        state.waits.append((time.perf_counter() - started_at) * 1000)
        cycle += 1


async def measure_puts(to: Server, kind: str, name: str, seconds: float) -> Measurement:
    """Let 200 tasks put entries for some seconds."""
    state = _RunState()
    async with PostgresJournal(to.dsn) as journal:
        await journal.listed()
        started_at = time.perf_counter()
        async with anyio.create_task_group() as group:
            for number in range(TASKS):
                group.start_soon(_put_entries, journal, kind, f"{name}-{number}", started_at + seconds, state)
        return Measurement(len(state.waits) / (time.perf_counter() - started_at), state.waits)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.postgres", description="Measure shared commits.")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    rounds: int = parser.parse_args().rounds
    measurements: dict[str, list[Measurement]] = {kind: [] for kind in KINDS}
    with run_server(durable=True) as to:
        for cycle in range(rounds):
            for kind in random.sample(KINDS, len(KINDS)):
                measurements[kind].append(asyncio.run(measure_puts(to, kind, f"{cycle}-{kind}", SECONDS)))
            with to.admin() as admin:
                admin.execute("TRUNCATE bardge.entries")
    print("| commits | cycles per second | p50 ms | p99 ms |\n|---|---|---|---|")
    for kind in KINDS:
        rate, *tails = (
            statistics.median(figures)
            for figures in zip(
                *((one.rate, one.percentile(0.5), one.percentile(0.99)) for one in measurements[kind]), strict=True
            )
        )
        print(f"| {kind} | {rate:,.0f} | {tails[0]:.1f} | {tails[1]:.1f} |")
    ratios = [
        shared.rate / alone.rate for shared, alone in zip(measurements["shared"], measurements["one each"], strict=True)
    ]
    print(f"\n**{statistics.median(ratios):.1f}** times the rate ({min(ratios):.1f} - {max(ratios):.1f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
