"""Measure memory: of the whole process after a walk, and of the items that are held; Linux only."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from pathlib import Path
from typing import Any

from benchmarks import stub
from benchmarks.clients import CLIENTS

_HELD = 20_000


def resident() -> int:
    """Return the resident memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _ours(base_url: str) -> list[Any]:
    from bardge_async import BardgeClient  # noqa: PLC0415 - in this process only

    async with BardgeClient(stub.API_KEY, base_url) as bardge:
        return list(
            await bardge.bookings.list_for_client(stub.CLIENT, page_size=100, limit=_HELD).collect(max_items=None)
        )


async def _raw(base_url: str) -> list[Any]:
    import aiohttp  # noqa: PLC0415 - in this process only
    import orjson  # noqa: PLC0415

    held: list[Any] = []
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {stub.API_KEY}"}) as session:
        after = ""
        while len(held) < _HELD:
            path = f"/clients/{stub.CLIENT}/bookings?limit={stub.PAGE_SIZE}{after}"
            async with session.get(base_url + path) as response:
                held += orjson.loads(await response.read())["data"]
            after = f"&starting_after={held[-1]['id']}"
    return held


def run(contestant: str, _: int, base_url: str) -> dict[str, float]:
    """Measure after a walk, then while holding items."""

    async def main() -> dict[str, float]:
        begin = time.perf_counter()
        client = CLIENTS[contestant](base_url)
        await client.walk()
        await client.aclose()
        gc.collect()
        before = resident()
        held = await (_ours if contestant == "bardge-async" else _raw)(base_url)
        gc.collect()
        grown = (resident() - before) / len(held)
        return {"MiB": before / 2**20, "bytes an item": grown, "wall": time.perf_counter() - begin}

    return asyncio.run(main())
