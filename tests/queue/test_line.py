"""The connection between a worker and its database."""

from __future__ import annotations

import asyncio

import pytest

from campaigns.fleet.line import Line
from tests.queue.conftest import JOB, Make, make_purchase, wait_until
from tests.support.postgres import Database
from tests.support.server import Received, reply

DONE = reply(payload={"balance": 5})


@pytest.mark.parametrize("how", ["cut", "stall"])
async def test_a_worker_comes_back_when_its_line_to_the_database_was_cut(
    make: Make, postgres: Database, how: str
) -> None:
    seen = 0

    async def cut_connections(request: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += 1
        if seen == 5:
            line.cut() if how == "cut" else line.stall()
            asyncio.get_running_loop().call_later(0.2, lambda: restoring.append(asyncio.ensure_future(line.restore())))
        await DONE(request, writer)

    restoring: list[asyncio.Future[None]] = []
    async with Line(postgres.server.port) as line, make(cut_connections, port=line.port) as rig:
        await rig.queue.defer_many([make_purchase(number) for number in range(30)], job=JOB)
        task = asyncio.create_task(rig.queue.run_worker(signals=False))
        await wait_until(lambda: set(rig.read_statuses()) == {"succeeded"})
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (len(rig.keys), rig.request_count) == (30, 30)
