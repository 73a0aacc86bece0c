"""Merge the journals of one job that was run under two spellings of its server's base URL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import anyio

from bardge_async._core.entry import JournalEntry
from bardge_async._journal.spellings import choose_binding_entry
from bardge_async._journal.sqlite import SQLiteJournal
from bardge_async._runtime.clock import SystemClock

_BATCH: Final = 1000
"""Entries written together: they share a commit."""


def merge_journals(source: Path, target: Path) -> None:
    """Add the entries of one journal file to another; of a key in both, the entry that binds more stays.

    Raises:
        JournalError: One of the files cannot be used.
        KeyInUseError: A process is working on one of the keys.
    """
    # Opening them gives the entries of both the same spelling.
    with SQLiteJournal(source) as old, SQLiteJournal(target) as new:
        anyio.run(_copy_entries, old, new)


async def _copy_entries(source: SQLiteJournal, target: SQLiteJournal) -> None:
    batch: list[JournalEntry] = []
    async for entry in source.entries():
        batch.append(entry)
        if len(batch) == _BATCH:
            await _copy_batch(batch, target)
            batch.clear()
    await _copy_batch(batch, target)


async def _copy_batch(batch: Iterable[JournalEntry], target: SQLiteJournal) -> None:
    await asyncio.gather(*(_copy_entry(entry, target) for entry in batch))


async def _copy_entry(entry: JournalEntry, target: SQLiteJournal) -> None:
    rival = await target.claim(entry.identity, 0, SystemClock())
    try:
        if rival is None or choose_binding_entry(rival, entry) is entry:
            await target.put(entry)
    finally:
        target.release(entry.identity)
