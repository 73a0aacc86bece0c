"""``python -m campaigns.window``: inject a number of faults and print the results."""

from __future__ import annotations

import argparse
import functools
import logging
import multiprocessing
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

from campaigns.window.setup import CONTROLS, draw
from campaigns.window.virtual import run
from campaigns.window.world import Report, campaign

EACH = 500
"""Maximum number of faults per seed."""
_PROGRESS = 100
"""Seeds between two lines about the progress."""


def main(arguments: list[str]) -> int:
    """Run the campaign; return 1 if anything was charged twice or reported wrongly, in a control run if nothing was."""
    options = _parse_options(arguments)
    started_at = time.monotonic()
    total, seeds = Report("all"), 0
    for report in _run_seeds(options):
        _add_report(total, report)
        seeds += 1
        if seeds % _PROGRESS == 0 or report.doubles or report.faults:
            found = f"{total.doubles} charged twice, {len(total.faults)} errors"
            print(f"{seeds} seeds, {total.played.total()} faults: {found}", *report.faults[:1], file=sys.stderr)  # noqa: T201
        if total.played.total() >= options.faults or time.monotonic() - started_at > options.seconds:
            break
    _print_report(total, time.monotonic() - started_at, f"seeds {options.seed} to {options.seed + seeds - 1}")
    if options.control:
        return 0 if total.doubles else 1
    _print_lines(*total.faults[:5])
    return 1 if total.faults or total.doubles else 0


def _run_seeds(options: Any) -> Iterator[Report]:
    """Run one seed after another, in as many processes as wanted; the reports come in the order of the seeds."""
    seeds = range(options.seed, sys.maxsize)
    run_seed = functools.partial(_run_seed, options.control, options.journal, min(EACH, options.faults))
    if options.jobs == 1:
        yield from map(run_seed, seeds)
        return
    with multiprocessing.get_context("fork").Pool(options.jobs, _be_strict) as pool:
        while True:
            chunk, seeds = seeds[: 4 * options.jobs], seeds[4 * options.jobs :]
            yield from pool.imap(run_seed, chunk)


def _run_seed(control: Any, journal: Any, faults: int, seed: int) -> Report:
    return run(campaign(draw(str(seed), control=control, journal=journal), faults))


def _be_strict() -> None:
    warnings.simplefilter("error")
    logging.getLogger("bardge_async").setLevel(logging.CRITICAL)


def _parse_options(arguments: list[str]) -> Any:
    parser = argparse.ArgumentParser(prog="python -m campaigns.window", description=__doc__)
    parser.add_argument("--faults", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1, help="first seed; each is used for up to 500 faults")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no further seed after this time")
    parser.add_argument("--journal", choices=["memory", "sqlite"], help="where keys are stored; default: mixed")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the seeds")
    parser.add_argument("--control", choices=CONTROLS, help="must show double charges")
    return parser.parse_args(arguments)


def _add_report(total: Report, one: Report) -> None:
    total.played += one.played
    total.outcomes += one.outcomes
    total.calls += one.calls
    total.requests += one.requests
    total.doubles += one.doubles
    total.late_doubles += one.late_doubles
    total.faults += one.faults


def _print_report(total: Report, seconds: float, seeds: str) -> None:
    _print_lines(
        f"{total.played.total()} faults in {total.calls} calls, {total.requests} requests, {seconds:.0f} s ({seeds})",
        f"charged twice: {total.doubles}; by requests started after their key expired: {total.late_doubles}",
        f"errors: {len(total.faults)}",
        f"outcomes: {_format_counts(total.outcomes)}",
        f"faults: {_format_counts(total.played)}",
    )


def _print_lines(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _format_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


if __name__ == "__main__":
    _be_strict()
    sys.exit(main(sys.argv[1:]))
