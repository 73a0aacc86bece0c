"""The scenarios: what is done to the fleet while it works, and how its results are checked."""

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
from campaigns.fleet.workers import JOB, Station, host, make_keys, make_purchases, work
from tests.support.postgres import Server, open_pooler, run_server

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
    """Size of a scenario."""

    purchases: int
    cut: float
    seed: int


@attrs.define
class Report:
    """Result of a scenario; times are in seconds."""

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

    def format_summary(self) -> str:
        again = f", {self.redelivered} redelivered within {self.within:.1f} s" if self.redelivered else ""
        doubts = f", {self.doubts} in doubt ({self.of_them_charged} of them charged)" if self.doubts else ""
        return (
            f"{self.play}: {self.purchases} purchases, {self.seconds:.0f} s: {self.doubled} charged twice, "
            f"{self.lost} lost, {self.unfinished} unfinished{again}{doubts}, {len(self.wrong)} errors"
        )


class Fleet:
    """One database, one sandbox, and workers that are started and killed."""

    def __init__(self, report: Report, station: Station, postgres: Server, ledger: Path, options: Options) -> None:
        self.report = report
        self.station = station
        self.postgres = postgres
        self.options = options
        self._ledger = ledger
        self._all = make_keys(options.purchases)
        self.processes: list[Any] = []

    def start_worker(self) -> None:
        """Start another worker, and wait until it is registered."""
        before = self.query("SELECT max(id) FROM procrastinate_workers")
        process = FORK.Process(target=work, args=(self.station,), daemon=True)
        process.start()
        self.processes.append(process)
        self.wait_until(
            lambda: self.query("SELECT max(id) FROM procrastinate_workers") != before, "the start of a worker"
        )

    def start_workers(self) -> None:
        """Start the workers, and wait until some of the purchases are charged."""
        for _ in range(_WORKERS):
            self.start_worker()
        self.wait_for_charges(_PART)

    def wait_for_charges(self, part: float) -> None:
        """Wait until a part of the purchases is charged."""
        wanted = part * self.options.purchases
        self.wait_until(lambda: self.count_charges().total() >= wanted, f"{wanted:.0f} charges")

    def kill_worker(self) -> None:
        """Kill the oldest worker."""
        process = self.processes.pop(0)
        process.kill()
        process.join()

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with self.postgres.admin() as admin:
            found = admin.execute(sql.encode(), values)
            return found.fetchall() if found.description else []

    def count_charges(self) -> Counter[str]:
        """Count the charges under each key in the server's own ledger."""
        with contextlib.closing(sqlite3.connect(self._ledger)) as books:
            found = books.execute("SELECT idempotency_key FROM entries WHERE book = 'credits' AND type = 'CREDIT'")
            return Counter(key for (key,) in found if key is not None)

    def wait_until_finished(self) -> None:
        """Wait until no job is queued or running."""
        self.wait_until(lambda: self.count_by_status().keys() <= {"succeeded", "failed"}, "the end of all jobs")

    def count_by_status(self) -> dict[str, int]:
        found = self.query("SELECT status::text, count(*) FROM procrastinate_jobs GROUP BY status")
        return {status: count for status, count in found}  # noqa: C416 - a row is no pair to the type checkers

    def wait_until(self, reached: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _STUCK
        while not reached():
            if time.monotonic() > end:
                self.report.wrong.append(f"timed out waiting for {what}: {self.count_by_status()}")
                return
            time.sleep(0.05)

    def compare_with_ledger(self) -> None:
        """Compare the queue with the ledger."""
        charged, ends = self.count_charges(), self.count_by_status()
        self.report.unfinished = self.options.purchases - ends.get("succeeded", 0)
        if self.station.random_key:
            self.report.doubled = charged.total() - self.options.purchases
            return
        self.report.doubled = sum(count > 1 for count in charged.values())
        self.report.lost = len(self._all - charged.keys())
        if strange := charged.keys() - self._all:
            self.report.wrong.append(f"{len(strange)} charges under other keys")
        if dead := [process.pid for process in self.processes if not process.is_alive()]:
            self.report.wrong.append(f"workers exited by themselves: {dead}")

    def defer_purchases(self) -> None:
        async def main() -> None:
            async with self.station.open_queue() as queue:
                await queue.defer_many(make_purchases(self.options.purchases), job=JOB)

        asyncio.run(main())

    def resolve_doubts(self) -> None:
        """Check that failed jobs are listed as in doubt; resolve them from the ledger, and resume the job."""

        async def main() -> None:
            async with self.station.open_queue() as queue, self.station.open_client() as bardge:
                doubts = [found.doubt.idempotency_key for found in await queue.doubts(JOB, bardge)]
                charged = self.count_charges()
                for key in doubts:
                    await bardge.resolve(key, done=key in charged or None, never_happened=key not in charged)
                self.report.doubts = len(doubts)
                self.report.of_them_charged = sum(key in charged for key in doubts)
                failed = {
                    key
                    for (key,) in self.query("SELECT args ->> 'key' FROM procrastinate_jobs WHERE status = 'failed'")
                }
                if failed != set(doubts):
                    self.report.wrong.append(f"jobs that are only failed or only in doubt: {len(failed ^ set(doubts))}")
                await queue.resume(JOB)

        asyncio.run(main())

    def check_redelivery(self, dead: list[int], killed_at: float) -> None:
        """Measure when the jobs of a dead worker were restarted."""
        rows = self.query(_LATER, killed_at, killed_at, dead)
        self.report.redelivered = len(rows)
        if any(seconds is None for _, seconds in rows):
            self.report.wrong.append("a dead worker's job was never restarted")
        self.report.within = float(max((seconds or 0 for _, seconds in rows), default=0))
        if self.report.within > _TOO_LATE:
            self.report.wrong.append(f"redelivered after {self.report.within:.1f} s")


def _kill_one_worker(fleet: Fleet) -> None:
    """Kill one of two workers midway."""
    fleet.start_workers()
    fleet.kill_worker()
    [(now,)] = fleet.query("SELECT extract(epoch FROM clock_timestamp())::float8")
    dead = [
        job
        for (job,) in fleet.query(
            "SELECT id FROM procrastinate_jobs "
            "WHERE status = 'doing' AND worker_id = (SELECT min(id) FROM procrastinate_workers)"
        )
    ]
    fleet.wait_until_finished()
    fleet.check_redelivery(dead, now)


def _restart_after_windows(fleet: Fleet) -> None:
    """Kill both workers, and start one after the windows have closed."""
    fleet.start_workers()
    fleet.kill_worker()
    fleet.kill_worker()
    time.sleep(fleet.station.window.length + 1)
    fleet.start_worker()
    fleet.wait_until_finished()
    fleet.resolve_doubts()
    fleet.wait_until_finished()


def _kill_database(fleet: Fleet) -> None:
    """Kill the database, and restart it a second later."""
    fleet.start_workers()
    fleet.postgres.kill()
    time.sleep(1)
    fleet.postgres.start()
    fleet.wait_until_finished()


def _cut_connection(fleet: Fleet) -> None:
    """Cut the connection between workers and database: stalled with odd seeds, reset with even ones."""
    with running(carry, urlsplit(fleet.postgres.dsn).port) as (_, talk):
        fleet.station = attrs.evolve(
            fleet.station, dsn=fleet.postgres.dsn.replace(str(fleet.postgres.port), str(talk.recv()))
        )
        fleet.start_workers()
        for said in ("stall" if fleet.options.seed % 2 else "cut", "restore"):
            talk.send(said)
            talk.recv()
            time.sleep(fleet.options.cut if said != "restore" else 0)
        fleet.wait_until_finished()
        fleet.compare_with_ledger()
        for _ in range(_WORKERS):
            fleet.kill_worker()


def _kill_pooler(fleet: Fleet) -> None:
    """Kill the pooler between workers and database twice; it keeps no sessions, and clears none."""
    with open_pooler(fleet.postgres, size=4, stateless=False) as pooler:
        fleet.station = attrs.evolve(fleet.station, dsn=pooler.dsn)
        fleet.start_workers()
        for part in (0.4, 0.7):
            fleet.wait_for_charges(part)
            pooler.kill()
            time.sleep(1)
            pooler.start()
        fleet.wait_until_finished()
        fleet.compare_with_ledger()
        for _ in range(_WORKERS):
            fleet.kill_worker()


PLAYS: Final[dict[str, Callable[[Fleet], None]]] = {
    "kill": _kill_one_worker,
    "closed": _restart_after_windows,
    "database": _kill_database,
    "cut": _cut_connection,
    "pooler": _kill_pooler,
    "control": _kill_one_worker,
}


@contextlib.contextmanager
def _open_fleet(name: str, options: Options) -> Generator[Fleet]:
    """Set up a database and a sandbox for one scenario, with all purchases in the queue."""
    window = ReplayWindow(length=6, margin=1.5) if name == "closed" else ReplayWindow()
    with (
        tempfile.TemporaryDirectory() as folder,
        run_server(durable=True) as postgres,
        running(host, Path(folder) / "server.db", window.length) as (_, answer),
    ):
        base_url, api_key = answer.recv()
        with postgres.admin() as admin:
            admin.execute(SchemaManager.get_schema().encode())
        station = Station(postgres.dsn, base_url, api_key, window, random_key=name == "control")
        fleet = Fleet(Report(name, options.purchases), station, postgres, Path(folder) / "server.db", options)
        fleet.defer_purchases()
        try:
            yield fleet
        finally:
            while fleet.processes:
                fleet.kill_worker()


def play(name: str, options: Options) -> Report:
    """Run a scenario once."""
    begun = time.monotonic()
    with _open_fleet(name, options) as fleet:
        PLAYS[name](fleet)
        fleet.compare_with_ledger()
    fleet.report.seconds = time.monotonic() - begun
    return fleet.report
