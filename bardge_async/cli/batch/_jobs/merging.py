"""Merge the journals of one job that was run under two spellings of its server's base URL."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path
from typing import Final

import anyio

from bardge_async._core.entry import JournalEntry, KeyIdentity
from bardge_async._journal.spellings import choose_binding_entry
from bardge_async._journal.sqlite import SQLiteJournal

_BATCH: Final = 1000
"""Entries written together: they share a commit."""


def merge_journals(source: Path, target: Path) -> None:
    """Add the entries of one journal file to another; of a key in both, the entry that binds more stays.

    Raises:
        JournalError: One of the files cannot be used.
    """
    # Opening them gives the entries of both the same spelling.
    with SQLiteJournal(source) as old, SQLiteJournal(target) as new:
        anyio.run(_copy_entries, old, new)


async def _copy_entries(source: SQLiteJournal, target: SQLiteJournal) -> None:
    known: dict[KeyIdentity, JournalEntry] = {entry.identity: entry for entry in await target.listed()}
    missing = (entry for entry in await source.listed() if _binds_more(entry, known.get(entry.identity)))
    while batch := list(islice(missing, _BATCH)):
        await asyncio.gather(*map(target.put, batch))


def _binds_more(entry: JournalEntry, rival: JournalEntry | None) -> bool:
    return rival is None or choose_binding_entry(rival, entry) is entry
