"""A transport for tests: it answers immediately from a function, and records when what was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import attrs
from multidict import CIMultiDict

from bardge_async import AttemptLimits, BardgeClient, WireRequest, WireResponse
from bardge_async.errors import BardgeError
from bardge_async.testing import ManualClock
from tests.support.clock import PausedClock

T = TypeVar("T")
Answer: TypeAlias = Callable[[WireRequest], WireResponse | BardgeError]


def make_response(status: int = 200, payload: object = None, **headers: str) -> WireResponse:
    """Make a JSON response; header names are given with underscores."""
    lines = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return WireResponse(status, lines, json.dumps({"balance": 5} if payload is None else payload).encode())


def make_busy_response(after: str, status: int = 429) -> WireResponse:
    """Make a response with ``Retry-After``."""
    return make_response(status, {"error": {"type": "api_error", "message": "slow down"}}, Retry_After=after)


def answer_in_order(*answers: WireResponse | BardgeError) -> Answer:
    """Return these responses first, and a good one from then on."""
    script = iter(answers)
    return lambda _: next(script, make_response())


@attrs.define
class Line:
    """Answer from ``answers``; ``sent`` holds the clock's elapsed time and last path segment of each request."""

    clock: ManualClock
    answers: Answer
    sent: list[tuple[float, str]] = attrs.field(factory=list[tuple[float, str]])

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        self.sent.append((self.clock.elapsed(), request.url.rpartition("/")[2]))
        found = self.answers(request)
        if isinstance(found, BardgeError):
            raise found
        return found

    async def aclose(self) -> None:
        """Close nothing."""

    def list_send_times(self) -> list[float]:
        """Return when requests were sent, in seconds since the clock was created."""
        return [at - PausedClock.STARTED_AT for at, _ in self.sent]


@attrs.define
class Traffic:
    """Calls on a clock that stands still until the test advances it."""

    bardge: BardgeClient
    clock: ManualClock
    line: Line
    tasks: list[asyncio.Task[Any]] = attrs.field(factory=list[asyncio.Task[Any]])

    def start_call(self, call: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a call."""
        task = asyncio.ensure_future(call)
        self.tasks.append(task)
        return task

    async def get_results(self, *tasks: asyncio.Task[T]) -> list[T]:
        """Return the results of calls that must have ended by now."""
        assert all(task.done() for task in tasks), "a call still waits"
        return [await task for task in tasks]

    async def call_without_delay(self, call: Coroutine[Any, Any, T]) -> T:
        """Make a call that must end without any time passing."""
        task = self.start_call(call)
        await self.settle()
        return (await self.get_results(task))[0]

    async def settle(self, turns: int = 12) -> None:
        """Let every call run until it waits."""
        for _ in range(turns):
            await asyncio.sleep(0)

    async def advance_in_steps(self, seconds: float, step: float = 0.1) -> None:
        """Advance the clock in steps, and let all tasks run in between."""
        await self.settle()
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            await self.settle()


@asynccontextmanager
async def open_traffic(answers: Answer, **options: Any) -> AsyncGenerator[Traffic]:
    """Make a client on a fake transport; calls still running at the end are cancelled."""
    clock = PausedClock()
    line = Line(clock, answers)
    bardge = BardgeClient("key", "https://api.example/v3", transport=line, clock=clock, **options)
    running = Traffic(bardge, clock, line)
    try:
        yield running
    finally:
        for task in running.tasks:
            task.cancel()
        await asyncio.gather(*running.tasks, return_exceptions=True)
        await bardge.aclose()
