"""Kill the worker and the server while a batch runs; then compare its outcomes with the server's ledger."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from bardge_async import ReplayWindow, Timeouts
from campaigns.batch.server import Server
from campaigns.batch.worker import DONE, LATE, PACKAGE, Place, work
from campaigns.crash.play import Play, Report
from campaigns.crash.worker import CLIENT, Job, noted

_SPOILED = 0.05
_TIMEOUTS = Timeouts(total=20, attempt=0.8 * LATE)


@attrs.define
class BatchReport(Report):
    """Result of a campaign; ``faults`` are counted by kind, ``ends`` are the reported outcomes of all runs."""

    restarts: int = 0
    faults: Counter[str] = attrs.field(factory=Counter[str])
    ends: Counter[str] = attrs.field(factory=Counter[str])

    def format_summary(self) -> str:
        return (
            f"{self.purchases} purchases, {self.kills} kills, {self.restarts} restarts of the server, "
            f"{self.seconds:.0f} s: {self.doubled} charged twice, {self.lost} lost, {self.doubts} in doubt at the end "
            f"({self.of_them_charged} of them charged), {len(self.wrong)} errors\n"
            f"{self.faults.total()} faults: {format_counts(self.faults)}\n"
            f"outcomes of all runs: {format_counts(self.ends)}"
        )


def format_counts(counts: Counter[str]) -> str:
    """Format counts, largest first."""
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


class BatchPlay(Play[BatchReport]):
    """One folder, one job in one worker after another, one server that is restarted repeatedly."""

    work = staticmethod(work)

    def __init__(self, job: Job, server: Server, seed: int, *, closed: bool) -> None:
        super().__init__(job, BatchReport(len(job.orders)), seed, closed=closed)
        self._server = server
        self._restarts = 0.0
        self._due = 0.0
        self._outcomes_read = 0

    def run_with_restarts(self, kills: int, restarts: int) -> BatchReport:
        """Run, with the restarts spread over the kills."""
        self._restarts = restarts / kills
        report = self.run(kills)
        report.faults = self._server.played
        return report

    def kill_worker(self, left: int) -> bool:
        killed = super().kill_worker(left)
        self._check_outcomes(self._read_new_outcomes())
        return killed

    def wait_for_orders(self, process: Any, target: int) -> None:
        self._due += self._restarts
        while self.report.restarts < round(self._due):
            super().wait_for_orders(process, self.rng.randint(self.count_started(), max(target, self.count_started())))
            self._server.kill()
            time.sleep(self.rng.random() * 0.3)
            self._server.revive()
            self.report.restarts += 1
        super().wait_for_orders(process, target)

    def finish_job(self) -> None:
        self._server.calm()
        super().finish_job()
        said = self._read_new_outcomes()
        self._check_outcomes(said)
        if not self.job.random_key:
            self._add_error("no outcome in the last run", set(self.job.orders) - said.keys())
            self._add_error("failed without any fault", {order for order, status in said.items() if status == "failed"})

    def resolve_doubts(self) -> None:
        charged, last = self.count_charges(), self.last_outcomes()
        doubts = self.resolve_from_ledger(charged)
        said = {order for order in self.job.orders if last.get(order) == "in_doubt"}
        self._add_error("in doubt according to only one of the run and in_doubt()", said ^ doubts)
        self._check_charges(
            charged, {order for order, status in last.items() if status in DONE} | doubts & charged.keys()
        )

    def compare_with_ledger(self) -> None:
        charged = self.count_charges()
        self.report.ends = Counter(words[1] for words in noted(self.job.folder / "ended"))
        self.report.doubled = sum(count > 1 for count in charged.values())
        wanted = {order for order in self.job.orders if not order.startswith("gone")}
        self.report.lost = len(wanted - charged.keys())
        if not self.job.random_key:
            self._check_charges(charged, wanted)
            self._add_error(
                "not refused", {o for o, said in self.last_outcomes().items() if (said == "refused") == (o in wanted)}
            )

    def done_orders(self) -> set[str]:
        return {words[0] for words in noted(self.job.folder / "ended") if words[1] in DONE}

    def _read_new_outcomes(self) -> dict[str, str]:
        """Return the outcomes reported since the last call."""
        ends = noted(self.job.folder / "ended")
        new, self._outcomes_read = ends[self._outcomes_read :], len(ends)
        return {words[0]: words[1] for words in new}

    def _check_outcomes(self, said: dict[str, str]) -> None:
        """Compare a run's outcomes with the ledger, and the ledger with the journal."""
        if self.job.random_key:
            return
        charged = self.count_charges()
        never = {order for order, status in said.items() if status in {"refused", "failed"}}
        self._add_error("refused or failed, but charged", never & charged.keys())
        self._add_error(
            "done, but not charged exactly once", {order for order in self.done_orders() if charged[order] != 1}
        )
        self._add_error("charged, but not in the journal", charged.keys() - self._read_recorded_orders())

    def _read_recorded_orders(self) -> set[str]:
        """Return the orders that are sent or done according to the journal."""
        orders = self.orders_by_key()
        with contextlib.closing(sqlite3.connect(self.job.journal)) as journal:
            return {orders[key] for (key,) in journal.execute("SELECT key FROM entries WHERE state <> 'refused'")}

    def _check_charges(self, charged: Counter[str], orders: set[str]) -> None:
        """Check that exactly these orders were charged, once each, and that the sum agrees."""
        self._add_error("charged according to only one of ledger and outcomes", charged.keys() ^ orders)
        with contextlib.closing(sqlite3.connect(self._server.place.db)) as books:
            (money,) = books.execute(
                "SELECT sum(e.amount) FROM entries e JOIN clients c ON c.seq = e.client "
                "WHERE c.id = ? AND e.book = 'credits' AND e.idempotency_key NOT NULL",
                (CLIENT,),
            ).fetchone()
            (each,) = books.execute("SELECT credits FROM credit_packages WHERE id = ?", (PACKAGE,)).fetchone()
        if money != each * len(orders):
            self.report.wrong.append(f"the ledger's sum is {money}, expected {len(orders)} times {each}")

    def _add_error(self, what: str, orders: set[str]) -> None:
        if orders:
            self.report.wrong.append(f"{what}: {len(orders)} orders, such as {sorted(orders)[:5]}")


def play(
    kills: int,
    restarts: int,
    purchases: int,
    seed: int,
    *,
    rate: float = _SPOILED,
    closed: bool = False,
    random_key: bool = False,
) -> BatchReport:
    """Run the campaign once, in a folder of its own."""
    window = ReplayWindow(length=3, margin=LATE) if closed else ReplayWindow()
    orders = tuple(f"{'order' if number % 50 else 'gone'}-{number}" for number in range(purchases))
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Place(Path(folder) / "server.db", window.length, rate, seed)) as server,
    ):
        job = Job(Path(folder), server.base_url, server.api_key, orders, window, random_key, _TIMEOUTS)
        return BatchPlay(job, server, seed, closed=closed).run_with_restarts(kills, restarts)
