"""Worker processes of a fleet, and the station where they work."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import procrastinate

from bardge_async import BardgeClient, Operation, PostgresJournal, PurchaseCredits, ReplayWindow, operation_key
from bardge_async.integrations.procrastinate import BardgeQueue, worker_connection
from bardge_async.integrations.procrastinate._table import JobTable
from bardge_async.sandbox import serve

JOB: Final = "fleet"
AT_ONCE: Final = 25
_CLIENT: Final = "client_abc123"
_PACKAGE: Final = "cpkg_50"
_QUEUE: Final = "bardge"
_TASK: Final = "bardge:perform"


@attrs.frozen
class Station:
    """Where a worker works; ``random_key`` does without all that this library adds."""

    dsn: str
    base_url: str
    api_key: str
    window: ReplayWindow
    random_key: bool = False

    def app(self) -> procrastinate.App:
        connector = procrastinate.PsycopgConnector(conninfo=self.dsn, configure=worker_connection, max_size=8)
        return procrastinate.App(connector=connector)

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[BardgeClient]:
        async with (
            PostgresJournal(self.dsn) as journal,
            BardgeClient(self.api_key, self.base_url, journal=journal, window=self.window, timeout=20) as bardge,
        ):
            yield bardge

    @asynccontextmanager
    async def queue(self) -> AsyncGenerator[BardgeQueue]:
        """The queue as a process has it that puts in."""
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=self.dsn))
        async with app.open_async():
            yield BardgeQueue(app, self.client)


def purchases(count: int) -> Iterator[Operation[Any, Any]]:
    request = PurchaseCredits(client_id=_CLIENT, package_id=_PACKAGE)
    return (Operation("credits.purchase", request=request, id=f"order-{number}") for number in range(count))


def keys(count: int) -> set[str]:
    return {operation_key(JOB, "credits.purchase", operation.id) for operation in purchases(count)}


def host(db: Path, window: float, answer: Any) -> None:
    """Serve the sandbox until killed, as slow as to have many operations under way; send where."""
    told = serve(on_ready=lambda it: answer.send((it.base_url, it.api_key)), db=db, window=window, latency=0.1)
    asyncio.run(told)


def work(station: Station) -> None:
    """Work until killed."""
    asyncio.run(_blind(station) if station.random_key else _work(station))


async def _work(station: Station) -> None:
    await BardgeQueue(station.app(), station.client).run_worker(concurrency=AT_ONCE)


async def _blind(station: Station) -> None:
    """Do the jobs as a plain task would: procrastinate's own retry after a death, a fresh key for every purchase."""
    app = station.app()
    blueprint = procrastinate.Blueprint()

    @blueprint.task(name="perform", queue=_QUEUE)
    async def buy(**_: Any) -> None:
        await bardge.credits.purchase(PurchaseCredits(client_id=_CLIENT, package_id=_PACKAGE))

    app.add_tasks_from(blueprint, namespace=_QUEUE)
    async with app.open_async(), BardgeClient(station.api_key, station.base_url) as bardge:
        connector = app.connector
        assert isinstance(connector, procrastinate.PsycopgConnector)
        sweeping = asyncio.create_task(_sweep(JobTable(connector, _QUEUE, _TASK)))
        with contextlib.closing(_Cancelled(sweeping)):
            await app.run_worker_async(
                queues=[_QUEUE], concurrency=AT_ONCE, update_heartbeat_interval=3, stalled_worker_timeout=10
            )


@attrs.frozen
class _Cancelled:
    task: asyncio.Task[None]

    def close(self) -> None:
        self.task.cancel()


async def _sweep(table: JobTable) -> None:
    while True:
        await table.requeue_stalled()
        await asyncio.sleep(5)
