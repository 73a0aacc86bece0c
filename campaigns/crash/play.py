"""Run a worker, kill it at a random moment, run it again; then hold what it said against the server's ledger."""

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
    """What a run showed; ``wrong`` must be empty and ``doubled`` 0, but for a control."""

    purchases: int
    kills: int = 0
    recovered: int = 0
    doubts: int = 0
    of_them_charged: int = 0
    doubled: int = 0
    lost: int = 0
    seconds: float = 0.0
    wrong: list[str] = attrs.field(factory=list[str])

    def told(self) -> str:
        return (
            f"{self.purchases} purchases, {self.kills} kills, {self.seconds:.0f} s: {self.doubled} charged twice, "
            f"{self.lost} lost, {self.recovered} recovered, {self.doubts} in doubt "
            f"({self.of_them_charged} of them charged), {len(self.wrong)} wrong"
        )


R = TypeVar("R", bound=Report)


@contextlib.contextmanager
def running(target: Any, *arguments: Any) -> Generator[Any]:
    """Run a process of its own; yield it with the end of a pipe."""
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
            # A worker may have ended before it was killed.
            self.report.kills += self.killed(kills - self.report.kills)
            if self.report.kills == kills:
                break
            if self._closed:
                # Some windows close in between, some do not.
                time.sleep(self.rng.choice([0.0, self.job.window.length + 0.3]))
        self.finished()
        if not self.job.random_key:
            self.settle()
            self.finished()
        self.judge()
        self.report.seconds = time.monotonic() - begun
        return self.report

    def killed(self, left: int) -> bool:
        """Kill a worker after a random number of orders and some more milliseconds; False if it ended before."""
        target = self._target(left)
        process = FORK.Process(target=self.work, args=(self.job,))
        process.start()
        self.until(process, target)
        time.sleep(self.rng.random() * 0.01)
        process.kill()
        process.join()
        if process.exitcode not in {0, -9}:
            self.report.wrong.append(f"a worker ended with {process.exitcode}")
        return process.exitcode == -9

    def _target(self, left: int) -> int:
        """Draw how many orders are to have begun before the next kill."""
        already = self.begun()
        done = len(self.done())
        open_orders = len(self.job.orders) - done
        if not open_orders:
            return already + 1 + self.rng.randint(0, len(self.job.orders) // 2)
        most = min(open_orders - 1, 2 * open_orders // (left + 1))
        return already + 1 + (0 if self.job.random_key else done) + self.rng.randint(0, most)

    def until(self, process: Any, target: int) -> None:
        """Wait until so many orders have begun."""
        end = time.monotonic() + _STUCK
        while process.is_alive() and self.begun() < target and time.monotonic() < end:
            time.sleep(0.001)

    def begun(self) -> int:
        """Count the lines of what was begun, reading only the new ones."""
        path = self.job.folder / "begun"
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            self._read += len(new)
            self._lines += new.count(b"\n")
        return self._lines

    def finished(self) -> None:
        """Let a worker run to its end."""
        process = FORK.Process(target=self.work, args=(self.job,))
        process.start()
        process.join(_STUCK)
        if process.exitcode != 0:
            process.kill()
            process.join()
            self.report.wrong.append(f"the last worker ended with {process.exitcode}")

    def settle(self) -> None:
        """Check the list of doubts against what was said and what was charged; settle them by the ledger."""
        charged, last = self.charged(), self.last()
        doubts = self.settled(charged)
        said = {order for order in self.job.orders if last.get(order) != "done"}
        if said != doubts:
            self.report.wrong.append(f"in doubt are {sorted(doubts)}, said was {sorted(said)}")
        self.report.wrong += [f"{key} is done and not charged" for key in set(last) - said if not charged[key]]

    def settled(self, charged: Counter[str]) -> set[str]:
        """Settle the doubts by the ledger, and return whose they were."""
        orders = self.keys()
        keys = {order: key for key, order in orders.items()}
        with running(settle, self.job, {keys[order]: count for order, count in charged.items()}) as (_, answer):
            found: list[str] = json.loads(answer.recv())
        doubts = {orders.get(key, key) for key in found}
        self.report.doubts = len(doubts)
        self.report.of_them_charged = sum(charged[order] > 0 for order in doubts)
        return doubts

    def judge(self) -> None:
        """Compare all that was said with the ledger."""
        charged = self.charged()
        ends = noted(self.job.folder / "ended")
        self.report.recovered = sum(words[1] == "recovered" for words in ends)
        self.report.doubled = sum(count > 1 for count in charged.values())
        self.report.lost = sum(not charged[order] for order in self.job.orders)
        strange = {words[1] for words in ends} - {"done", "doubt", "recovered", "OutcomeUnknownError"}
        if strange:
            self.report.wrong.append(f"strange ends: {strange}")

    def last(self) -> dict[str, str]:
        """What was said last of each order."""
        return {words[0]: words[1] for words in noted(self.job.folder / "ended")}

    def done(self) -> set[str]:
        """The orders that were ever said to be done."""
        return {words[0] for words in noted(self.job.folder / "ended") if words[1] == "done"}

    def keys(self) -> dict[str, str]:
        """The order of each key that was used."""
        return {words[1]: words[0] for words in noted(self.job.folder / "begun")}

    def charged(self) -> Counter[str]:
        """Count the charges of each order in the server's own books."""
        orders = self.keys()
        with contextlib.closing(sqlite3.connect(self.job.folder / "server.db")) as books:
            rows = books.execute("SELECT idempotency_key FROM entries WHERE book = 'credits' AND type = 'CREDIT'")
            return Counter(orders[key] for (key,) in rows if key in orders)


def play(kills: int, purchases: int, seed: int, *, closed: bool = False, random_key: bool = False) -> Report:
    """Play once, in a folder of its own."""
    window = ReplayWindow(length=3, margin=0.5) if closed else ReplayWindow()
    orders = tuple(f"order-{seed}-{number}" for number in range(purchases))
    with (
        tempfile.TemporaryDirectory() as folder,
        running(host, Path(folder) / "server.db", window.length) as (_, answer),
    ):
        base_url, api_key = answer.recv()
        job = Job(Path(folder), base_url, api_key, orders, window, random_key)
        return Play(job, Report(purchases), seed, closed=closed).run(kills)
