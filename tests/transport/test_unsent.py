"""A POST that is cancelled, or runs out of time, before its first byte is written is not sent and leaves no doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio
import pytest

from bardge_async import BardgeClient, ConnectError, MemoryJournal, RetryPolicy, SQLiteJournal
from bardge_async._core.http import WireRequest, WireResponse
from bardge_async._network import AttemptLimits
from bardge_async.testing import ManualClock
from tests.support.cancel import cancel_at
from tests.support.loop import run_loop
from tests.support.net import BALANCE
from tests.support.rig import PURCHASE
from tests.support.server import ScriptedServer, reply

pytestmark = pytest.mark.usefixtures("both_ways")

ONCE: Final = RetryPolicy(max_attempts=1)

GiveUp = Callable[[BardgeClient], Awaitable[None]]


async def _leave_scope(bardge: BardgeClient) -> None:
    with anyio.move_on_after(0):
        await bardge.credits.purchase(PURCHASE)


async def _time_out(bardge: BardgeClient) -> None:
    try:
        async with asyncio.timeout(0):
            await bardge.credits.purchase(PURCHASE)
    except TimeoutError:
        pass


async def _run_late_timer(bardge: BardgeClient) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_later(0, task.cancel)
    try:
        await bardge.credits.purchase(PURCHASE)
    except asyncio.CancelledError:
        task.uncancel()


async def _cancel_own_task(bardge: BardgeClient) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    try:
        await bardge.credits.purchase(PURCHASE)
    except asyncio.CancelledError:
        task.uncancel()


@pytest.mark.parametrize("give_up", [_leave_scope, _time_out, _run_late_timer, _cancel_own_task])
@pytest.mark.parametrize("warm", [False, True])
async def test_what_is_due_comes_before_the_first_byte(give_up: GiveUp, warm: bool) -> None:
    """A call whose time is up when it starts writes nothing, on a new connection and on a kept one."""
    async with (
        ScriptedServer(reply(200, BALANCE)) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        if warm:
            await bardge.clients.get_credits("c")
        await give_up(bardge)
        await run_loop()
        assert (len(server.requests), await bardge.in_doubt()) == (int(warm), [])
        await bardge.credits.purchase(PURCHASE)


@pytest.mark.parametrize(("durable", "awaits"), [(False, 2), (True, 4)])
async def test_cancelled_while_connecting(durable: bool, awaits: int, tmp_path: Path) -> None:
    """Cancelled at any await before the connection is made, a POST leaves no doubt: its key is as good as new."""
    with SQLiteJournal(tmp_path / "journal.db") as on_disk:
        journal = on_disk if durable else MemoryJournal()
        async with ScriptedServer(reply(200, BALANCE)) as server:
            for number in range(1, awaits + 1):
                async with BardgeClient("key", server.base_url, journal=journal) as bardge:
                    call = bardge.send("credits.purchase", request=PURCHASE, key=f"order-{number}")
                    assert await cancel_at(call, number, again=False)
                    assert (await bardge.in_doubt(), server.requests) == ([], [])


class _Cancelled:
    """A transport that is cancelled, with or without proof that nothing was sent."""

    def __init__(self, cause: Exception | None) -> None:
        self._cause = cause

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        raise asyncio.CancelledError from self._cause

    async def aclose(self) -> None:
        pass


@pytest.mark.parametrize(("cause", "count"), [(ConnectError("not yet"), 0), (ValueError("no proof"), 1), (None, 1)])
async def test_a_transport_may_prove_it(cause: Exception | None, count: int) -> None:
    """A cancellation that a transport raises from a ConnectError leaves no doubt; any other does."""
    async with BardgeClient("key", "http://127.0.0.1:1", transport=_Cancelled(cause), retry=ONCE) as bardge:
        with pytest.raises(asyncio.CancelledError):
            await bardge.credits.purchase(PURCHASE)
        assert len(await bardge.in_doubt()) == count
