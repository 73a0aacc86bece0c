"""A list server on a real socket that behaves correctly, except where it is scripted to misbehave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

import attrs

from bardge_async import BardgeClient, Booking, CopayOption, Provider, Walk
from bardge_async.testing import ManualClock
from tests.support.loop import run_loop
from tests.support.rig import AT_ONCE
from tests.support.server import Received, ScriptedServer, Step, error, reply

Item = TypeVar("Item")

Play = Callable[[dict[str, Any]], Step]
"""Make an answer out of the honest page."""


def make_ids(count: int, prefix: str = "b") -> list[str]:
    """Make ids."""
    return [f"{prefix}{number}" for number in range(count)]


def read_ids(items: Sequence[Booking | CopayOption]) -> list[str | None]:
    """Read the ids of items."""
    return [item.id if isinstance(item, Booking) else item.copay_package_id for item in items]


@attrs.frozen
class Asked:
    """What one request asked for."""

    limit: int
    after: str | None
    before: str | None


def change_page(**changes: Any) -> Play:
    """Change members of the correct page."""
    return lambda page: reply(200, {**page, **changes})


def omit_member(member: str) -> Play:
    """Omit a member of the correct page."""
    return lambda page: reply(200, {name: value for name, value in page.items() if name != member})


def replace_answer(step: Step) -> Play:
    """Replace the page by another step."""
    return lambda _: step


EMPTY: Final = change_page(data=[], has_more=True)


class HostileList:
    """Serve ``listed`` as any path's list; request number n is answered as ``plays[n]`` says.

    ``route`` may answer every request in place of the honest list.
    """

    def __init__(
        self,
        listed: Sequence[str],
        plays: Mapping[int, Play] | None = None,
        *,
        field: str = "id",
        route: Callable[[Asked], Step] | None = None,
        most: int = 100,
    ) -> None:
        self.listed = list(listed)
        self.plays = dict(plays or {})
        self.asked: list[Asked] = []
        self._field = field
        self._route = route
        self._most = most

    async def __call__(self, request: Received, writer: asyncio.StreamWriter) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.target).query).items()}
        asked = Asked(int(query["limit"]), query.get("starting_after"), query.get("ending_before"))
        self.asked.append(asked)
        play = self.plays.get(len(self.asked))
        step = self._route(asked) if self._route else self.answer_honestly(asked)
        await (step if play is None else play(self._make_honest_page(asked)))(request, writer)

    def answer_honestly(self, asked: Asked) -> Step:
        """Answer as the API does."""
        if any(mark is not None and mark not in self.listed for mark in (asked.after, asked.before)):
            return error(400, "invalid_request_error", "resource_missing")
        return reply(200, self._make_honest_page(asked))

    def _make_honest_page(self, asked: Asked) -> dict[str, Any]:
        size = min(asked.limit, self._most)
        if asked.before is not None and asked.before in self.listed:
            end = self.listed.index(asked.before)
            begin = max(0, end - size)
            return self.make_page(self.listed[begin:end], more=begin > 0)
        begin = self.listed.index(asked.after) + 1 if asked.after in self.listed else 0
        return self.make_page(self.listed[begin : begin + size], more=begin + size < len(self.listed))

    def make_page(self, listed: Sequence[str | None], *, more: bool) -> dict[str, Any]:
        """Make a page of these ids; None makes an item without one."""
        data = [{"object": "x", **({} if id is None else {self._field: id})} for id in listed]
        return {"object": "list", "data": data, "has_more": more, "url": "/v3/x", "message": "retrieved"}


def answer_in_circle(*pages: Sequence[str]) -> Callable[[Asked], Step]:
    """Answer with pages in turn for ever, each with more to follow."""
    made = HostileList([])
    turn = iter(range(10**9))
    return lambda _: reply(200, made.make_page(pages[next(turn) % len(pages)], more=True))


@attrs.frozen
class ListRig:
    """A client and its list server."""

    list: HostileList
    server: ScriptedServer
    bardge: BardgeClient
    clock: ManualClock

    def start_walk(self, **options: Any) -> Walk[Booking]:
        """Walk the list as bookings."""
        return self.bardge.bookings.list_for_client("c1", **options)

    @property
    def is_idle(self) -> bool:
        """Return whether no call is in flight and every connection was released."""
        lane = self.bardge._caller.slots._semaphores.get()
        return lane.calls_in_flight == 0 and lane.free == 100

    def is_settled(self) -> bool:
        """Return whether nothing of the client is left in this loop, when the server runs in a thread of its own."""
        return self.is_idle and asyncio.all_tasks() == {asyncio.current_task()}


@contextmanager
def serve_in_thread(listed: HostileList) -> Generator[ScriptedServer]:
    """Serve in a thread with its own event loop, so that the test's loop holds nothing but the client's tasks."""
    server = ScriptedServer(listed)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(_wait_until_stopped(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _wait_until_stopped(server: ScriptedServer) -> None:
    await run_loop(5)  # new connections get their tasks, and aborted ones are closed
    await server.__aexit__()
    await run_loop(5)


@asynccontextmanager
async def serve_list(
    listed: HostileList | Sequence[str], plays: Mapping[int, Play] | None = None, **options: Any
) -> AsyncGenerator[ListRig]:
    """Run a list server in a thread with a client of it; ``options`` are the client's."""
    made = listed if isinstance(listed, HostileList) else HostileList(listed, plays)
    clock = ManualClock()
    options = {"retry": AT_ONCE, "clock": clock, **options}
    with serve_in_thread(made) as server:
        async with BardgeClient("key", server.base_url, **options) as bardge:
            yield ListRig(made, server, bardge, clock)


async def take_into(items: AsyncIterable[Item], found: list[Item]) -> None:
    """Append items until the end or an error."""
    async for item in items:
        found.append(item)  # noqa: PERF401 - an error must not lose what came before


async def read_rest(walk: Walk[Booking] | Walk[Provider]) -> list[str | None]:
    """Walk to the end."""
    return [item.id async for item in walk]


async def read_some(walk: Walk[Booking] | Walk[Provider], count: int) -> list[str | None]:
    """Walk over some items, then break."""
    found: list[str | None] = []
    async for item in walk:
        found.append(item.id)
        if len(found) == count:
            break
    return found
