"""``python -m campaigns.copies``: exits with 1 if an acknowledged entry is missing or the journal is damaged."""

# ruff: noqa: T201 - a command
from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from bardge_async import EntryState, SQLiteJournal
from campaigns.copies.writer import write
from campaigns.crash.worker import noted

FORK: Final = multiprocessing.get_context("fork")
_STUCK: Final = 60.0


def count_notes(folder: Path) -> int:
    """Count the acknowledged entries."""
    path = folder / "acknowledged"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def run_writers(folder: Path, kills: int, rng: random.Random, pause: float) -> list[str]:
    """Keep two processes writing, and kill one or both again and again; return what went wrong."""
    wrong: list[str] = []
    running: dict[str, Any] = {}
    for kill in range(kills):
        for name in ("a", "b"):
            if name not in running:
                running[name] = FORK.Process(target=write, args=(folder, name, pause))
                running[name].start()
        before, deadline = count_notes(folder), time.monotonic() + _STUCK
        wanted = before + rng.randint(1, 60)
        while count_notes(folder) < wanted and time.monotonic() < deadline:
            time.sleep(0.002)
        if count_notes(folder) < wanted:
            wrong.append(f"before kill {kill}: nothing was written for {_STUCK:g} s")
        time.sleep(rng.random() * 0.01)
        for name in rng.choice([["a"], ["b"], ["a", "b"]]):
            process = running.pop(name)
            process.kill()
            process.join()
            if process.exitcode != -9:
                wrong.append(f"writer {name} exited with {process.exitcode}")
    for process in running.values():
        process.kill()
        process.join()
    return wrong


async def find_missing(folder: Path) -> list[str]:
    """Return the acknowledged keys that the journal does not have as done."""
    with SQLiteJournal(folder / "journal.db") as journal:
        done = {entry.identity.key for entry in await journal.listed() if entry.state is EntryState.DONE}
    return [words[0] for words in noted(folder / "acknowledged") if words[0] not in done]


def main(arguments: Sequence[str]) -> int:
    """Run the campaign and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.copies", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two copies")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder, begun = Path(name), time.monotonic()
        wrong = run_writers(folder, given.kills, random.Random(given.seed), given.pause)
        missing = asyncio.run(find_missing(folder))
        with closing(sqlite3.connect(folder / "journal.db")) as database:
            verdict = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
        print(
            f"{count_notes(folder)} acknowledged entries, {given.kills} kills, {time.monotonic() - begun:.0f} s: "
            f"{len(missing)} missing, integrity {verdict}, {len(wrong)} errors",
            *missing[:5],
            *wrong[:10],
            sep="\n",
        )
    return 1 if missing or wrong or verdict != "ok" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
