"""Kill -9 at random moments: the small form of ``python -m campaigns.crash``."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bardge_async import ReplayWindow
from campaigns.crash.play import FORK, play, running
from campaigns.crash.worker import Job, drain, host, noted

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def test_windows_open() -> None:
    """Killed and run again while windows are open: nothing duplicated, nothing lost, nothing in doubt."""
    report = play(3, 60, 1)
    assert (report.kills, report.doubled, report.lost, report.doubts, report.wrong) == (3, 0, 0, 0, [])


def test_windows_closed() -> None:
    """Killed and run again after windows closed: nothing duplicated or lost; exactly the unanswered are in doubt."""
    # Where a worker is faster than its kill, one play may wait for no window to close: two do not.
    reports = [play(3, 60, seed, closed=True) for seed in (5, 6)]
    assert [(one.kills, one.doubled, one.lost, one.wrong) for one in reports] == [(3, 0, 0, [])] * 2
    assert sum(one.doubts for one in reports) > 0


def test_control() -> None:
    """With a random key for every entry the same scenario duplicates: the campaign detects it."""
    assert play(3, 60, 1, random_key=True).doubled > 0


@pytest.fixture
def job() -> Iterator[Job]:
    """A server, and 100 orders not yet processed."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(host, Path(folder) / "server.db", 90.0) as (_, answer),
    ):
        base_url, api_key = answer.recv()
        orders = tuple(f"order-{number}" for number in range(100))
        yield Job(Path(folder), base_url, api_key, orders, ReplayWindow())


def count_requests(job: Job) -> Counter[tuple[str, str]]:
    return Counter((words[0], words[2]) for words in noted(job.folder / "ended"))


def test_two_processes_with_the_same_keys(job: Job) -> None:
    """Two processes enter the same 100 keys concurrently: each is sent by one of them, and both get its response."""
    begin = FORK.Barrier(2)
    both = [FORK.Process(target=drain, args=(job, begin)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert count_requests(job) == Counter({(order, word): 1 for order in job.orders for word in ("new", "again")})


def test_killed_holder(job: Job) -> None:
    """One of two processes with the same keys is killed: the other completes all of its orders."""
    begin = FORK.Barrier(2)
    victim, other = (FORK.Process(target=drain, args=(job, begin)) for _ in range(2))
    victim.start()
    other.start()
    while len(noted(job.folder / "begun")) < 40:
        time.sleep(0.001)
    victim.kill()
    victim.join()
    other.join(30)
    assert other.exitcode == 0
    assert {words[0] for words in noted(job.folder / "ended")} == set(job.orders)
