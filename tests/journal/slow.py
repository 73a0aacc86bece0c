"""A user's own journal over any store, whose writes take time, fail, or wait until they are cancelled."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import anyio
import attrs

from bardge_async import Clock, Journal, JournalEntry, KeyIdentity, errors
from bardge_async.testing import ManualClock
from tests.journal.factories import Opener

Delay: TypeAlias = Callable[[], Awaitable[None]]
"""What happens before an entry reaches the store; a cancelled delay drops the write."""


@attrs.define(eq=False)
class SlowJournal:
    """Pass everything to another journal; the next writes wait for the delays, in order."""

    inner: Journal
    delays: list[Delay]
    instant: bool = False
    highest: float = 0.0

    @property
    def forgotten(self) -> float:
        return self.inner.forgotten

    async def claim(self, identity: KeyIdentity, timeout: float, clock: Clock) -> JournalEntry | None:
        entry = await self.inner.claim(identity, timeout, clock)
        self.highest = self.inner.highest
        return entry

    def release(self, identity: KeyIdentity) -> None:
        self.inner.release(identity)

    async def put(self, entry: JournalEntry) -> None:
        if self.delays:
            await self.delays.pop(0)()
        await self.inner.put(entry)
        self.highest = self.inner.highest

    async def remove(self, identity: KeyIdentity) -> None:
        await self.inner.remove(identity)

    async def overtaken(self, entry: JournalEntry) -> bool:
        return await self.inner.overtaken(entry)

    async def unfinished(self, base_url: str, account: str) -> list[JournalEntry]:
        return await self.inner.unfinished(base_url, account)

    def entries(self, *, unfinished: bool = False) -> AsyncIterator[JournalEntry]:
        return self.inner.entries(unfinished=unfinished)

    async def since(self, entry: JournalEntry) -> list[JournalEntry]:
        return await self.inner.since(entry)


def slow_down(opener: Opener, delays: list[Delay]) -> Opener:
    """Return an opener whose journals wait for the delays before they store an entry."""

    @asynccontextmanager
    async def open_journal() -> AsyncGenerator[Journal]:
        async with opener() as journal:
            yield SlowJournal(journal, delays)

    return open_journal


async def pass_by() -> None:
    """Let a write through."""


async def fail_to_write() -> None:
    """Fail a write."""
    raise errors.JournalError("the disk is full")


def take_seconds(clock: ManualClock, seconds: float) -> Delay:
    """Let a write take a number of seconds."""

    async def wait() -> None:
        clock.advance(seconds)

    return wait


def wait_forever(reached: anyio.Event) -> Delay:
    """Let a write wait until it is cancelled; ``reached`` is set when it begins."""

    async def wait() -> None:
        reached.set()
        await anyio.sleep_forever()

    return wait
