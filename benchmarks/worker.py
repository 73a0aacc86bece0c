"""Run one contestant in a process of its own: ``python -m benchmarks.worker`` runs a workload, prints its figures."""

from __future__ import annotations

import json
import os
import sys

from benchmarks import driver
from benchmarks.workloads import WORKLOADS, Figures, WrongAnswerError


def run(contestant: str, name: str, *, quick: bool, port: int) -> Figures:
    """Run a workload with one contestant and return its figures, including the server's load."""
    workload = WORKLOADS[name]
    before = driver.fetch_stats(port)
    figures = workload.run(contestant, workload.quick if quick else workload.full, f"http://127.0.0.1:{port}")
    after = driver.fetch_stats(port)
    if workload.request is not None:
        # Includes the warm-up: an estimate that is too high is safer than one that is too low.
        figures["server load"] = (after["cpu"] - before["cpu"]) / figures["wall"]
    _check_counts(name, after["requests"] - before["requests"], after["keys"] - before["keys"])
    return figures


def _check_counts(name: str, requests: float, keys: float) -> None:
    # Detects a POST that was sent twice under one key.
    if name in {"post", "cost"} and keys != requests:
        raise WrongAnswerError(f"{requests:.0f} POSTs had {keys:.0f} different keys")


def main() -> None:
    """Run one workload; the arguments are core, port, quick or full, contestant and workload."""
    core, port, mode, contestant, name = sys.argv[1:]
    if int(core) >= 0:
        os.sched_setaffinity(0, {int(core)})
    print(json.dumps(run(contestant, name, quick=mode == "quick", port=int(port))))


if __name__ == "__main__":
    main()
