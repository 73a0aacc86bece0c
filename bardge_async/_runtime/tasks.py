"""Cancel tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import anyio


async def end_task(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for it to end; a cancellation of the caller ends the wait."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # or asyncio would log it as never retrieved


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until all have ended; a cancellation of the caller meanwhile is raised afterwards."""
    cancelled_tasks = list(tasks)
    for task in cancelled_tasks:
        task.cancel()
    pending = {task for task in cancelled_tasks if not task.done()}
    interrupted: asyncio.CancelledError | None = None
    # Without the shield, anyio would raise its cancellation again in every iteration of the event loop.
    with anyio.CancelScope(shield=bool(pending)):
        while pending:
            try:
                _, pending = await asyncio.wait(pending)
            except asyncio.CancelledError as cancelled:
                interrupted = cancelled
                pending = {task for task in cancelled_tasks if not task.done()}
    for task in cancelled_tasks:
        if not task.cancelled():
            task.exception()  # or asyncio would log it as never retrieved
    try:
        if interrupted is not None:
            raise interrupted
    finally:
        del interrupted  # break the cycle: the exception refers to this frame
