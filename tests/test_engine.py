"""The call loop against a real server on loopback, with injected time."""

from __future__ import annotations

import pytest

from bardge_async import BardgeClient, OutcomeUnknownError, PurchaseCredits
from tests.support.clock import ManualClock
from tests.support.server import ScriptedServer, cut, error, reply

PURCHASE = PurchaseCredits(client_id="c", package_id="p")


@pytest.mark.asyncio
async def test_cut_post_is_repeated_with_the_same_key_and_bytes() -> None:
    """A POST whose connection breaks goes out again with the same key and bytes."""
    async with (
        ScriptedServer(cut(), reply(200, {"balance": 5})) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        await bardge.credits.purchase(PURCHASE)
    first, second = server.requests
    assert (first.headers["idempotency-key"], first.body) == (second.headers["idempotency-key"], second.body)


@pytest.mark.asyncio
async def test_server_error_ends_a_charging_post() -> None:
    """A 5xx with the API's error object ends a charging POST as outcome unknown, at once."""
    async with (
        ScriptedServer(error(500)) as server,
        BardgeClient("key", server.base_url, clock=ManualClock()) as bardge,
    ):
        with pytest.raises(OutcomeUnknownError):
            await bardge.credits.purchase(PURCHASE)
    assert len(server.requests) == 1
