"""The client's side: its clocks, journal and client, which may all be opened again, mostly in another boot."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import attrs

from bardge_async import BardgeClient
from bardge_async._core.http import WireRequest, WireResponse
from bardge_async._journal import Journal, MemoryJournal
from bardge_async._network import AttemptLimits
from bardge_async._network.aiohttp_transport import AiohttpTransport
from bardge_async.errors import ConnectError
from campaigns.window.clocks import ClientClock, WallClock
from campaigns.window.operations import Delivery
from campaigns.window.setup import Setup
from tests.journal.inline import InlineJournal

CURRENT: Final[contextvars.ContextVar[Delivery | None]] = contextvars.ContextVar("delivery", default=None)
_PROBED: Final = "/passes?limit=1"


class Recorder:
    """Wrap the real transport; tell the server which delivery a request belongs to, and when it was sent."""

    def __init__(self, clock: ClientClock, played: Counter[str], requests: Counter[int], *, random_key: bool) -> None:
        self._requests = requests
        self._inner = AiohttpTransport(clock)
        self._clock = clock
        self._played = played
        self._random = random.Random(1) if random_key else None
        self._probed_at: dict[int, float] = {}

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        """Send a request; those of ``recover()`` belong to no delivery, and probes do not count."""
        delivery = CURRENT.get()
        number = 0 if delivery is None else delivery.number
        is_probe = request.url.endswith(_PROBED)
        headers = {
            **request.headers,
            "X-Delivery": str(0 if is_probe else number),
            "X-Sent": repr(self._sent_at(number)),
        }
        if delivery is None or delivery.is_cancelled:
            headers["X-Fragile"] = "1"
        if self._random is not None and "Idempotency-Key" in headers:
            headers["Idempotency-Key"] = f"{self._random.random()}"
        self._requests[number] += not is_probe
        try:
            response = await self._inner.send(attrs.evolve(request, headers=headers), limits)
        except ConnectError:
            self._played["refuse"] += 1
            raise
        if is_probe:
            self._probed_at[number] = asyncio.get_running_loop().time()
        return response

    def _sent_at(self, number: int) -> float:
        """Return the time at which a request was decided on: before a pause since its probe."""
        now, paused_at = asyncio.get_running_loop().time(), self._clock.paused_at
        return paused_at if paused_at >= self._probed_at.pop(number, float("inf")) else now

    async def aclose(self) -> None:
        await self._inner.aclose()


class Machine:
    """What a process of the client consists of; ``boots`` counts its reboots."""

    def __init__(
        self,
        setup: Setup,
        base_url: str,
        played: Counter[str],
        journal: Journal | None = None,
        path: Path | None = None,
    ) -> None:
        self.requests: Counter[int] = Counter()
        self.clock: ClientClock = WallClock() if setup.control == "wall-clock" else ClientClock()
        self.boots = 0
        self.highest_of_earlier_boots = 0.0
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.calls: set[asyncio.Future[object]] = set()
        self._users = 0
        self._is_unused = asyncio.Event()
        self._setup = setup
        self._base_url = base_url
        self._played = played
        self._path = path
        self._given = journal
        self._open()

    def _open(self) -> None:
        setup = self._setup
        self.journal: Journal = self._given or (MemoryJournal() if self._path is None else InlineJournal(self._path))
        random_key = setup.control == "random-key"
        self.client = BardgeClient(
            "key",
            self._base_url,
            timeout=setup.timeouts,
            retry=setup.policy,
            window=setup.window,
            journal=self.journal,
            transport=Recorder(self.clock, self._played, self.requests, random_key=random_key),
            max_connections=setup.connections,
            clock=self.clock,
        )

    @contextlib.asynccontextmanager
    async def used(self) -> AsyncGenerator[None]:
        """Use client and journal: they stay the same meanwhile."""
        while not self.is_open.is_set():
            await self.is_open.wait()
        self._users += 1
        self._is_unused.clear()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._is_unused.set()

    async def shut_down(self, *, cancel: bool) -> None:
        """End the process: cancel the calls in flight, or let them finish, and start no others."""
        self.is_open.clear()
        if cancel:
            for call in self.calls:
                call.cancel()
        if self._users:
            await self._is_unused.wait()
        await self.client.aclose()
        self.close_journal()

    def close_journal(self) -> None:
        if isinstance(self.journal, InlineJournal):
            self.journal.close()

    def reopen(self) -> None:
        """Start another process in the same boot."""
        self._open()

    def reboot(self, booted_at: float) -> None:
        """Start another process in another boot."""
        self.boots += 1
        self.highest_of_earlier_boots = self.journal.highest
        self.clock = ClientClock(f"boot-{self.boots}", booted_at, self.clock.skew)
        self._open()
