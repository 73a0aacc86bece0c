"""The campaign of copies: it passes, and it would notice what it looks for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bardge_async import SQLiteJournal
from campaigns.copies.__main__ import find_missing, main
from campaigns.crash.worker import Notes
from tests.journal.factories import make_done, make_identity, make_sent

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def test_short_campaign() -> None:
    """Nothing is missing after some kills, while the files are copied without a pause."""
    assert main(["--kills", "4", "--pause", "0"]) == 0


def test_missing_entries_are_found(tmp_path: Path) -> None:
    """An entry that was acknowledged and is missing or not done is reported."""

    async def put_two() -> None:
        with SQLiteJournal(tmp_path / "journal.db") as journal:
            await journal.put(make_done(make_sent(make_identity("done"))))
            await journal.put(make_sent(make_identity("sent")))

    asyncio.run(put_two())
    notes = Notes(tmp_path / "acknowledged")
    for key in ("done", "sent", "gone"):
        notes.write(key)
    assert asyncio.run(find_missing(tmp_path)) == ["sent", "gone"]
