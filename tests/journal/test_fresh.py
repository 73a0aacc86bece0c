"""Keys that the client makes: they are locked like any other, but their records are not looked up."""

from __future__ import annotations

from pathlib import Path

import pytest

from bardge_async import BardgeClient, Clock, JournalEntry, KeyIdentity, RetryPolicy, SQLiteJournal, errors
from bardge_async.testing import ManualClock
from tests.journal.factories import KEY
from tests.support.rig import PURCHASE
from tests.support.server import ScriptedServer, cut, reply


class Asked(SQLiteJournal):
    """A journal that records which keys are looked up."""

    keys: tuple[str, ...] = ()

    async def claim(self, identity: KeyIdentity, timeout: float, clock: Clock) -> JournalEntry | None:
        self.keys += (identity.key,)
        return await super().claim(identity, timeout, clock)


async def test_a_fresh_key_is_not_looked_for(tmp_path: Path) -> None:
    """A POST under a newly made key is recorded without reading the file."""
    async with ScriptedServer(reply(201, {"balance": 5})) as server:
        with Asked(tmp_path / "journal.db") as journal:
            async with BardgeClient("key", server.base_url, journal=journal) as bardge:
                await bardge.credits.purchase(PURCHASE)
            assert (len(await journal.listed()), journal.keys) == (1, ())


async def test_a_fresh_key_in_doubt_is_looked_for(tmp_path: Path) -> None:
    """Recovering a POST under a key that the client made continues from its record, as for any other key."""
    options = {"retry": RetryPolicy(max_attempts=1), "clock": ManualClock()}
    async with ScriptedServer(cut(), reply(201, {"balance": 5})) as server:
        with Asked(tmp_path / "journal.db") as journal:
            async with BardgeClient("key", server.base_url, journal=journal, **options) as bardge:  # type: ignore[arg-type]
                with pytest.raises(errors.OutcomeUnknownError) as caught:
                    await bardge.credits.purchase(PURCHASE)
                (recovered,) = await bardge.recover()
            assert (recovered.error, journal.keys) == (None, (caught.value.idempotency_key,))


def test_one_holder(tmp_path: Path) -> None:
    """A fresh key has one holder at a time, until it is released."""
    with SQLiteJournal(tmp_path / "journal.db") as journal, SQLiteJournal(tmp_path / "journal.db") as other:
        held = [journal.hold_fresh(KEY), other.hold_fresh(KEY)]
        journal.release(KEY)
        assert (held, other.hold_fresh(KEY)) == ([True, False], True)
