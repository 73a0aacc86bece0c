"""What the kill campaigns have in common: options, output and exit code."""

# ruff: noqa: T201 - commands
from __future__ import annotations

import argparse
import logging

from campaigns.crash.play import Report


def make_parser(module: str, purchases: int) -> argparse.ArgumentParser:
    """Create a parser with the options of every such command."""
    logging.getLogger("bardge_async").setLevel(logging.CRITICAL)
    made = argparse.ArgumentParser(
        prog=f"python -m {module}", description="Exits with 1 if anything was charged wrongly."
    )
    made.add_argument("--kills", type=int, default=20)
    made.add_argument("--purchases", type=int, default=purchases)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--closed", action="store_true", help="3-second windows, which close between the runs")
    made.add_argument("--control", choices=["random-key"], help="must show double charges")
    return made


def print_verdict(report: Report, options: argparse.Namespace) -> int:
    """Print the report and return the exit code; a control must show double charges."""
    print(report.format_summary(), *report.wrong[:10], sep="\n")
    if options.control is not None:
        return 0 if report.doubled else 1
    return 1 if report.doubled or report.lost or report.wrong or report.kills < options.kills else 0
