"""Run a worker, kill it at a random moment, run it again; then compare its outcomes with the server's ledger."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import random
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import attrs

from bardge_async import ReplayWindow
from campaigns.crash.worker import Job, host, noted, settle, work

FORK: Final = multiprocessing.get_context("fork")
_STUCK: Final = 60.0


@attrs.define
class Report:
    """Result of a campaign; ``wrong`` must be empty and ``doubled`` 0, except in a control."""

    purchases: int
    kills: int = 0
    recovered: int = 0
    doubts: int = 0
    of_them_charged: int = 0
    doubled: int = 0
    lost: int = 0
    seconds: float = 0.0
    wrong: list[str] = attrs.field(factory=list[str])

    def format_summary(self) -> str:
        return (
            f"{self.purchases} purchases, {self.kills} kills, {self.seconds:.0f} s: {self.doubled} charged twice, "
            f"{self.lost} lost, {self.recovered} recovered, {self.doubts} in doubt "
            f"({self.of_them_charged} of them charged), {len(self.wrong)} errors"
        )


R = TypeVar("R", bound=Report)


@contextlib.contextmanager
def running(target: Any, *arguments: Any) -> Generator[Any]:
    """Run the target in a process; yield it with our end of a pipe."""
    mine, theirs = FORK.Pipe()
    process = FORK.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield process, mine
    finally:
        process.kill()
        process.join()
        mine.close()


class Play(Generic[R]):
    """One folder, one server, one worker after another."""

    work: Callable[[Any], None] = staticmethod(work)

    def __init__(self, job: Job, report: R, seed: int, *, closed: bool) -> None:
        self.job = job
        self.report = report
        self.rng = random.Random(seed)
        self._closed = closed
        self._read = self._lines = 0

    def run(self, kills: int) -> R:
        begun = time.monotonic()
        for _ in range(3 * kills):
            # A worker may finish before it is killed.
            self.report.kills += self.kill_worker(kills - self.report.kills)
            if self.report.kills == kills:
                break
            if self._closed:
                # Let some windows close in between, but not all.
                time.sleep(self.rng.choice([0.0, self.job.window.length + 0.3]))
        self.finish_job()
        if not self.job.random_key:
            self.resolve_doubts()
            self.finish_job()
        self.compare_with_ledger()
        self.report.seconds = time.monotonic() - begun
        return self.report

    def kill_worker(self, left: int) -> bool:
        """Kill a worker after a random number of orders and a few milliseconds; return False if it finished before."""
        target = self._draw_target(left)
        process = FORK.Process(target=self.work, args=(self.job,))
        process.start()
        self.wait_for_orders(process, target)
        time.sleep(self.rng.random() * 0.01)
        process.kill()
        process.join()
        if process.exitcode not in {0, -9}:
            self.report.wrong.append(f"a worker exited with {process.exitcode}")
        return process.exitcode == -9

    def _draw_target(self, left: int) -> int:
        """Draw how many orders must have started before the next kill."""
        already = self.count_started()
        done = len(self.done_orders())
        open_orders = len(self.job.orders) - done
        if not open_orders:
            return already + 1 + self.rng.randint(0, len(self.job.orders) // 2)
        most = min(open_orders - 1, 2 * open_orders // (left + 1))
        return already + 1 + (0 if self.job.random_key else done) + self.rng.randint(0, most)

    def wait_for_orders(self, process: Any, target: int) -> None:
        """Wait until ``target`` orders have started."""
        end = time.monotonic() + _STUCK
        while process.is_alive() and self.count_started() < target and time.monotonic() < end:
            time.sleep(0.001)

    def count_started(self) -> int:
        """Count the started orders, reading only the new lines."""
        path = self.job.folder / "begun"
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            self._read += len(new)
            self._lines += new.count(b"\n")
        return self._lines

    def finish_job(self) -> None:
        """Run a worker to completion."""
        process = FORK.Process(target=self.work, args=(self.job,))
        process.start()
        process.join(_STUCK)
        if process.exitcode != 0:
            process.kill()
            process.join()
            self.report.wrong.append(f"the last worker exited with {process.exitcode}")

    def resolve_doubts(self) -> None:
        """Compare the doubts with the reported outcomes and the charges; resolve them from the ledger."""
        charged, last = self.count_charges(), self.last_outcomes()
        doubts = self.resolve_from_ledger(charged)
        said = {order for order in self.job.orders if last.get(order) != "done"}
        if said != doubts:
            self.report.wrong.append(f"in doubt are {sorted(doubts)}, reported were {sorted(said)}")
        self.report.wrong += [f"{key} is done, but not charged" for key in set(last) - said if not charged[key]]

    def resolve_from_ledger(self, charged: Counter[str]) -> set[str]:
        """Resolve the doubts from the ledger; return their orders."""
        orders = self.orders_by_key()
        keys = {order: key for key, order in orders.items()}
        with running(settle, self.job, {keys[order]: count for order, count in charged.items()}) as (_, answer):
            found: list[str] = json.loads(answer.recv())
        doubts = {orders.get(key, key) for key in found}
        self.report.doubts = len(doubts)
        self.report.of_them_charged = sum(charged[order] > 0 for order in doubts)
        return doubts

    def compare_with_ledger(self) -> None:
        """Compare all reported outcomes with the ledger."""
        charged = self.count_charges()
        ends = noted(self.job.folder / "ended")
        self.report.recovered = sum(words[1] == "recovered" for words in ends)
        self.report.doubled = sum(count > 1 for count in charged.values())
        self.report.lost = sum(not charged[order] for order in self.job.orders)
        strange = {words[1] for words in ends} - {"done", "doubt", "recovered", "OutcomeUnknownError"}
        if strange:
            self.report.wrong.append(f"unexpected outcomes: {strange}")

    def last_outcomes(self) -> dict[str, str]:
        """Return the last reported outcome of each order."""
        return {words[0]: words[1] for words in noted(self.job.folder / "ended")}

    def done_orders(self) -> set[str]:
        """Return the orders that were reported as done at any time."""
        return {words[0] for words in noted(self.job.folder / "ended") if words[1] == "done"}

    def orders_by_key(self) -> dict[str, str]:
        """Return the order of each key that was used."""
        return {words[1]: words[0] for words in noted(self.job.folder / "begun")}

    def count_charges(self) -> Counter[str]:
        """Count the charges of each order in the server's own ledger."""
        orders = self.orders_by_key()
        with contextlib.closing(sqlite3.connect(self.job.folder / "server.db")) as books:
            rows = books.execute("SELECT idempotency_key FROM entries WHERE book = 'credits' AND type = 'CREDIT'")
            return Counter(orders[key] for (key,) in rows if key in orders)


def play(kills: int, purchases: int, seed: int, *, closed: bool = False, random_key: bool = False) -> Report:
    """Run the campaign once, in a folder of its own."""
    window = ReplayWindow(length=3, margin=0.5) if closed else ReplayWindow()
    orders = tuple(f"order-{seed}-{number}" for number in range(purchases))
    with (
        tempfile.TemporaryDirectory() as folder,
        running(host, Path(folder) / "server.db", window.length) as (_, answer),
    ):
        base_url, api_key = answer.recv()
        job = Job(Path(folder), base_url, api_key, orders, window, random_key)
        return Play(job, Report(purchases), seed, closed=closed).run(kills)
