"""A process that writes to a journal while a thread of it copies the journal's files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from bardge_async import EntryState, JournalEntry, KeyIdentity, RecordedResponse, SQLiteJournal
from bardge_async._core.window import ClockReading
from campaigns.crash.worker import Notes

_FILES: Final = ("", "-wal", "-shm", "-lock")
_TASKS: Final = 8
_BODY: Final = b'{"client_id": "client_abc123", "package_id": "cpkg_50"}' * 8


def write(folder: Path, name: str, pause: float) -> None:
    """Write entries until killed; note each once it is acknowledged."""
    threading.Thread(target=_copy_files, args=(folder, name, pause), daemon=True).start()
    asyncio.run(_write_entries(folder, name))


def _copy_files(folder: Path, name: str, pause: float) -> None:
    target = folder / f"copies-{name}"
    target.mkdir(exist_ok=True)
    while True:
        for end in _FILES:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(folder / f"journal.db{end}", target / f"journal.db{end}")
        time.sleep(pause)


async def _write_entries(folder: Path, name: str) -> None:
    notes = Notes(folder / "acknowledged")
    numbers = iter(range(1_000_000_000))
    while True:
        # Closing moves the log into the file if no other process has the journal open.
        with SQLiteJournal(folder / "journal.db") as journal:
            await asyncio.gather(*(_write_some(journal, name, numbers, notes) for _ in range(_TASKS)))


async def _write_some(journal: SQLiteJournal, name: str, numbers: Iterator[int], notes: Notes) -> None:
    for _ in range(40):
        now = ClockReading(time.time(), time.monotonic(), time.time())
        identity = KeyIdentity("https://api.example/v3", "", f"{name}-{os.getpid()}-{next(numbers)}")
        url = "https://api.example/v3/credit_purchases"
        sent = JournalEntry(
            identity,
            "credits.purchase",
            url,
            "v1:1",
            _BODY,
            given=True,
            state=EntryState.SENT,
            first_sent=now,
            last_sent=now,
        )
        await journal.put(sent)
        await journal.put(attrs.evolve(sent, state=EntryState.DONE, answer=RecordedResponse(201, _BODY, "req_1")))
        notes.write(identity.key)
