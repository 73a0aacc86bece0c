"""Measure the gain of reading ahead: ``python -m benchmarks.read_ahead [--pages N] [--repetitions N]``.

A server in a process of its own responds after 20 ms; the caller works 5 ms on each page, awaiting or busy. Each
repetition walks with ``read_ahead=0`` and ``1`` back to back; the ratio is the median of such pairs. Exits with 1 if it
is below 1.2.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Final
from urllib.parse import parse_qs, urlsplit

from bardge_async import BardgeClient, Booking, Walk

LATENCY: Final = 0.020
WORK: Final = 0.005
PAGE: Final = 100
_WANTED: Final = 1.2


class SlowServer(asyncio.Protocol):
    """Respond to each request for a page after the latency."""

    def __init__(self, items: int) -> None:
        self._items = items

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Handle one request, which arrives in one piece."""
        query = parse_qs(urlsplit(data.split(b" ", 2)[1].decode()).query)
        first = int(query.get("starting_after", ["b-1"])[0][1:]) + 1
        last = min(first + int(query["limit"][0]), self._items)
        items = [{"object": "booking", "id": f"b{number}", "status": "CONFIRMED"} for number in range(first, last)]
        body = json.dumps({"object": "list", "has_more": last < self._items, "data": items}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        asyncio.get_running_loop().call_later(LATENCY, self._transport.write, head.encode() + body)


async def serve(items: int) -> None:
    """Print the port, then serve until the process is terminated."""
    server = await asyncio.get_running_loop().create_server(lambda: SlowServer(items), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def run_server(items: int) -> Generator[str]:
    """Run the server and yield its base URL."""
    command = [sys.executable, "-m", "benchmarks.read_ahead", "--serve", str(items)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own module
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


def spin(seconds: float) -> None:
    """Work without awaiting."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def walk_awaiting(walk: Walk[Booking]) -> int:
    """Await for 5 ms on each page."""
    count = 0
    async for item in walk:
        count += 1
        if count % PAGE == 0:
            await asyncio.sleep(WORK)
        assert item.id == f"b{count - 1}"
    return count


async def walk_busy(walk: Walk[Booking]) -> int:
    """Compute for 5 ms on each page."""
    count = 0
    async for item in walk:
        count += 1
        if count % PAGE == 1:
            spin(WORK)
        assert item.id == f"b{count - 1}"
    return count


async def map_awaiting(walk: Walk[Booking]) -> int:
    """Map a function that awaits for 5 ms, concurrently over all items of a page."""

    async def work(item: Booking) -> Booking:
        await asyncio.sleep(WORK)
        return item

    return len([item async for item in walk.map(work, concurrency=PAGE)])


async def map_busy(walk: Walk[Booking]) -> int:
    """Map a function that computes, for 5 ms in total over the items of a page."""

    async def work(item: Booking) -> Booking:
        spin(WORK / PAGE)
        return item

    return len([item async for item in walk.map(work)])


CALLERS: Final[dict[str, Callable[[Walk[Booking]], Awaitable[int]]]] = {
    "async for, awaiting": walk_awaiting,
    "async for, busy": walk_busy,
    "map, awaiting": map_awaiting,
    "map, busy": map_busy,
}


def run(contestant: str, size: int, _: str) -> dict[str, float]:
    """Walk ``size`` pages with a caller that awaits, with or without reading ahead; return pages per second."""

    async def main(url: str) -> dict[str, float]:
        async with BardgeClient("key", url) as bardge:
            await bardge.bookings.list_for_client("c1").first()
            walk = bardge.bookings.list_for_client("c1", page_size=PAGE, read_ahead=int(contestant[-1]))
            begin = time.perf_counter()
            count = await walk_awaiting(walk)
            wall = time.perf_counter() - begin
        return {"pages per second": count / PAGE / wall, "wall": wall}

    with run_server(size * PAGE) as url:
        return asyncio.run(main(url))


async def measure_pair(bardge: BardgeClient, caller: str, pages: int) -> dict[int, float]:
    """Time one walk without reading ahead and one with it, in random order."""
    seconds: dict[int, float] = {}
    for read_ahead in random.sample((0, 1), 2):
        walk = bardge.bookings.list_for_client("c1", page_size=PAGE, read_ahead=read_ahead)
        begin = time.perf_counter()
        assert await CALLERS[caller](walk) == pages * PAGE
        seconds[read_ahead] = time.perf_counter() - begin
    return seconds


async def measure(pages: int, repetitions: int) -> float:
    """Print a table and return the lowest ratio."""
    lowest = float("inf")
    print(f"{LATENCY * 1000:g} ms latency, {WORK * 1000:g} ms work, {pages} pages, {repetitions} pairs\n")
    print("| caller | ms per page without | with | speed-up: median of pairs (lowest - highest) |\n|---|---|---|---|")
    with run_server(pages * PAGE) as url:
        async with BardgeClient("key", url) as bardge:
            for caller in CALLERS:
                await bardge.bookings.list_for_client("c1").first()
                pairs = [await measure_pair(bardge, caller, pages) for _ in range(repetitions)]
                ratios = [one[0] / one[1] for one in pairs]
                durations = [statistics.median(one[ahead] for one in pairs) / pages * 1000 for ahead in (0, 1)]
                speed_up = f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} - {max(ratios):.2f})"
                print(f"| {caller} | {durations[0]:.1f} | {durations[1]:.1f} | {speed_up} |", flush=True)
                lowest = min(lowest, statistics.median(ratios))
    return lowest


def main() -> None:
    """Serve, or measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.read_ahead", description="Measure reading ahead.")
    parser.add_argument("--pages", type=int, default=60, help="pages in each walk")
    parser.add_argument("--repetitions", type=int, default=3, help="pairs of walks")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(given.serve))
        return
    if asyncio.run(measure(given.pages, given.repetitions)) < _WANTED:
        sys.exit(f"reading ahead must be at least {_WANTED} times as fast")


if __name__ == "__main__":
    main()
