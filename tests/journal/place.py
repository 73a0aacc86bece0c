"""A server and any number of clients over one store, on one clock."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest

from bardge_async import BardgeClient, EntryState, JournalEntry, KeyIdentity, errors
from bardge_async import models as m
from bardge_async.testing import ManualClock
from tests.journal.factories import Opener
from tests.support.rig import AT_ONCE, PURCHASE
from tests.support.server import ScriptedServer, Step


@attrs.frozen
class Place:
    """A server, a clock and a store with its clients; ``bardge`` is the first client."""

    server: ScriptedServer
    clock: ManualClock
    bardge: BardgeClient
    opener: Opener
    stack: AsyncExitStack

    @property
    def request_count(self) -> int:
        return len(self.server.requests)

    @property
    def keys(self) -> list[str | None]:
        return [request.headers.get("idempotency-key") for request in self.server.requests]

    async def open_another(self, base_url: str | None = None, *, api_key: str = "key2", **options: Any) -> BardgeClient:
        """Open one more client over the same store, as another worker has."""
        options = {"clock": self.clock, "base_url": base_url or self.server.base_url, "api_key": api_key, **options}
        return await _open_client(self.stack, self.opener, options)

    async def read_record(self, key: str = "order-1", *, account: str = "") -> JournalEntry | None:
        """Return the record of a key."""
        async with self.opener() as journal:
            identity = KeyIdentity(self.server.base_url, account, key)
            found = await journal.claim(identity, 1.0, self.clock)
            journal.release(identity)
            return found

    async def read_state(self, key: str = "order-1") -> EntryState | None:
        found = await self.read_record(key)
        return None if found is None else found.state


async def _open_client(stack: AsyncExitStack, opener: Opener, options: dict[str, Any]) -> BardgeClient:
    journal = await stack.enter_async_context(opener())
    settings: dict[str, Any] = {"retry": AT_ONCE, "journal": journal, **options}
    return await stack.enter_async_context(BardgeClient(**settings))


@asynccontextmanager
async def open_place(opener: Opener, *script: Step, api_key: str = "key", **options: Any) -> AsyncGenerator[Place]:
    """Run a scripted server with a client over a fresh store."""
    clock = ManualClock()
    async with ScriptedServer(*script) as server, AsyncExitStack() as stack:
        options = {"clock": clock, "base_url": server.base_url, "api_key": api_key, **options}
        bardge = await _open_client(stack, opener, options)
        yield Place(server, clock, bardge, opener, stack)


async def buy(bardge: BardgeClient, key: str = "order-1", request: m.PurchaseCredits = PURCHASE) -> m.CreditPurchase:
    """Buy credits under a key."""
    async with bardge.idempotent(key) as once:
        return await once.credits.purchase(request)


async def fail_to_buy(
    bardge: BardgeClient, key: str = "order-1", request: m.PurchaseCredits = PURCHASE
) -> errors.BardgeError:
    """Buy credits under a key, and return the error that it ends with."""
    with pytest.raises(errors.BardgeError) as caught:
        await buy(bardge, key, request)
    return caught.value
