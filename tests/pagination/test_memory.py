"""Walking takes no more memory the longer it goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# What a tenth of the items would take if they were kept: 0.5 KiB and more each.
MOST_KIB = 5 * 1024


@pytest.mark.skipif(sys.platform == "win32", reason="the peak is asked of the resource module")
def test_flat() -> None:
    """Over 100,000 items a process grows by a few pages at most, also while it maps."""
    ways = {"items": 100_000, "map": 40_000, "unordered": 40_000}
    children = {
        way: subprocess.Popen(
            [sys.executable, "-m", "tests.pagination.flat", str(count), way],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        for way, count in ways.items()
    }
    told = {way: json.loads(child.communicate(timeout=60)[0]) for way, child in children.items()}
    assert {way: found["count"] for way, found in told.items()} == ways
    assert max(found["growth"] for found in told.values()) < MOST_KIB
