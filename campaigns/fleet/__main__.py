"""``python -m campaigns.fleet``: test a fleet; exits with 1 after a wrong charge or a control without one."""

# ruff: noqa: T201 - a command
from __future__ import annotations

import argparse
import logging
import sys

from campaigns.fleet.plays import PLAYS, Options, play


def main(arguments: list[str]) -> int:
    """Run each scenario the given number of times."""
    for name in ("bardge_async", "procrastinate", "psycopg.pool", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(prog="python -m campaigns.fleet", description=__doc__)
    parser.add_argument("plays", nargs="*", metavar="PLAY", help=f"any of {', '.join(PLAYS)}; default: all")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--purchases", type=int, default=1000)
    parser.add_argument("--cut", type=float, default=30.0, help="seconds without the database")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    bad = 0
    for name in given.plays or PLAYS:
        for number in range(given.times):
            report = play(name, Options(given.purchases, given.cut, given.seed + number))
            print(report.format_summary(), *report.wrong[:10], sep="\n  ", flush=True)
            bad += not report.good
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
