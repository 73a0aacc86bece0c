"""The plays: what is done to the fleet while it works, and what the ledger, the queue and the journal then say."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
from procrastinate.schema import SchemaManager

from bardge_async import ReplayWindow
from campaigns.crash.play import FORK, running
from campaigns.fleet.line import carry
from campaigns.fleet.workers import JOB, Station, host, keys, purchases, work
from tests.support.postgres import Server, server

_STUCK: Final = 180.0
_PART: Final = 0.3
_WORKERS: Final = 2
_TOO_LATE: Final = 30.0
_LATER: Final = """
SELECT j.id, extract(epoch FROM min(e.at) - to_timestamp(%s)) FROM procrastinate_jobs j
LEFT JOIN procrastinate_events e ON e.job_id = j.id AND e.type = 'started' AND e.at > to_timestamp(%s)
WHERE j.id = ANY(%s) GROUP BY j.id
"""


@attrs.frozen
class Options:
    """How large a play is."""

    purchases: int
    cut: float
    seed: int


@attrs.define
class Report:
    """What a play showed; times are in seconds."""

    play: str
    purchases: int
    doubled: int = 0
    lost: int = 0
    unfinished: int = 0
    doubts: int = 0
    of_them_charged: int = 0
    redelivered: int = 0
    within: float = 0.0
    seconds: float = 0.0
    wrong: list[str] = attrs.field(factory=list[str])

    @property
    def good(self) -> bool:
        if self.play == "control":
            return self.doubled > 0
        return not (self.doubled or self.lost or self.unfinished or self.wrong)

    def told(self) -> str:
        again = f", {self.redelivered} redelivered within {self.within:.1f} s" if self.redelivered else ""
        doubts = f", {self.doubts} in doubt ({self.of_them_charged} of them charged)" if self.doubts else ""
        return (
            f"{self.play}: {self.purchases} purchases, {self.seconds:.0f} s: {self.doubled} charged twice, "
            f"{self.lost} lost, {self.unfinished} unfinished{again}{doubts}, {len(self.wrong)} wrong"
        )


class Fleet:
    """One database, one sandbox, and workers that are started and killed."""

    def __init__(self, report: Report, station: Station, postgres: Server, ledger: Path, options: Options) -> None:
        self.report = report
        self.station = station
        self.postgres = postgres
        self.options = options
        self._ledger = ledger
        self._all = keys(options.purchases)
        self.processes: list[Any] = []

    def start(self) -> None:
        """Start one more worker, and wait until it is in the books."""
        before = self.ask("SELECT max(id) FROM procrastinate_workers")
        process = FORK.Process(target=work, args=(self.station,), daemon=True)
        process.start()
        self.processes.append(process)
        self.until(lambda: self.ask("SELECT max(id) FROM procrastinate_workers") != before, "a worker's start")

    def begin(self) -> None:
        """Start the workers, and wait until a part of the purchases is charged."""
        for _ in range(_WORKERS):
            self.start()
        wanted = _PART * self.options.purchases
        self.until(lambda: self.charged().total() >= wanted, "charges")

    def kill(self) -> None:
        """Kill the worker that was started first."""
        process = self.processes.pop(0)
        process.kill()
        process.join()

    def ask(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self.postgres.admin() as admin:
            found = admin.execute(sql.encode(), values)
            return found.fetchall() if found.description else []

    def charged(self) -> Counter[str]:
        """Count the charges under each key in the server's own books."""
        with contextlib.closing(sqlite3.connect(self._ledger)) as books:
            found = books.execute("SELECT idempotency_key FROM entries WHERE book = 'credits' AND type = 'CREDIT'")
            return Counter(key for (key,) in found if key is not None)

    def until_finished(self) -> None:
        """Wait until no job waits or runs."""
        self.until(lambda: self.ends().keys() <= {"succeeded", "failed"}, "the end")

    def ends(self) -> dict[str, int]:
        found = self.ask("SELECT status::text, count(*) FROM procrastinate_jobs GROUP BY status")
        return {status: count for status, count in found}  # noqa: C416 - a row is no pair to the type checkers

    def until(self, reached: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _STUCK
        while not reached():
            if time.monotonic() > end:
                self.report.wrong.append(f"{what} never came: {self.ends()}")
                return
            time.sleep(0.05)

    def judge(self) -> None:
        """Hold the queue against the ledger."""
        charged, ends = self.charged(), self.ends()
        self.report.unfinished = self.options.purchases - ends.get("succeeded", 0)
        if self.station.random_key:
            self.report.doubled = charged.total() - self.options.purchases
            return
        self.report.doubled = sum(count > 1 for count in charged.values())
        self.report.lost = len(self._all - charged.keys())
        if strange := charged.keys() - self._all:
            self.report.wrong.append(f"{len(strange)} charges under other keys")
        if dead := [process.pid for process in self.processes if not process.is_alive()]:
            self.report.wrong.append(f"workers ended by themselves: {dead}")

    def put_in(self) -> None:
        async def main() -> None:
            async with self.station.queue() as queue:
                await queue.defer_many(purchases(self.options.purchases), job=JOB)

        asyncio.run(main())

    def settle(self) -> None:
        """See that what failed is listed as in doubt; settle it by the ledger, and let it go on."""

        async def main() -> None:
            async with self.station.queue() as queue, self.station.client() as bardge:
                doubts = [found.doubt.idempotency_key for found in await queue.doubts(JOB, bardge)]
                charged = self.charged()
                for key in doubts:
                    await bardge.resolve(key, done=key in charged or None, never_happened=key not in charged)
                self.report.doubts = len(doubts)
                self.report.of_them_charged = sum(key in charged for key in doubts)
                failed = {
                    key for (key,) in self.ask("SELECT args ->> 'key' FROM procrastinate_jobs WHERE status = 'failed'")
                }
                if failed != set(doubts):
                    self.report.wrong.append(f"failed or in doubt, but not both: {len(failed ^ set(doubts))}")
                await queue.resume(JOB)

        asyncio.run(main())

    def redelivery(self, dead: list[int], killed_at: float) -> None:
        """Tell when the jobs of a dead worker were begun again."""
        rows = self.ask(_LATER, killed_at, killed_at, dead)
        self.report.redelivered = len(rows)
        if any(seconds is None for _, seconds in rows):
            self.report.wrong.append("a dead worker's job was never begun again")
        self.report.within = float(max((seconds or 0 for _, seconds in rows), default=0))
        if self.report.within > _TOO_LATE:
            self.report.wrong.append(f"redelivered after {self.report.within:.1f} s")


def _kill(fleet: Fleet) -> None:
    """Kill one of two workers in the middle."""
    fleet.begin()
    fleet.kill()
    [(now,)] = fleet.ask("SELECT extract(epoch FROM clock_timestamp())::float8")
    dead = [
        job
        for (job,) in fleet.ask(
            "SELECT id FROM procrastinate_jobs WHERE status = 'doing' AND worker_id = (SELECT min(id) FROM procrastinate_workers)"
        )
    ]
    fleet.until_finished()
    fleet.redelivery(dead, now)


def _closed(fleet: Fleet) -> None:
    """Kill both workers, and start one again when the windows have closed."""
    fleet.begin()
    fleet.kill()
    fleet.kill()
    time.sleep(fleet.station.window.length + 1)
    fleet.start()
    fleet.until_finished()
    fleet.settle()
    fleet.until_finished()


def _database(fleet: Fleet) -> None:
    """Kill the database, and start it again a second later."""
    fleet.begin()
    fleet.postgres.kill()
    time.sleep(1)
    fleet.postgres.start()
    fleet.until_finished()


def _cut(fleet: Fleet) -> None:
    """Cut the line between workers and database in two ways by turns: into silence, and by resets."""
    with running(carry, urlsplit(fleet.postgres.dsn).port) as (_, talk):
        fleet.station = attrs.evolve(
            fleet.station, dsn=fleet.postgres.dsn.replace(str(fleet.postgres.port), str(talk.recv()))
        )
        fleet.begin()
        for said in ("stall" if fleet.options.seed % 2 else "cut", "mend"):
            talk.send(said)
            talk.recv()
            time.sleep(fleet.options.cut if said != "mend" else 0)
        fleet.until_finished()
        fleet.judge()
        for _ in range(_WORKERS):
            fleet.kill()


PLAYS: Final[dict[str, Callable[[Fleet], None]]] = {
    "kill": _kill,
    "closed": _closed,
    "database": _database,
    "cut": _cut,
    "control": _kill,
}


@contextlib.contextmanager
def _fleet(name: str, options: Options) -> Generator[Fleet]:
    """Set up database and sandbox, each for this play alone, with everything in the queue."""
    window = ReplayWindow(length=6, margin=1.5) if name == "closed" else ReplayWindow()
    with (
        tempfile.TemporaryDirectory() as folder,
        server(durable=True) as postgres,
        running(host, Path(folder) / "server.db", window.length) as (_, answer),
    ):
        base_url, api_key = answer.recv()
        with postgres.admin() as admin:
            admin.execute(SchemaManager.get_schema().encode())
        station = Station(postgres.dsn, base_url, api_key, window, random_key=name == "control")
        fleet = Fleet(Report(name, options.purchases), station, postgres, Path(folder) / "server.db", options)
        fleet.put_in()
        try:
            yield fleet
        finally:
            while fleet.processes:
                fleet.kill()


def play(name: str, options: Options) -> Report:
    """Play once."""
    begun = time.monotonic()
    with _fleet(name, options) as fleet:
        PLAYS[name](fleet)
        fleet.judge()
    fleet.report.seconds = time.monotonic() - begun
    return fleet.report
