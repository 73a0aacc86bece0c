"""Run the event loop for a number of turns, or until something has happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def run_loop(turns: int = 50) -> None:
    """Let other tasks run for a number of turns of the event loop."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def run_loop_until(condition: Callable[[], object]) -> None:
    """Let other tasks and threads run until a condition holds; fail after 5 seconds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what changes the condition signals nothing
            await asyncio.sleep(0)
