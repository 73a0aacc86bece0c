"""A batch under kills and faults: the small form of ``python -m campaigns.batch``."""

from __future__ import annotations

import pytest

from campaigns.batch import many
from campaigns.batch.play import play

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


def test_kills_and_faults() -> None:
    """Worker and server killed, faults on the network: nothing duplicated, nothing lost, and every report is true."""
    report = play(2, 1, 120, 5, rate=0.15)
    assert (report.kills, report.restarts, report.doubled, report.lost, report.wrong) == (2, 1, 0, 0, [])
    assert report.faults.total() > 0


def test_control() -> None:
    """With another job name in each run the same scenario duplicates: the campaign detects it."""
    assert play(2, 0, 60, 1, rate=0.0, random_key=True).doubled > 0


def test_server_in_step() -> None:
    """After a batch of expiry updates every client's pass has the requested date."""
    long = many.play(300)
    assert (long.ends, long.wrong) == ({"done": 300}, [])
