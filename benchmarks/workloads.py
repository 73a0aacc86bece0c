"""The workloads: what each runs, its contestants, and what it measures.

To add a workload, write a function that returns its figures and add an entry to :data:`WORKLOADS`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Self

from benchmarks import clients, decoding, imports, memory, stub, tasks
from benchmarks.clients import CLIENTS, ITEMS, PEERS, SLOW_ITEMS, Client, installed
from benchmarks.decoding import DECODERS
from benchmarks.imports import IMPORTS

CONCURRENCY: Final = 64

Figures = dict[str, float]
Run = Callable[[str, int, str], Figures]


class WrongAnswerError(Exception):
    """A client returned a wrong value or an incomplete walk: the run is invalid."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """One thing to measure; ``run`` gets the contestant's name, the size and the server's base URL.

    ``figures`` maps what is measured to whether more is better; the first is the main figure. ``request`` is the kind
    of the stub's limit that applies, for workloads that use the network.
    """

    title: str
    run: Run
    figures: dict[str, bool]
    contestants: tuple[str, ...]
    base: str
    quick: int
    full: int
    request: str | None = None


def _run_over_network(work: Callable[[Client, int], Awaitable[Figures]]) -> Run:
    async def run(contestant: str, size: int, base_url: str) -> Figures:
        client = CLIENTS[contestant](base_url)
        try:
            return await work(client, -(-size // 4) if contestant in PEERS else size)
        finally:
            await client.aclose()

    return lambda contestant, size, base_url: asyncio.run(run(contestant, size, base_url))


def _check(got: object, wanted: object) -> None:
    if got != wanted:
        raise WrongAnswerError(f"expected {wanted!r}, got {got!r}")


class _Timer:
    """Measure wall and CPU time of a block."""

    def __enter__(self) -> Self:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu

    def figures(self, count: int) -> Figures:
        """Return the rate, and the CPU time of one."""
        return {"per second": count / self.wall, "CPU us": self.cpu / count * 1e6, "wall": self.wall}


async def _run_walk(client: Client, size: int) -> Figures:
    """Walk the list ``size`` times."""
    last = stub.booking(ITEMS - 1)["id"]
    count = 0
    await client.get(stub.CLIENT)
    with _Timer() as timer:
        for _ in range(size):
            count, got = await client.walk()
            _check((count in {ITEMS, SLOW_ITEMS}, got), (True, last))
    return timer.figures(size * count)


async def _run_concurrently(call: Callable[[str], Awaitable[str]], size: int) -> Figures:
    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            wanted = stub.client_id(number)
            _check(await call(wanted), wanted)

    async def make_calls(count: int) -> None:
        numbers = iter(range(count))
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(work(numbers))

    await make_calls(CONCURRENCY * 4)
    with _Timer() as timer:
        await make_calls(size)
    return timer.figures(size)


async def _run_gets(client: Client, size: int) -> Figures:
    return await _run_concurrently(client.get, size)


async def _run_posts(client: Client, size: int) -> Figures:
    return await _run_concurrently(client.buy, size)


async def _get_sequentially(client: Client, size: int) -> Figures:
    """Get one at a time, and time each."""
    for number in range(100):
        await client.get(stub.client_id(number))
    durations: list[float] = []
    with _Timer() as timer:
        for number in range(size):
            begin = time.perf_counter()
            got = await client.get(stub.client_id(number))
            durations.append(time.perf_counter() - begin)
            _check(got, stub.client_id(number))
    p99 = statistics.quantiles(durations, n=100)[98]
    return {**timer.figures(size), "p50 us": statistics.median(durations) * 1e6, "p99 us": p99 * 1e6}


def _run_decoder(contestant: str, size: int, _: str) -> Figures:
    decode = DECODERS[contestant]()
    body = json.dumps(stub.page(0, stub.PAGE_SIZE, ITEMS), separators=(",", ":")).encode()
    whole = (stub.PAGE_SIZE, stub.booking(stub.PAGE_SIZE - 1)["id"])
    for _warm in range(20):
        _check(decode(body), whole)
    with _Timer() as timer:
        for _page in range(size):
            decode(body)
    return timer.figures(size * stub.PAGE_SIZE)


def _run_read_ahead(contestant: str, size: int, base_url: str) -> Figures:
    from benchmarks import read_ahead  # noqa: PLC0415 - imports our client, which no other client's process may load

    return read_ahead.run(contestant, size, base_url)


def _run_import(contestant: str, size: int, _: str) -> Figures:
    return {"ms": statistics.median(imports.measure(contestant) for _ in range(size))}


_RATE: Final = {"per second": True, "CPU us": False}
_ALL: Final = tuple(filter(installed, CLIENTS))

WORKLOADS: Final[dict[str, Workload]] = {
    "walk": Workload(
        "walk of 100,000 items in pages of 100, per item",
        _run_over_network(_run_walk),
        _RATE,
        _ALL,
        clients.BASE,
        1,
        1,
        "page",
    ),
    "get": Workload(
        "GET, 64 concurrent, per call", _run_over_network(_run_gets), _RATE, _ALL, clients.BASE, 1_500, 4_000, "get"
    ),
    "post": Workload(
        "POST, 64 concurrent, per call", _run_over_network(_run_posts), _RATE, _ALL, clients.BASE, 1_500, 4_000, "post"
    ),
    "one": Workload(
        "GET, one at a time",
        _run_over_network(_get_sequentially),
        {"p50 us": False, "p99 us": False, "CPU us": False},
        _ALL,
        clients.BASE,
        1_000,
        2_500,
        "get",
    ),
    "tasks": Workload(
        "GET by one client from many tasks, per call",
        tasks.run_gets,
        {"per second": True, "slowest over fair share": False},
        tuple(tasks.COUNTS),
        "64 tasks",
        8_192,
        24_576,
        "get",
    ),
    "cost": Workload(
        "POST, 64 concurrent, with optional features, per call",
        tasks.run_purchases,
        _RATE,
        tuple(tasks.OPTIONS),
        "memory journal",
        1_500,
        4_000,
        "post",
    ),
    "ahead": Workload(
        "walk with 20 ms of latency and 5 ms of work per page",
        _run_read_ahead,
        {"pages per second": True},
        ("read_ahead=1", "read_ahead=0"),
        "read_ahead=0",
        20,
        60,
    ),
    "memory": Workload(
        "memory of the process after a walk; of 20,000 items held",
        memory.run,
        {"MiB": False, "bytes an item": False},
        ("bardge-async", clients.BASE),
        clients.BASE,
        1,
        1,
        "page",
    ),
    "decode": Workload(
        "page bytes to objects, per item", _run_decoder, _RATE, tuple(DECODERS), decoding.BASE, 500, 1_500
    ),
    "import": Workload("import", _run_import, {"ms": False}, tuple(IMPORTS), imports.BASE, 1, 1),
}
