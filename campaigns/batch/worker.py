"""A worker that buys one package for each order in one batch and is killed meanwhile, and the server for it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import attrs

from bardge_async import PURCHASE_CREDITS, Operation, PurchaseCredits, SQLiteJournal, operation_key
from bardge_async.sandbox import Fault, Sandbox, serve
from campaigns.crash.worker import CLIENT, Job, Notes, noted

PACKAGE: Final = "cpkg_50"
LATE: Final = 0.5
"""Delay of some requests in seconds: longer than an attempt may take, but within the window's margin."""
DONE: Final = frozenset({"done", "replayed", "skipped"})
FAULTS: Final = (
    Fault(kind="cut_before"),
    Fault(kind="cut_after"),
    Fault(kind="latency", seconds=LATE),
    Fault(kind="latency", seconds=LATE, after=True),
    Fault(kind="status", status=429, retry_after=0.05),
    Fault(kind="status", status=503, retry_after=0.05, error=False),
    Fault(kind="status", status=500),
    Fault(kind="status", status=500, after=True),
    Fault(kind="status", status=503),
    Fault(kind="status", status=502, error=False),
    Fault(kind="status", status=504, error=False, after=True),
    Fault(kind="status", status=500, error=False),
    Fault(kind="status", status=501, error=False, after=True),
    Fault(kind="status", status=505, after=True),
    Fault(kind="status", status=502),
    Fault(kind="status", status=520, error=False, after=True),
    Fault(kind="status", status=530, after=True),
    Fault(kind="truncate"),
    Fault(kind="drip", seconds=LATE),
    Fault(kind="malformed"),
)
LIMIT: Final = Fault(kind="limit", rate=100, times=4, retry_after=0.05)


def make_job_name(job: Job) -> str:
    """Return the batch job's name: the same in every run, except in the control."""
    return f"renewals-{secrets.token_hex(8)}" if job.random_key else "renewals"


def work(job: Job) -> None:
    """Run the batch until done or killed."""
    asyncio.run(_run_batch(job))


async def _run_batch(job: Job) -> None:
    begun, ended = Notes(job.folder / "begun"), Notes(job.folder / "ended")
    begun.write("-", "started")
    with closing(SQLiteJournal(job.journal)) as journal:
        async with job.client(journal) as bardge:
            batch = make_job_name(job)
            async for outcome in bardge.batch(_make_operations(job, batch, begun), job=batch):
                ended.write(outcome.operation.id, outcome.status)


def _make_operations(job: Job, batch: str, begun: Notes) -> Iterator[Operation[Any, Any]]:
    """Yield a purchase for each order; for names that start with "gone", of a package that does not exist."""
    known = {words[0] for words in noted(job.folder / "ended") if words[1] in DONE} if job.random_key else set[str]()
    for order in job.orders:
        if order not in known:
            begun.write(order, operation_key(batch, PURCHASE_CREDITS, order))
            package = "cpkg_gone" if order.startswith("gone") else PACKAGE
            request = PurchaseCredits(client_id=CLIENT, package_id=package)
            yield Operation(PURCHASE_CREDITS, request=request, id=order)


@attrs.frozen
class Place:
    """Where the server runs, and which faults it has."""

    db: Path
    window: float
    rate: float
    seed: int
    port: int = 0
    latency: float = 0.005


def host(place: Place, answer: Any) -> None:
    """Serve the sandbox with faults until killed; send its address and API key."""

    def ready(sandbox: Sandbox) -> None:
        sandbox.faults.random(place.rate, place.seed, FAULTS, endpoint=PURCHASE_CREDITS.name)
        if place.rate:
            sandbox.faults.script([attrs.evolve(LIMIT, endpoint=PURCHASE_CREDITS.name)])
        answer.send((sandbox.base_url, sandbox.api_key))

    # Disconnecting clients are part of the campaign.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    asyncio.run(serve(Sandbox(port=place.port, db=place.db, window=place.window, latency=place.latency), ready))
