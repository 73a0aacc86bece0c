"""``python -m campaigns.limiter``: measure processes that share one rate; exits with 1 if a goal is missed."""

# ruff: noqa: T201 - a command
from __future__ import annotations

import argparse
import asyncio
import sys

from campaigns.limiter.measure import measure


def main(arguments: list[str]) -> int:
    """Measure, print the report and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m campaigns.limiter", description="Exits with 1 if a goal is missed."
    )
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--tasks", type=int, default=25)
    given = parser.parse_args(arguments)
    report = asyncio.run(measure(given.processes, given.rate, given.seconds, given.tasks))
    print(*report.format_lines(), *report.missed_goals(), sep="\n")
    return 1 if report.missed_goals() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
