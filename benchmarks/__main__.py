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


def one_round(chosen: list[str], *, mode: str, core: int, port: int) -> Round:
    """Run every contestant of every workload once, in a new order; those of one workload directly one after another."""
    figures: Round = {}
    for name in random.sample(chosen, len(chosen)):
        contestants = WORKLOADS[name].contestants
        if mode == "quick":
            contestants = tuple(one for one in contestants if one not in PEERS)
        figures[name] = {
            contestant: _run(name, contestant, mode=mode, core=core, port=port)
            for contestant in random.sample(contestants, len(contestants))
        }
    return figures


def _run(name: str, contestant: str, *, mode: str, core: int, port: int) -> Figures:
    """Run one in a fresh process; a wrong answer or a short walk ends everything."""
    command = [sys.executable, "-m", "benchmarks.worker", str(core), str(port), mode, contestant, name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - our own module
    if done.returncode:
        sys.exit(f"{contestant} failed at {name}: the run is void")
    figures: Figures = json.loads(done.stdout)
    return figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure bardge-async beside its peers.")
    parser.add_argument(
        "--quick", action="store_true", help="smaller sizes, three repetitions at most, within a minute"
    )
    parser.add_argument("--repetitions", type=int, help="how often everything is run (default: 11, quick: 3)")
    parser.add_argument("--plot", type=Path, help="draw the ratios into an SVG file")
    parser.add_argument("--only", nargs="+", choices=list(WORKLOADS), help="some of the workloads")
    return parser.parse_args()


def main() -> None:
    """Run everything and print the report."""
    given = _arguments()
    chosen = [name for name in WORKLOADS if given.only is None or name in given.only]
    mode = "quick" if given.quick else "full"
    repetitions = given.repetitions or (3 if given.quick else 11)
    begin = time.monotonic()
    server_core, client_core = driver.cores()
    with driver.running(ITEMS, server_core) as port:
        limits = driver.limits(port, 0.3)
        rounds: list[Round] = []
        for number in range(repetitions):
            if given.quick and number and (time.monotonic() - begin) * (number + 1) / number > _QUICK_SECONDS:
                break
            print(f"repetition {number + 1} of {repetitions}", file=sys.stderr)
            rounds.append(one_round(chosen, mode=mode, core=client_core, port=port))
    apart = "server and clients on cores of their own" if client_core >= 0 else "server and clients SHARE cores"
    print(report.versions((*_DISTRIBUTIONS, *(_PEERS[name] for name in PEERS if name in _PEERS and installed(name)))))
    print(f"{mode}, {len(rounds)} repetitions, {apart}, {time.monotonic() - begin:.0f} s\n")
    print(report.table(rounds, chosen))
    print("\n" + report.server(rounds, chosen, limits))
    if given.plot is not None:
        given.plot.write_text(plot.svg(rounds, chosen), encoding="utf-8")


if __name__ == "__main__":
    main()
