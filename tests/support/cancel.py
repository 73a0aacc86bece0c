"""Cancel a task at its n-th await."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import Any


class _Cancelled:
    """Await something and cancel the running task at an await, ``again`` one turn of the loop later."""

    def __init__(self, call: Awaitable[Any], number: int, *, again: bool) -> None:
        self._call = call
        self._number = number
        self._again = again

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._call.__await__()
        raised: asyncio.CancelledError | None = None
        while True:
            try:
                awaited = next(steps) if raised is None else steps.throw(raised)
            except StopIteration:
                return
            raised = None
            self._number -= 1
            if self._number == 0:
                self._cancel()
            try:
                yield awaited
            except asyncio.CancelledError as cancelled:
                raised = cancelled

    def _cancel(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if self._again:
            asyncio.get_running_loop().call_soon(task.cancel)


async def cancel_at(call: Awaitable[Any], number: int, *, again: bool) -> bool:
    """Run something in a task that is cancelled at its n-th await; return False if it ended before."""

    async def run_cancelled() -> None:
        await _Cancelled(call, number, again=again)

    task = asyncio.create_task(run_cancelled())
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
    return task.cancelled()
