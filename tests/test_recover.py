"""What ``recover`` sends again, and what it leaves alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bardge_async import BardgeClient, EntryState, KeyIdentity, SQLiteJournal
from bardge_async.testing import ManualClock
from tests.test_reconcile import ONCE, Stage, open_stage, read_state


def count_charges(it: Stage, key: str = "order-1") -> int:
    return sum(entry.idempotency_key == key for entry in it.sandbox.ledger("client_abc123"))


@pytest.mark.parametrize("happened", [False, True])
async def test_recover(tmp_path: Path, *, happened: bool) -> None:
    """A doubt whose window is open is sent again under its key: one charge, done."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=happened)
        [one] = await it.bardge.recover()
        assert one.response is not None
        assert (one.idempotency_key, one.endpoint, one.error) == ("order-1", "credits.purchase", None)
        assert (one.response.replayed == "server") is happened
        assert (count_charges(it), await read_state(it)) == (1, EntryState.DONE)
        assert await it.bardge.recover() == []


async def test_window_closed(tmp_path: Path) -> None:
    """A doubt whose window has closed is left alone."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True)
        it.pass_time(79.5)
        assert await it.bardge.recover() == []
        assert (count_charges(it), await read_state(it)) == (1, EntryState.SENT)


async def test_recovered_in_vain(tmp_path: Path) -> None:
    """A retry that is cut again is reported with its error, and stays in doubt."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=False)
        it.sandbox.cut_before("credits.purchase")
        [one] = await it.bardge.recover()
        assert (type(one.error).__name__, one.response) == ("OutcomeUnknownError", None)
        assert await read_state(it) is EntryState.SENT


async def test_held_keys_are_left_alone(tmp_path: Path) -> None:
    """A key that a live call holds is left alone."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=True)
        identity = KeyIdentity(it.sandbox.base_url, "", "order-1")
        with SQLiteJournal(it.journal.path) as other:
            await other.claim(identity, 0, ManualClock())
            assert await it.bardge.recover() == []
            other.release(identity)
        assert len(await it.bardge.recover()) == 1


async def test_many_at_once(tmp_path: Path) -> None:
    """Many tasks and journals that recover concurrently send each doubt at most once more, and charge it once."""
    async with open_stage(tmp_path) as it:
        for number in range(8):
            await it.leave_doubt(f"order-{number}", happened=number % 2 == 0)
        before = len(it.sandbox.requests)
        with SQLiteJournal(it.journal.path) as journal:
            key, url = it.sandbox.api_key, it.sandbox.base_url
            async with BardgeClient(key, url, journal=journal, clock=it.clock, retry=ONCE) as other:
                rounds = await asyncio.gather(*(client.recover() for client in (it.bardge, other) for _ in range(5)))
        sent = len(it.sandbox.requests) - before
        assert {one.error for found in rounds for one in found} == {None}
        assert sent == 8
        assert [count_charges(it, f"order-{number}") for number in range(8)] == [1] * 8


async def test_accounts_apart(tmp_path: Path) -> None:
    """Only the client's own account is recovered."""
    async with open_stage(tmp_path) as it:
        await it.leave_doubt(happened=False)
        assert await it.bardge.with_options(account="other").recover() == []
