"""``python -m tests.crash``: kill a buying process again and again; 1 when anything was charged twice, lost or wrong."""

# ruff: noqa: T201 - a command
from __future__ import annotations

import argparse
import logging
import sys

from tests.crash.play import play


def main(arguments: list[str]) -> int:
    """Play; a control must show double charges."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--purchases", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--closed", action="store_true", help="3-second windows, which close between the runs")
    parser.add_argument("--control", choices=["random-key"], help="must show double charges")
    options = parser.parse_args(arguments)
    logging.getLogger("bardge_async").setLevel(logging.CRITICAL)
    control = options.control is not None
    report = play(options.kills, options.purchases, options.seed, closed=options.closed, random_key=control)
    print(report.told(), *report.wrong[:10], sep="\n")
    if control:
        return 0 if report.doubled else 1
    return 1 if report.doubled or report.lost or report.wrong or report.kills < options.kills else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
