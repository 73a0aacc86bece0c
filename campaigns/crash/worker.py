"""A worker that buys one package for each order and is killed meanwhile; the whole job is run again afterwards."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import anyio
import attrs

from bardge_async import BardgeClient, PurchaseCredits, ReplayWindow, SQLiteJournal, Timeouts
from bardge_async.errors import AlreadyDoneError, OutcomeUnknownError
from bardge_async.sandbox import Sandbox, serve
from campaigns.crash.troubles import OddTransport, SteppedClock

CONCURRENCY: Final = 8
CLIENT: Final = "client_abc123"


@attrs.frozen
class Job:
    """What a worker does; ``folder`` contains the journal and the notes."""

    folder: Path
    base_url: str
    api_key: str
    orders: tuple[str, ...]
    window: ReplayWindow
    random_key: bool = False
    timeouts: Timeouts | float = 20.0

    @property
    def journal(self) -> Path:
        return self.folder / "journal.db"

    def client(self, journal: SQLiteJournal) -> BardgeClient:
        clock = SteppedClock(widely=self.window.length < 10)
        return BardgeClient(
            self.api_key,
            self.base_url,
            journal=journal,
            window=self.window,
            timeout=self.timeouts,
            transport=OddTransport(clock),
            clock=clock,
        )


class Notes:
    """Lines in a file that outlive the process: once written, they are in the kernel."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, *words: str) -> None:
        os.write(self._file, (" ".join(words) + "\n").encode())


def noted(path: Path) -> list[list[str]]:
    """Read notes as lists of words."""
    return [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []


def work(job: Job) -> None:
    """Recover, then enter every order, until done or killed."""
    asyncio.run(_enter_orders(job))


async def _enter_orders(job: Job) -> None:
    begun, ended = Notes(job.folder / "begun"), Notes(job.folder / "ended")
    known = {words[0] for words in noted(job.folder / "ended") if words[1] == "done"}
    with closing(SQLiteJournal(job.journal)) as journal:
        async with job.client(journal) as bardge:
            begun.write("-", "started")
            for one in await bardge.recover():
                ended.write(one.idempotency_key, "recovered" if one.error is None else type(one.error).__name__)
            room = anyio.CapacityLimiter(CONCURRENCY)
            async with anyio.create_task_group() as group:
                for order in job.orders:
                    if not (job.random_key and order in known):
                        await room.acquire_on_behalf_of(order)
                        group.start_soon(_buy, bardge, job, order, begun, ended, room)


async def _buy(  # noqa: PLR0917 - a task group passes by position
    bardge: BardgeClient, job: Job, order: str, begun: Notes, ended: Notes, room: anyio.CapacityLimiter
) -> None:
    try:
        async with bardge.idempotent(None if job.random_key else order) as once:
            begun.write(order, once.key)
            await once.credits.purchase(PurchaseCredits(client_id=CLIENT, package_id="cpkg_50"))
            ended.write(order, "done", "again" if once.replayed == "journal" else "new")
    except AlreadyDoneError:
        ended.write(order, "done", "settled")
    except OutcomeUnknownError:
        ended.write(order, "doubt")
    finally:
        room.release_on_behalf_of(order)


def settle(job: Job, charged: Mapping[str, int], answer: Any) -> None:
    """Resolve each key in doubt from the ledger; send the keys."""

    async def main() -> list[str]:
        with closing(SQLiteJournal(job.journal)) as journal:
            async with job.client(journal) as bardge:
                doubts = [doubt.idempotency_key for doubt in await bardge.in_doubt()]
                for key in doubts:
                    happened = charged.get(key, 0) > 0
                    await bardge.resolve(key, done=happened or None, never_happened=not happened)
                return doubts

    answer.send(json.dumps(asyncio.run(main())))


def drain(job: Job, begin: Any) -> None:
    """Enter every order concurrently with another process, and note the outcomes."""

    async def main() -> None:
        with closing(SQLiteJournal(job.journal)) as journal:
            async with job.client(journal) as bardge, anyio.create_task_group() as group:
                begun, ended = Notes(job.folder / "begun"), Notes(job.folder / "ended")
                room = anyio.CapacityLimiter(CONCURRENCY)
                begin.wait()
                for order in job.orders:
                    await room.acquire_on_behalf_of(order)
                    group.start_soon(_buy, bardge, job, order, begun, ended, room)

    asyncio.run(main())


def host(db: Path, window: float, answer: Any) -> None:
    """Serve the sandbox until killed; send its address and API key."""
    asyncio.run(serve(Sandbox(db=db, window=window, latency=0.005), lambda it: answer.send((it.base_url, it.api_key))))
