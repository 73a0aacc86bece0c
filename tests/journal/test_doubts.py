"""Doubts on every store: listed, sent again and settled by another client than the one that left them."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import anyio
import pytest

from bardge_async import BardgeClient, DoubtVerdict, EntryState, Finding, RetryPolicy, errors
from tests.journal.factories import Opener
from tests.journal.place import Place, buy, fail_to_buy, open_place
from tests.journal.slow import Delay, fail_to_write, pass_by, slow_down
from tests.support.rig import OTHER, PURCHASE
from tests.support.server import cut, error, hang, reply

BOUGHT = reply(201, {"balance": 5})
ONE = RetryPolicy(max_attempts=1, base=0)


async def list_keys(bardge: BardgeClient) -> list[str]:
    return [doubt.idempotency_key for doubt in await bardge.in_doubt()]


async def leave_doubts(it: Place, *keys: str) -> None:
    """Leave purchases in doubt, a second apart, each with its key released in the store."""
    for key in keys:
        assert isinstance(await fail_to_buy(it.bardge, key), errors.OutcomeUnknownError)
        assert await it.read_state(key) is EntryState.SENT
        it.clock.advance(1)


async def resolve(bardge: BardgeClient, key: str, **way: Any) -> None:
    """Resolve a doubt; a key that a call has just released may be in use until the database has stored that."""
    async with asyncio.timeout(5):
        while True:
            try:
                await bardge.resolve(key, **way)
            except errors.KeyInUseError:
                await asyncio.sleep(0)
            else:
                return


async def test_listed(opener: Opener) -> None:
    """Every client of the account lists what is in doubt, oldest first, with its request; no other account does."""
    async with open_place(opener, cut(), retry=ONE) as it:
        await leave_doubts(it, "order-2", "order-1")
        [first, second] = await (await it.open_another()).in_doubt()
        assert await list_keys(await it.open_another(account="b")) == []
    assert (first.idempotency_key, second.idempotency_key) == ("order-2", "order-1")
    assert (first.request, first.recoverable) == ({"client_id": "client_abc123", "package_id": "cpkg_50"}, True)
    assert second.first_sent_at - first.first_sent_at == dt.timedelta(seconds=1)


async def test_in_flight_is_not_listed(opener: Opener) -> None:
    """A call that waits for its answer is not in doubt: no client lists, recovers or resolves it."""
    reached = anyio.Event()
    async with open_place(opener, hang(reached)) as it:
        other = await it.open_another()
        task = asyncio.ensure_future(buy(it.bardge))
        await reached.wait()
        assert (await list_keys(other), await other.recover()) == ([], [])
        with pytest.raises(errors.KeyInUseError):
            await other.resolve("order-1", never_happened=True)
        task.cancel()
        await asyncio.wait([task])
        assert await it.read_state() is EntryState.SENT


async def test_settled_is_not_listed(opener: Opener) -> None:
    """What was answered, refused or not sent is not in doubt."""
    async with open_place(opener, BOUGHT, error(400, "invalid_request_error"), error(429), retry=ONE) as it:
        await buy(it.bardge)
        await fail_to_buy(it.bardge, "order-2")
        await fail_to_buy(it.bardge, "order-3")
        it.server.refuse()
        await fail_to_buy(await it.open_another(), "order-4")
        assert await list_keys(it.bardge) == []


async def test_recovered(opener: Opener) -> None:
    """A doubt inside its window is sent again by another client, under its key and with its bytes, and is done."""
    async with open_place(opener, cut(), cut(), BOUGHT, retry=ONE) as it:
        await leave_doubts(it, "order-1", "order-2")
        found = await (await it.open_another()).recover()
        assert {one.idempotency_key: one.error for one in found} == {"order-1": None, "order-2": None}
        assert (await it.read_state("order-1"), await it.read_state("order-2")) == (EntryState.DONE,) * 2
    assert (sorted(map(str, it.keys)), len({request.body for request in it.server.requests})) == (
        ["order-1"] * 2 + ["order-2"] * 2,
        1,
    )


@pytest.mark.parametrize(("later", "count"), [(78, 1), (78.5, 0), (1000, 0)])
async def test_recovered_inside_only(opener: Opener, later: float, count: int) -> None:
    """A doubt with less than a second of its window left is not sent again, and stays in doubt."""
    async with open_place(opener, cut(), BOUGHT, retry=ONE) as it:
        await leave_doubts(it, "order-1")
        it.clock.advance(later)
        assert len(await (await it.open_another()).recover()) == count
        assert len(await list_keys(it.bardge)) == 1 - count
    assert it.request_count == 1 + count


async def test_resolved_as_done(opener: Opener) -> None:
    """A doubt resolved as done is never sent again, whoever enters it."""
    async with open_place(opener, cut(), BOUGHT, retry=ONE) as it:
        await leave_doubts(it, "order-1")
        await resolve(await it.open_another(), "order-1", done=True)
        assert await list_keys(it.bardge) == []
        assert isinstance(await fail_to_buy(it.bardge), errors.AlreadyDoneError)
    assert it.request_count == 1


async def test_resolved_with_a_response(opener: Opener) -> None:
    """A doubt resolved with a response returns it."""
    async with open_place(opener, cut(), BOUGHT, retry=ONE) as it:
        await leave_doubts(it, "order-1")
        await resolve(await it.open_another(), "order-1", done={"balance": 7})
        assert (await buy(it.bardge)).balance == 7
    assert it.request_count == 1


async def test_resolved_as_never_happened(opener: Opener) -> None:
    """A doubt that never happened leaves its key free, for any request and at any time."""
    async with open_place(opener, cut(), BOUGHT, retry=ONE) as it:
        await leave_doubts(it, "order-1")
        it.clock.advance(1000)
        await resolve(await it.open_another(), "order-1", never_happened=True)
        assert await it.read_record() is None
        await buy(it.bardge, request=OTHER)
    assert it.request_count == 2


@pytest.mark.parametrize("way", [{"done": True}, {"never_happened": True}], ids=["done", "never happened"])
async def test_resolve_what_is_settled(opener: Opener, way: dict[str, Any]) -> None:
    """A key that is done, refused or unknown cannot be resolved, and stays what it is."""
    async with open_place(opener, BOUGHT, error(400, "invalid_request_error")) as it:
        await buy(it.bardge)
        await fail_to_buy(it.bardge, "order-2")
        for key in ("order-1", "order-2", "order-3"):
            with pytest.raises(errors.InvalidArgumentError, match="not in doubt"):
                await resolve(it.bardge, key, **way)
        states = [await it.read_state(key) for key in ("order-1", "order-2", "order-3")]
    assert states == [EntryState.DONE, EntryState.REFUSED, None]


async def test_resolve_by_an_old_verdict(opener: Opener) -> None:
    """A verdict about an earlier use of the key settles nothing: the doubt of today is another one."""
    async with open_place(opener, cut(), cut(), retry=ONE) as it:
        await leave_doubts(it, "order-1")
        [doubt] = await it.bardge.in_doubt()
        verdict = DoubtVerdict("order-1", doubt.first_sent_at, Finding.DID_NOT, (), inferred=False)
        await resolve(it.bardge, "order-1", by=verdict)
        await leave_doubts(it, "order-1")
        with pytest.raises(errors.InvalidArgumentError, match="sent again"):
            await resolve(it.bardge, "order-1", by=verdict)
        assert await it.read_state() is EntryState.SENT


async def test_outcome_that_cannot_be_written(opener: Opener) -> None:
    """An answer whose record fails is returned; the key is in doubt, and past its window it is not sent."""
    delays: list[Delay] = [pass_by, fail_to_write]
    async with open_place(slow_down(opener, delays), BOUGHT) as it:
        async with it.bardge.idempotent("order-1") as once:
            assert (await once.credits.purchase(PURCHASE)).balance == 5
        assert (once.recorded, await it.read_state()) == (False, EntryState.SENT)
        assert await list_keys(await it.open_another()) == ["order-1"]
        it.clock.advance(100)
        assert isinstance(await fail_to_buy(it.bardge), errors.OutcomeUnknownError)
    assert it.request_count == 1


async def test_intent_that_cannot_be_written(opener: Opener) -> None:
    """A key whose intent cannot be recorded is not sent, and leaves no record."""
    async with open_place(slow_down(opener, [fail_to_write]), BOUGHT, retry=ONE) as it:
        assert isinstance(await fail_to_buy(it.bardge), errors.JournalError)
        assert (it.request_count, await it.read_record()) == (0, None)
