"""One contestant in a process of its own: ``python -m benchmarks.worker`` runs a workload and prints its figures."""

from __future__ import annotations

import json
import os
import sys

from benchmarks import driver
from benchmarks.workloads import WORKLOADS, Figures, WrongAnswerError


def run(contestant: str, name: str, *, quick: bool, port: int) -> Figures:
    """Run a workload with one contestant and return its figures, the server's load with them."""
    workload = WORKLOADS[name]
    before = driver.stats(port)
    figures = workload.run(contestant, workload.quick if quick else workload.full, f"http://127.0.0.1:{port}")
    after = driver.stats(port)
    if workload.request is not None:
        # Too high by the warm-up's part rather than too low.
        figures["server load"] = (after["cpu"] - before["cpu"]) / figures["wall"]
    _check_counts(name, after["requests"] - before["requests"], after["keys"] - before["keys"])
    return figures


def _check_counts(name: str, requests: float, keys: float) -> None:
    # A POST that was sent twice under one key shows here.
    if name in {"post", "cost"} and keys != requests:
        raise WrongAnswerError(f"{requests:.0f} POSTs bore {keys:.0f} different keys")


def main() -> None:
    """Run what the arguments say: core, port, quick or full, contestant, workload."""
    core, port, mode, contestant, name = sys.argv[1:]
    if int(core) >= 0:
        os.sched_setaffinity(0, {int(core)})
    print(json.dumps(run(contestant, name, quick=mode == "quick", port=int(port))))


if __name__ == "__main__":
    main()
