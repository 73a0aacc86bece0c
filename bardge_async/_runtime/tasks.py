"""Ending tasks for good."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import anyio


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended; a cancellation that comes meanwhile is raised only then."""
    cancelled_tasks = list(tasks)
    for task in cancelled_tasks:
        task.cancel()
    pending = {task for task in cancelled_tasks if not task.done()}
    interrupted: asyncio.CancelledError | None = None
    # The shield is for anyio's cancellation, which would be raised on every turn of the loop.
    with anyio.CancelScope(shield=bool(pending)):
        while pending:
            try:
                _, pending = await asyncio.wait(pending)
            except asyncio.CancelledError as cancelled:
                interrupted = cancelled
                pending = {task for task in cancelled_tasks if not task.done()}
    for task in cancelled_tasks:
        if not task.cancelled():
            task.exception()  # asyncio would report one that nobody looked at
    try:
        if interrupted is not None:
            raise interrupted
    finally:
        del interrupted  # an exception keeps this frame alive
