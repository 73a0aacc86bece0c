"""Run the benchmarks: ``python -m benchmarks [--quick] [--repetitions N] [--only WORKLOAD ...] [--plot FILE]``."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import driver, plot, report
from benchmarks.clients import ITEMS, PEERS, installed
from benchmarks.report import Round
from benchmarks.workloads import WORKLOADS, Figures

_DISTRIBUTIONS = ("aiohttp", "attrs", "cattrs", "orjson")
_PEERS = {"httpx+orjson": "httpx", "stripe (aiohttp)": "stripe", "openai": "openai"}
_QUICK_SECONDS = 55.0


def run_round(chosen: list[str], *, mode: str, core: int, port: int) -> Round:
    """Run every contestant of every workload once, in random order; those of one workload run back to back."""
    figures: Round = {}
    for name in random.sample(chosen, len(chosen)):
        contestants = WORKLOADS[name].contestants
        if mode == "quick":
            contestants = tuple(one for one in contestants if one not in PEERS)
        figures[name] = {
            contestant: _run_contestant(name, contestant, mode=mode, core=core, port=port)
            for contestant in random.sample(contestants, len(contestants))
        }
    return figures


def _run_contestant(name: str, contestant: str, *, mode: str, core: int, port: int) -> Figures:
    """Run one contestant in a fresh process; a wrong response or an incomplete walk ends the run."""
    command = [sys.executable, "-m", "benchmarks.worker", str(core), str(port), mode, contestant, name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own module
    if done.returncode:
        sys.exit(f"{contestant} failed in the workload {name}: the run is invalid")
    figures: Figures = json.loads(done.stdout)
    return figures


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare bardge-async with its peers.")
    parser.add_argument(
        "--quick", action="store_true", help="smaller sizes, at most three repetitions, within a minute"
    )
    parser.add_argument("--repetitions", type=int, help="number of repetitions (default: 11, quick: 3)")
    parser.add_argument("--plot", type=Path, help="draw the ratios in an SVG file")
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), help="run only these workloads")
    return parser.parse_args()


def main() -> None:
    """Run everything and print the report."""
    given = _parse_arguments()
    chosen = [name for name in WORKLOADS if given.only is None or name in given.only]
    mode = "quick" if given.quick else "full"
    repetitions = given.repetitions or (3 if given.quick else 11)
    started_at = time.monotonic()
    server_core, client_core = driver.choose_cores()
    with driver.run_stub(ITEMS, server_core) as port:
        limits = driver.measure_limits(port, 0.3)
        rounds: list[Round] = []
        for number in range(repetitions):
            if given.quick and number and (time.monotonic() - started_at) * (number + 1) / number > _QUICK_SECONDS:
                break
            print(f"repetition {number + 1} of {repetitions}", file=sys.stderr)
            rounds.append(run_round(chosen, mode=mode, core=client_core, port=port))
    placement = "server and clients on separate cores" if client_core >= 0 else "server and clients SHARE cores"
    print(
        report.format_versions(
            (*_DISTRIBUTIONS, *(_PEERS[name] for name in PEERS if name in _PEERS and installed(name)))
        )
    )
    print(f"{mode}, {len(rounds)} repetitions, {placement}, {time.monotonic() - started_at:.0f} s\n")
    print(report.format_table(rounds, chosen))
    print("\n" + report.format_server_load(rounds, chosen, limits))
    if given.plot is not None:
        given.plot.write_text(plot.draw_svg(rounds, chosen), encoding="utf-8")


if __name__ == "__main__":
    main()
