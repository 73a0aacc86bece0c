"""What sharing commits gains in PostgreSQL: ``python -m benchmarks.postgres [--rounds N]``.

Starts a private server that waits for the disk (fsync on). 200 tasks put an intent and an outcome again and again, with a
commit for all that wait and with one for each; then whole turns: claim, intent, outcome, release. Each round plays all
directly one after the other, in random order.
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
from benchmarks.journal import Played
from tests.support.postgres import Server, server

TASKS: Final = 200
SECONDS: Final = 2.0
BODY: Final = b'{"client_id": "client_abc123", "package_id": "cpkg_50"}'
KINDS: Final = ("one each", "shared", "whole turns")


@attrs.define
class _Play:
    """A play under way: the milliseconds of its turns, and who may put alone."""

    waits: list[float] = attrs.field(factory=list[float])
    alone: anyio.Lock = attrs.field(factory=anyio.Lock)


def _sent(key: str, clock: SystemClock) -> JournalEntry:
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


async def _task(journal: PostgresJournal, kind: str, number: str, until: float, played: _Play) -> None:
    clock, turn = SystemClock(), 0
    while (begun := time.perf_counter()) < until:
        sent = _sent(f"order-{number}-{turn}", clock)
        done = attrs.evolve(sent, state=EntryState.DONE, answer=RecordedResponse(201, BODY, "req_1"))
        if kind == "whole turns":
            await journal.claim(sent.identity, 60, clock)
        for record in (sent, done):
            if kind == "one each":
                async with played.alone:
                    await journal.put(record)
            else:
                await journal.put(record)
        if kind == "whole turns":
            journal.release(sent.identity)
        played.waits.append((time.perf_counter() - begun) * 1000)
        turn += 1


async def play(to: Server, kind: str, name: str, seconds: float) -> Played:
    """Let 200 tasks put for a while."""
    played = _Play()
    async with PostgresJournal(to.dsn) as journal:
        await journal.listed()
        begun = time.perf_counter()
        async with anyio.create_task_group() as group:
            for number in range(TASKS):
                group.start_soon(_task, journal, kind, f"{name}-{number}", begun + seconds, played)
        return Played(len(played.waits) / (time.perf_counter() - begun), played.waits)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.postgres", description="Measure shared commits.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of plays")
    rounds: int = parser.parse_args().rounds
    plays: dict[str, list[Played]] = {kind: [] for kind in KINDS}
    with server(durable=True) as to:
        for turn in range(rounds):
            for kind in random.sample(KINDS, len(KINDS)):
                plays[kind].append(asyncio.run(play(to, kind, f"{turn}-{kind}", SECONDS)))
            with to.admin() as admin:
                admin.execute("TRUNCATE bardge.entries")
    print("| commits | turns a second | p50 ms | p99 ms |\n|---|---|---|---|")
    for kind in KINDS:
        rate, *tails = (
            statistics.median(figures)
            for figures in zip(*((one.rate, one.at(0.5), one.at(0.99)) for one in plays[kind]), strict=True)
        )
        print(f"| {kind} | {rate:,.0f} | {tails[0]:.1f} | {tails[1]:.1f} |")
    ratios = [shared.rate / alone.rate for shared, alone in zip(plays["shared"], plays["one each"], strict=True)]
    print(f"\n**{statistics.median(ratios):.1f}** times the rate ({min(ratios):.1f} - {max(ratios):.1f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
