"""Under trio a call says that it needs asyncio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from bardge_async import BardgeClient, ConfigurationError, SQLiteJournal
from tests.batch.operations import make_purchases
from tests.support.rig import PURCHASE


async def _purchase(bardge: BardgeClient) -> None:
    await bardge.credits.purchase(PURCHASE)


async def _read_list(bardge: BardgeClient) -> None:
    async for _ in bardge.bookings.list_for_client("c"):
        pass


async def _map_list(bardge: BardgeClient) -> None:
    async for _ in bardge.bookings.list_for_client("c").map(_ignore):
        pass


async def _run_batch(bardge: BardgeClient) -> None:
    async with bardge.batch(make_purchases(1), job="j") as batch:
        async for _ in batch:
            pass


async def _ignore(_: object) -> None:
    pass


@pytest.mark.parametrize("use", [_purchase, _read_list, _map_list, _run_batch])
def test_the_first_call_says_so(use: Callable[[BardgeClient], Awaitable[None]]) -> None:
    """Calls, walks, maps and batches raise a ConfigurationError of one sentence that names asyncio."""

    async def main() -> None:
        async with BardgeClient("key", "http://127.0.0.1:1") as bardge:
            await use(bardge)

    with pytest.raises(ConfigurationError, match=r"^bardge_async needs asyncio .* running here$"):
        trio.run(main)


def test_a_journal_on_disk_says_so(tmp_path: Path) -> None:
    """Reading doubts from a journal on disk raises it, too."""

    async def main(journal: SQLiteJournal) -> None:
        async with BardgeClient("key", "http://127.0.0.1:1", journal=journal) as bardge:
            await bardge.in_doubt()

    with SQLiteJournal(tmp_path / "journal.db") as journal, pytest.raises(ConfigurationError, match="needs asyncio"):
        trio.run(main, journal)
