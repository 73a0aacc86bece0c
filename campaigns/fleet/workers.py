"""Worker processes of a fleet, and their settings."""

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
from bardge_async.sandbox import Sandbox, serve

JOB: Final = "fleet"
CONCURRENCY: Final = 25
_CLIENT: Final = "client_abc123"
_PACKAGE: Final = "cpkg_50"
_QUEUE: Final = "bardge"
_TASK: Final = "bardge:perform"


@attrs.frozen
class Station:
    """Settings of a worker; ``random_key`` leaves out all that this library adds."""

    dsn: str
    base_url: str
    api_key: str
    window: ReplayWindow
    random_key: bool = False

    def make_app(self) -> procrastinate.App:
        connector = procrastinate.PsycopgConnector(conninfo=self.dsn, configure=worker_connection, max_size=8)
        return procrastinate.App(connector=connector)

    @asynccontextmanager
    async def open_client(self) -> AsyncGenerator[BardgeClient]:
        async with (
            PostgresJournal(self.dsn) as journal,
            BardgeClient(self.api_key, self.base_url, journal=journal, window=self.window, timeout=20) as bardge,
        ):
            yield bardge

    @asynccontextmanager
    async def open_queue(self) -> AsyncGenerator[BardgeQueue]:
        """Open the queue as a process that defers jobs does."""
        app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=self.dsn))
        async with app.open_async():
            yield BardgeQueue(app, self.open_client)


def make_purchases(count: int) -> Iterator[Operation[Any, Any]]:
    request = PurchaseCredits(client_id=_CLIENT, package_id=_PACKAGE)
    return (Operation("credits.purchase", request=request, id=f"order-{number}") for number in range(count))


def make_keys(count: int) -> set[str]:
    return {operation_key(JOB, "credits.purchase", operation.id) for operation in make_purchases(count)}


def host(db: Path, window: float, answer: Any) -> None:
    """Serve the sandbox until killed, slowly enough for many operations in flight; send its address and API key."""
    serving = serve(Sandbox(db=db, window=window, latency=0.1), lambda it: answer.send((it.base_url, it.api_key)))
    asyncio.run(serving)


def work(station: Station) -> None:
    """Run a worker until killed."""
    asyncio.run(_run_plain_worker(station) if station.random_key else _run_worker(station))


async def _run_worker(station: Station) -> None:
    await BardgeQueue(station.make_app(), station.open_client).run_worker(concurrency=CONCURRENCY)


async def _run_plain_worker(station: Station) -> None:
    """Run the jobs as plain tasks: requeued after a crash as usual, with a fresh key for each purchase."""
    app = station.make_app()
    blueprint = procrastinate.Blueprint()

    @blueprint.task(name="perform", queue=_QUEUE)
    async def buy(**_: Any) -> None:
        await bardge.credits.purchase(PurchaseCredits(client_id=_CLIENT, package_id=_PACKAGE))

    app.add_tasks_from(blueprint, namespace=_QUEUE)
    async with app.open_async(), BardgeClient(station.api_key, station.base_url) as bardge:
        connector = app.connector
        assert isinstance(connector, procrastinate.PsycopgConnector)
        requeueing = asyncio.create_task(_requeue_repeatedly(JobTable(connector, _QUEUE, _TASK)))
        with contextlib.closing(_TaskCanceller(requeueing)):
            await app.run_worker_async(
                queues=[_QUEUE], concurrency=CONCURRENCY, update_heartbeat_interval=3, stalled_worker_timeout=10
            )


@attrs.frozen
class _TaskCanceller:
    task: asyncio.Task[None]

    def close(self) -> None:
        self.task.cancel()


async def _requeue_repeatedly(table: JobTable) -> None:
    while True:
        await table.requeue_stalled()
        await asyncio.sleep(5)
