"""The workloads: what is run, by whom, and what is measured.

A further one is a function that returns its figures, and an entry in :data:`WORKLOADS`.
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

AT_ONCE: Final = 64

Figures = dict[str, float]
Run = Callable[[str, int, str], Figures]


class WrongAnswerError(Exception):
    """A client answered wrongly or walked short: the run is worth nothing."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """One thing to measure; ``run`` gets the contestant's name, the size and the server's base URL.

    ``figures`` name what is measured, each with whether more is better; the first heads the report. ``request`` is
    the kind of the stub's limit, for workloads of the network.
    """

    title: str
    run: Run
    figures: dict[str, bool]
    contestants: tuple[str, ...]
    base: str
    quick: int
    full: int
    request: str | None = None


def _networked(work: Callable[[Client, int], Awaitable[Figures]]) -> Run:
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


class _Timed:
    """Wall and CPU time of a block."""

    def __enter__(self) -> Self:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu

    def figures(self, count: int) -> Figures:
        """Return the rate and the CPU time of one."""
        return {"per second": count / self.wall, "CPU us": self.cpu / count * 1e6, "wall": self.wall}


async def _walk(client: Client, size: int) -> Figures:
    """Walk the list ``size`` times."""
    last = stub.booking(ITEMS - 1)["id"]
    count = 0
    await client.get(stub.CLIENT)
    with _Timed() as timed:
        for _ in range(size):
            count, got = await client.walk()
            _check((count in {ITEMS, SLOW_ITEMS}, got), (True, last))
    return timed.figures(size * count)


async def _at_once(call: Callable[[str], Awaitable[str]], size: int) -> Figures:
    async def work(numbers: Iterator[int]) -> None:
        for number in numbers:
            wanted = stub.client_id(number)
            _check(await call(wanted), wanted)

    async def all_of(count: int) -> None:
        numbers = iter(range(count))
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work(numbers))

    await all_of(AT_ONCE * 4)
    with _Timed() as timed:
        await all_of(size)
    return timed.figures(size)


async def _get(client: Client, size: int) -> Figures:
    return await _at_once(client.get, size)


async def _post(client: Client, size: int) -> Figures:
    return await _at_once(client.buy, size)


async def _one(client: Client, size: int) -> Figures:
    """Get one after another, each timed."""
    for number in range(100):
        await client.get(stub.client_id(number))
    took: list[float] = []
    with _Timed() as timed:
        for number in range(size):
            begin = time.perf_counter()
            got = await client.get(stub.client_id(number))
            took.append(time.perf_counter() - begin)
            _check(got, stub.client_id(number))
    p99 = statistics.quantiles(took, n=100)[98]
    return {**timed.figures(size), "p50 us": statistics.median(took) * 1e6, "p99 us": p99 * 1e6}


def _decode(contestant: str, size: int, _: str) -> Figures:
    decode = DECODERS[contestant]()
    body = json.dumps(stub.page(0, stub.PAGE_SIZE, ITEMS), separators=(",", ":")).encode()
    whole = (stub.PAGE_SIZE, stub.booking(stub.PAGE_SIZE - 1)["id"])
    for _warm in range(20):
        _check(decode(body), whole)
    with _Timed() as timed:
        for _page in range(size):
            decode(body)
    return timed.figures(size * stub.PAGE_SIZE)


def _ahead(contestant: str, size: int, base_url: str) -> Figures:
    from benchmarks import read_ahead  # noqa: PLC0415 - brings our client, which no other one's process may hold

    return read_ahead.run(contestant, size, base_url)


def _import(contestant: str, size: int, _: str) -> Figures:
    return {"ms": statistics.median(imports.measure(contestant) for _ in range(size))}


_RATE: Final = {"per second": True, "CPU us": False}
_ALL: Final = tuple(filter(installed, CLIENTS))

WORKLOADS: Final[dict[str, Workload]] = {
    "walk": Workload(
        "walk of 100,000 items by 100, an item", _networked(_walk), _RATE, _ALL, clients.BASE, 1, 1, "page"
    ),
    "get": Workload("GET, 64 at once, a call", _networked(_get), _RATE, _ALL, clients.BASE, 1_500, 4_000, "get"),
    "post": Workload("POST, 64 at once, a call", _networked(_post), _RATE, _ALL, clients.BASE, 1_500, 4_000, "post"),
    "one": Workload(
        "GET, one at a time",
        _networked(_one),
        {"p50 us": False, "p99 us": False, "CPU us": False},
        _ALL,
        clients.BASE,
        1_000,
        2_500,
        "get",
    ),
    "tasks": Workload(
        "GET by one client from many tasks, a call",
        tasks.run,
        {"per second": True, "slowest over fair share": False},
        tuple(tasks.COUNTS),
        "64 tasks",
        8_192,
        24_576,
        "get",
    ),
    "cost": Workload(
        "POST, 64 at once, with what can be switched on, a call",
        tasks.cost,
        _RATE,
        tuple(tasks.OPTIONS),
        "memory journal",
        1_500,
        4_000,
        "post",
    ),
    "ahead": Workload(
        "walk with 20 ms of latency and 5 ms of work on a page",
        _ahead,
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
    "decode": Workload("page bytes to objects, an item", _decode, _RATE, tuple(DECODERS), decoding.BASE, 500, 1_500),
    "import": Workload("import", _import, {"ms": False}, tuple(IMPORTS), imports.BASE, 1, 1),
}
