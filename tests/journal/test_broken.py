"""A failing journal: before the send nothing is sent, after it the response counts more than the record."""

from __future__ import annotations

import logging

import attrs
import pytest

from bardge_async import Clock, EntryState, JournalEntry, KeyIdentity, MemoryJournal, RetryPolicy, errors
from tests.journal.place import buy, fail_to_buy
from tests.support.rig import PURCHASE, open_rig
from tests.support.server import cut, reply

BOUGHT = reply(201, {"balance": 5})


@attrs.define(eq=False)
class Broken(MemoryJournal):
    """Fail to store records of some states, to remove any, or to be read."""

    states: tuple[EntryState, ...] = ()
    readable: bool = True
    removes: bool = True

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    async def claim(self, identity: KeyIdentity, timeout: float, clock: Clock) -> JournalEntry | None:
        if not self.readable:
            raise errors.JournalError("the disk is gone")
        return await super().claim(identity, timeout, clock)

    async def put(self, entry: JournalEntry) -> None:
        if entry.state in self.states:
            raise errors.JournalError("the disk is full")
        await super().put(entry)

    async def remove(self, identity: KeyIdentity) -> None:
        if not self.removes:
            raise errors.JournalError("the disk is full")
        await super().remove(identity)


@pytest.mark.parametrize("journal", [Broken(readable=False), Broken(states=(EntryState.SENT,))], ids=["read", "write"])
async def test_no_record_no_request(journal: Broken) -> None:
    """A key whose record cannot be read, or whose intent cannot be stored, is not sent."""
    async with open_rig(BOUGHT, journal=journal) as it:
        found = await fail_to_buy(it.bardge)
    assert isinstance(found, errors.JournalError)
    assert (found.sent, found.attempts, found.retryable, it.request_count) == (False, 0, True, 0)
    assert (found.endpoint, found.idempotency_key) == ("credits.purchase", "order-1")


async def test_outcome_that_cannot_be_kept(caplog: pytest.LogCaptureFixture) -> None:
    """A response is returned though storing it failed: ``recorded`` is False, and the log says so."""
    async with (
        open_rig(BOUGHT, journal=Broken(states=(EntryState.DONE,))) as it,
        it.bardge.idempotent("order-1") as once,
    ):
        bought = await once.credits.purchase(PURCHASE)
    assert (bought.balance == 5, once.recorded, it.request_count) == (True, False, 1)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "order-1" in caplog.text


async def test_intent_that_cannot_be_removed(caplog: pytest.LogCaptureFixture) -> None:
    """If the intent of a request that never left cannot be removed, the call ends as it would, and the log says so."""
    async with open_rig(BOUGHT, journal=Broken(removes=False), retry=RetryPolicy(max_attempts=1)) as it:
        it.server.refuse()
        found = await fail_to_buy(it.bardge)
        assert [doubt.idempotency_key for doubt in await it.bardge.in_doubt()] == ["order-1"]
    assert (type(found), found.sent) == (errors.ConnectError, False)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert ["credits.purchase" in text and "order-1" in text for text in warnings] == [True]


async def test_unrecorded_outcome_stays_in_doubt() -> None:
    """An operation whose outcome could not be recorded is in doubt past its window, and not sent."""
    async with open_rig(BOUGHT, journal=Broken(states=(EntryState.DONE,))) as it:
        await buy(it.bardge)
        it.clock.advance(85)
        assert isinstance(await fail_to_buy(it.bardge), errors.OutcomeUnknownError)
    assert it.request_count == 1


async def test_doubt_that_cannot_be_recorded_again() -> None:
    """A key in doubt whose record cannot be read on re-entry is not sent, and stays in doubt."""
    journal = Broken()
    async with open_rig(cut(), journal=journal, retry=RetryPolicy(max_attempts=1)) as it:
        await fail_to_buy(it.bardge)
        journal.states = (EntryState.SENT,)
        found = await fail_to_buy(it.bardge)
    assert isinstance(found, errors.OutcomeUnknownError)
    assert (type(found.last_error), it.request_count) == (errors.JournalError, 1)
