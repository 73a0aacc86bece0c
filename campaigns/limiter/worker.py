"""Send as fast as the limiter allows: ``python -m campaigns.limiter.worker URL DSN RATE TASKS PLACE``.

Prints ``ready``, starts at the first line of its input and stops at the second, then prints the times of its sends.
"""

# ruff: noqa: T201 - a command
from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time

from bardge_async import AttemptStarted, BardgeClient, Event, PostgresLimiter, errors


async def work(url: str, dsn: str, rate: float, tasks: int, place: str) -> list[float]:
    """Send until told to stop; return the times, by the machine's monotonic clock."""
    sent: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, AttemptStarted):
            sent.append(time.monotonic())

    async def send(bardge: BardgeClient) -> None:
        while True:
            with contextlib.suppress(errors.RateLimitError):
                await bardge.clients.get_credits(place)

    limiter = PostgresLimiter(dsn, "shared", rate)
    async with limiter, BardgeClient("key", url, limiter=limiter, hooks=[note]) as bardge:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        running = [asyncio.create_task(send(bardge)) for _ in range(tasks)]
        await asyncio.to_thread(sys.stdin.readline)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return sent


if __name__ == "__main__":
    url, dsn, rate, tasks, place = sys.argv[1:]
    print(json.dumps(asyncio.run(work(url, dsn, float(rate), int(tasks), place))))
