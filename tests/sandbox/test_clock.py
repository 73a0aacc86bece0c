"""The sandbox's clock runs, advances and wakes its waiters."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from bardge_async.errors import InvalidArgumentError
from bardge_async.sandbox import SandboxClock

START = dt.datetime(2026, 5, 19, 12, tzinfo=dt.UTC)


async def test_clock_starts_where_told() -> None:
    """A given start is the time."""
    assert SandboxClock(START).now() - START < dt.timedelta(seconds=1)


async def test_advance_moves_both_readings() -> None:
    """``now`` and ``wall`` return the same time."""
    clock = SandboxClock(START)
    clock.advance(3_600)
    assert (
        clock.now().timestamp() == pytest.approx(clock.wall(), abs=1) == pytest.approx(START.timestamp() + 3_600, abs=1)
    )


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e9])
async def test_clock_makes_no_wild_steps(seconds: float) -> None:
    """A step back, or one beyond the calendar, is rejected."""
    with pytest.raises(InvalidArgumentError):
        SandboxClock().advance(seconds)


async def test_advance_wakes_a_sleeper() -> None:
    """An hour passes immediately when advanced, and not before it is over."""
    clock = SandboxClock()
    task = asyncio.ensure_future(clock.sleep(3_600))
    await asyncio.sleep(0)
    clock.advance(1_800)
    await asyncio.sleep(0.01)
    early = task.done()
    clock.advance(1_800)
    await task
    assert not early


async def test_sleep_passes_by_itself() -> None:
    """Without being advanced the time passes in real time."""
    await SandboxClock().sleep(0.01)
