"""The fault server: real sockets; at most one fault per request, drawn from seed, operation and order."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, Final, Self

import attrs

from campaigns.window.exchange import Exchange, reset
from campaigns.window.faults import well
from campaigns.window.ledger import Received, Rules, Store
from campaigns.window.plays import FORGETTING, PLAYS, REFUSING

_PORTS: Final = range(20_000, 32_000)
"""Below the range of ephemeral ports: a port that we close is not taken by an outgoing connection."""


@attrs.frozen
class Plan:
    """The faults: each request gets one of ``kinds`` with probability ``rate``."""

    seed: str
    kinds: tuple[str, ...] = ()
    rate: float = 0.5
    first: int = 1_000_000
    """How many requests of one operation may get a fault."""
    accept_reset: float = 0.0
    slowest: float = 15.0
    dates: bool = True
    """Whether answers tell the server's time."""


class FaultServer:
    """Serve the endpoints that the campaign uses, with faults; ``store`` knows what really happened."""

    def __init__(self, plan: Plan, rules: Rules) -> None:
        loop = asyncio.get_running_loop()
        self.plan = plan
        self.store = Store(rules, loop.time)
        self.played: Counter[str] = Counter()
        self.history: dict[str, list[str]] = {}
        self.port = 0
        self._loop = loop
        self.arrived: Counter[int] = Counter()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._open: dict[asyncio.StreamWriter, Received | None] = {}
        self._seen: Counter[str] = Counter()
        self._pending: Counter[str | None] = Counter()
        self._connections = random.Random(f"{plan.seed}/connections")
        self._places = random.Random()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.finish()

    async def finish(self) -> None:
        """Stop listening; requests in flight run to completion: a late request is late, not lost."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            reset(writer)
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    @property
    def idle(self) -> int:
        """Number of open connections without a request."""
        return sum(request is None for request in self._open.values())

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _listen(self) -> None:
        while True:
            port = self.port or self._places.choice(_PORTS)
            try:
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            self.port = port
            return

    async def outage(self, seconds: float, *, hard: bool) -> None:
        """Stop listening for a while; reset all connections if ``hard``, otherwise the idle ones."""
        assert self._server is not None
        self._server.close()
        for writer, request in list(self._open.items()):
            if hard and request is not None:
                self.played["restart"] += 1
                self.note(request.business, request.delivery, "server restarts")
            if hard or request is None:
                reset(writer)
        await asyncio.sleep(seconds)
        await self._listen()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open[writer] = None
        try:
            if self._connections.random() < self.plan.accept_reset:
                self.played["accept_reset"] += 1
                return
            while not writer.is_closing() and (request := await _read(reader)) is not None:
                self._open[writer] = request
                await self._play(request, reader, writer)
                self._open[writer] = None
        except ConnectionError:
            pass
        finally:
            del self._open[writer]
            self._tasks.discard(task)
            if not writer.is_closing():
                reset(writer)

    async def _play(self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        business = request.business
        self._seen[business] += 1
        rng = random.Random(f"{self.plan.seed}/{business}/{self._seen[business]}")
        kind = self._draw(request, rng)
        self._pending[request.key] += 1
        exchange = Exchange(request, reader, writer, self.store, rng, self.plan.slowest, self.plan.dates)
        self.note(business, request.delivery, f"server plays {kind or 'well'}")
        self.arrived[request.delivery] += 1
        try:
            await (PLAYS[kind] if kind else well)(exchange)
        finally:
            self._pending[request.key] -= 1

    def _draw(self, request: Received, rng: random.Random) -> str | None:
        plan = self.plan
        if not plan.kinds or rng.random() >= plan.rate or self._seen[request.business] > plan.first:
            return None
        kind = rng.choice(plan.kinds)
        # The handler forgets its own work: this is safe only if the response arrives and no other request waits.
        if kind in FORGETTING and (request.fragile or self._pending[request.key]):
            return None
        # A refusal is true only if no other request of the operation is still to be handled.
        if kind in REFUSING and self._pending[request.key]:
            return None
        self.played[kind] += 1
        return kind

    def note(self, business: str, delivery: int, what: str) -> None:
        """Add a line to an operation's history."""
        self.history.setdefault(business, []).append(f"{self._loop.time():10.3f}  delivery {delivery}: {what}")


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text[:-4].split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    method, target, _ = first.split(" ", 2)
    return Received(
        method=method,
        path=target.partition("?")[0],
        key=headers.get("idempotency-key"),
        body=body,
        delivery=int(headers.get("x-delivery", "0")),
        sent_at=float(headers.get("x-sent", "0")),
        fragile="x-fragile" in headers,
    )
