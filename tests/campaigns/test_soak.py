"""The soak finds nothing that grows on either event loop, and would find it."""

from __future__ import annotations

import subprocess
import sys

import attrs
import pytest

from campaigns.soak.__main__ import Reading, find_growth

FLAT = [Reading(descriptors=10, tasks=1, slots_taken=0, connections_taken=0, memory=2**20)] * 8


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_nothing_grows(loop: str) -> None:
    """A short run ends with nothing left behind."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    command = [sys.executable, "-W", "error", "-m", "campaigns.soak", "--operations", "400", "--loop", loop]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize("name", ["descriptors", "tasks", "slots_taken", "connections_taken", "memory"])
def test_growth_is_found(name: str) -> None:
    """What is larger in the last round than in the first ones is named."""
    assert find_growth(FLAT) == []
    last = attrs.evolve(FLAT[-1], **{name: 2**24})
    assert find_growth([*FLAT, last]) == [name]
