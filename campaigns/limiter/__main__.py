"""``python -m campaigns.limiter``: measure processes that share one rate; 1 when a goal is missed."""

# ruff: noqa: T201 - a command
from __future__ import annotations

import argparse
import asyncio
import sys

from campaigns.limiter.measure import measure


def main(arguments: list[str]) -> int:
    """Measure, and judge it."""
    parser = argparse.ArgumentParser(prog="python -m campaigns.limiter", description="1 when a goal is missed.")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--tasks", type=int, default=25)
    given = parser.parse_args(arguments)
    report = asyncio.run(measure(given.processes, given.rate, given.seconds, given.tasks))
    print(*report.told(), *report.wrong(), sep="\n")
    return 1 if report.wrong() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
