"""Measure import times, each in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Final

BASE: Final = "aiohttp"
IMPORTS: Final[Mapping[str, str]] = {
    "bardge_async": "import bardge_async",
    BASE: "import aiohttp",
    "bardge_async + BardgeClient()": "import bardge_async; bardge_async.BardgeClient('k', 'http://127.0.0.1:1')",
}


def measure(contestant: str) -> float:
    """Return the milliseconds that a statement takes in a fresh interpreter."""
    program = f"import time; a = time.perf_counter(); {IMPORTS[contestant]}; print(time.perf_counter() - a)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own line
    return float(done.stdout) * 1000
