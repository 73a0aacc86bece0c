"""Kill the worker and the server while a batch runs; then hold what it said against the server's ledger."""

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
    """What a run showed; ``faults`` counts by kind, ``ends`` what was said over all runs."""

    restarts: int = 0
    faults: Counter[str] = attrs.field(factory=Counter[str])
    ends: Counter[str] = attrs.field(factory=Counter[str])

    def told(self) -> str:
        return (
            f"{self.purchases} purchases, {self.kills} kills, {self.restarts} restarts of the server, "
            f"{self.seconds:.0f} s: {self.doubled} charged twice, {self.lost} lost, {self.doubts} in doubt at the end "
            f"({self.of_them_charged} of them charged), {len(self.wrong)} wrong\n"
            f"{self.faults.total()} faults: {listed(self.faults)}\nsaid over all runs: {listed(self.ends)}"
        )


def listed(counts: Counter[str]) -> str:
    """Write counts, the largest first."""
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


class BatchPlay(Play[BatchReport]):
    """One folder, one job in one worker after another, one server that is started again and again."""

    work = staticmethod(work)

    def __init__(self, job: Job, server: Server, seed: int, *, closed: bool) -> None:
        super().__init__(job, BatchReport(len(job.orders)), seed, closed=closed)
        self._server = server
        self._restarts = 0.0
        self._due = 0.0
        self._heard = 0

    def played(self, kills: int, restarts: int) -> BatchReport:
        """Spread the restarts over the kills, and run."""
        self._restarts = restarts / kills
        report = self.run(kills)
        report.faults = self._server.played
        return report

    def killed(self, left: int) -> bool:
        killed = super().killed(left)
        self._check(self._said_now())
        return killed

    def until(self, process: Any, target: int) -> None:
        self._due += self._restarts
        while self.report.restarts < round(self._due):
            super().until(process, self.rng.randint(self.begun(), max(target, self.begun())))
            self._server.kill()
            time.sleep(self.rng.random() * 0.3)
            self._server.revive()
            self.report.restarts += 1
        super().until(process, target)

    def finished(self) -> None:
        self._server.calm()
        super().finished()
        said = self._said_now()
        self._check(said)
        if not self.job.random_key:
            self._note("the last run said nothing of", set(self.job.orders) - said.keys())
            self._note("failed without faults", {order for order, status in said.items() if status == "failed"})

    def settle(self) -> None:
        charged, last = self.charged(), self.last()
        doubts = self.settled(charged)
        said = {order for order in self.job.orders if last.get(order) == "in_doubt"}
        self._note("in doubt by only one of the run and in_doubt()", said ^ doubts)
        self._compare(charged, {order for order, status in last.items() if status in DONE} | doubts & charged.keys())

    def judge(self) -> None:
        charged = self.charged()
        self.report.ends = Counter(words[1] for words in noted(self.job.folder / "ended"))
        self.report.doubled = sum(count > 1 for count in charged.values())
        wanted = {order for order in self.job.orders if not order.startswith("gone")}
        self.report.lost = len(wanted - charged.keys())
        if not self.job.random_key:
            self._compare(charged, wanted)
            self._note("not refused", {o for o, said in self.last().items() if (said == "refused") == (o in wanted)})

    def done(self) -> set[str]:
        return {words[0] for words in noted(self.job.folder / "ended") if words[1] in DONE}

    def _said_now(self) -> dict[str, str]:
        """What was said since it was asked last."""
        ends = noted(self.job.folder / "ended")
        new, self._heard = ends[self._heard :], len(ends)
        return {words[0]: words[1] for words in new}

    def _check(self, said: dict[str, str]) -> None:
        """Hold a run's words against the ledger, and the ledger against the journal."""
        if self.job.random_key:
            return
        charged = self.charged()
        never = {order for order, status in said.items() if status in {"refused", "failed"}}
        self._note("refused or failed, and charged", never & charged.keys())
        self._note("done, and not charged once", {order for order in self.done() if charged[order] != 1})
        self._note("charged, and not on record", charged.keys() - self._on_record())

    def _on_record(self) -> set[str]:
        """The orders that the journal holds as sent or done."""
        orders = self.keys()
        with contextlib.closing(sqlite3.connect(self.job.journal)) as journal:
            return {orders[key] for (key,) in journal.execute("SELECT key FROM entries WHERE state <> 'refused'")}

    def _compare(self, charged: Counter[str], orders: set[str]) -> None:
        """See that each of some orders is charged once, no other one, and that the money says the same."""
        self._note("charged by only one of ledger and words", charged.keys() ^ orders)
        with contextlib.closing(sqlite3.connect(self._server.place.db)) as books:
            (money,) = books.execute(
                "SELECT sum(e.amount) FROM entries e JOIN clients c ON c.seq = e.client "
                "WHERE c.id = ? AND e.book = 'credits' AND e.idempotency_key NOT NULL",
                (CLIENT,),
            ).fetchone()
            (each,) = books.execute("SELECT credits FROM credit_packages WHERE id = ?", (PACKAGE,)).fetchone()
        if money != each * len(orders):
            self.report.wrong.append(f"the ledger's sum is {money}, expected {len(orders)} times {each}")

    def _note(self, what: str, orders: set[str]) -> None:
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
    """Play once, in a folder of its own."""
    window = ReplayWindow(length=3, margin=LATE) if closed else ReplayWindow()
    orders = tuple(f"{'order' if number % 50 else 'gone'}-{number}" for number in range(purchases))
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Place(Path(folder) / "server.db", window.length, rate, seed)) as server,
    ):
        job = Job(Path(folder), server.base_url, server.api_key, orders, window, random_key, _TIMEOUTS)
        return BatchPlay(job, server, seed, closed=closed).played(kills, restarts)
