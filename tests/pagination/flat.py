"""Walk many items and print by how many KiB the process grew after the first tenth; run as a child process."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from typing import Any

from bardge_async import BardgeClient, Booking
from tests.support.lists import Asked, HostileList
from tests.support.server import ScriptedServer, Step, send_raw

COUNT = int(sys.argv[1])


def serve_page(asked: Asked) -> Step:
    """Answer with the page after a number."""
    begin = int((asked.after or "b-1")[1:]) + 1
    data = b",".join([b'{"id":"b%d"}' % number for number in range(begin, begin + asked.limit)])
    body = b'{"data":[%b],"has_more":%b}' % (data, b"true" if begin + asked.limit < COUNT else b"false")
    return send_raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body), close=False)


async def work_on_item(item: Booking) -> Booking:
    """Process an item."""
    return item


async def measure_walk(way: str) -> tuple[int, int]:
    """Walk in one of the ways; return the item count and the growth."""
    count = early = 0
    listed = HostileList([], route=serve_page)
    async with ScriptedServer(listed) as server, BardgeClient("key", server.base_url) as bardge:
        list_ = bardge.bookings.list_for_client("c1", read_ahead=4)
        items: Any = list_ if way == "items" else list_.map(work_on_item, concurrency=50, ordered=way == "map")
        async for _ in items:
            count += 1
            if count % 100 == 0:
                server.requests.clear()
                listed.asked.clear()
            if count == COUNT // 10:
                early = read_peak_memory()
    return count, read_peak_memory() - early


def read_peak_memory() -> int:
    """Return the peak memory of the process, in KiB."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most // 1024 if sys.platform == "darwin" else most


def main() -> None:
    """Walk and print the result."""
    count, growth = asyncio.run(measure_walk(sys.argv[2]))
    sys.stdout.write(json.dumps({"count": count, "growth": growth}))


if __name__ == "__main__":
    main()
