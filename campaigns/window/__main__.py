"""``python -m campaigns.window``: play faults until there were enough, and tell what came of it."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from collections import Counter
from typing import Any

from campaigns.window.virtual import run
from campaigns.window.world import Report, campaign, draw

EACH = 500
"""Faults of one seed."""


def main(arguments: list[str]) -> int:
    """Run; 1 when anything was charged twice or reported wrongly; for a control run, when nothing was."""
    options = _options(arguments)
    begun = time.monotonic()
    total = Report("all")
    seed = options.seed
    while total.played.total() < options.faults and time.monotonic() - begun < options.seconds:
        wanted = min(EACH, options.faults - total.played.total())
        _add(total, run(campaign(draw(str(seed), control=options.control, journal=options.journal), wanted)))
        seed += 1
    _print(total, time.monotonic() - begun, f"seeds {options.seed} to {seed - 1}")
    if options.control:
        return 0 if total.doubles else 1
    _say(*total.faults[:5])
    return 1 if total.faults or total.doubles else 0


def _options(arguments: list[str]) -> Any:
    parser = argparse.ArgumentParser(prog="python -m campaigns.window", description=__doc__)
    parser.add_argument("--faults", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1, help="the first one; each stands for up to 500 faults")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further seed after so long")
    parser.add_argument("--journal", choices=["memory", "sqlite"], default="memory", help="where keys are kept")
    parser.add_argument("--control", choices=["random-key", "no-window"], help="must show double charges")
    return parser.parse_args(arguments)


def _add(total: Report, one: Report) -> None:
    total.played += one.played
    total.outcomes += one.outcomes
    total.calls += one.calls
    total.requests += one.requests
    total.doubles += one.doubles
    total.late_doubles += one.late_doubles
    total.faults += one.faults


def _print(total: Report, seconds: float, seeds: str) -> None:
    _say(
        f"{total.played.total()} faults in {total.calls} calls, {total.requests} requests, {seconds:.0f} s ({seeds})",
        f"charged twice: {total.doubles}; by requests begun after their key expired: {total.late_doubles}",
        f"wrong: {len(total.faults)}",
        f"ends: {_listed(total.outcomes)}",
        f"faults: {_listed(total.played)}",
    )


def _say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


if __name__ == "__main__":
    warnings.simplefilter("error")
    logging.getLogger("bardge_async").setLevel(logging.CRITICAL)
    sys.exit(main(sys.argv[1:]))
