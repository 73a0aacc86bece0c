"""Figures of all repetitions to a table: medians, and medians of paired ratios to the base."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterable
from importlib import metadata

from benchmarks.workloads import WORKLOADS, Figures

Round = dict[str, dict[str, Figures]]
"""One repetition: workload to contestant to figures."""


def versions(names: Iterable[str]) -> str:
    """Name the interpreter, the platform and the versions of distributions."""
    parts = [f"{name} {metadata.version(name)}" for name in names]
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, " + ", ".join(parts)


def table(rounds: list[Round], chosen: list[str]) -> str:
    """Make the table in Markdown: of rates a ratio above 1 is better than the base, of times one below."""
    lines = ["| workload | contestant | medians | ratios to the base: median of pairs (lowest - highest) |"]
    lines.append("|---|---|---|---|")
    for name in chosen:
        workload = WORKLOADS[name]
        for contestant in present(rounds, name):
            medians = [f"{_brief(_median(rounds, name, contestant, figure))} {figure}" for figure in workload.figures]
            ratios = [f"{figure} {_ratio(rounds, name, contestant, figure)}" for figure in workload.figures]
            said = "base" if contestant == workload.base else ", ".join(ratios)
            lines.append(f"| {workload.title} | {contestant} | {', '.join(medians)} | {said} |")
    return "\n".join(lines)


def present(rounds: list[Round], name: str) -> list[str]:
    """Return a workload's contestants that took part, in their order."""
    return [one for one in WORKLOADS[name].contestants if one in rounds[0][name]]


def _median(rounds: list[Round], name: str, contestant: str, figure: str) -> float:
    return statistics.median(one[name][contestant][figure] for one in rounds)


def paired(rounds: list[Round], name: str, contestant: str, figure: str) -> float:
    """Return the median of a figure's paired ratios to the base."""
    return statistics.median(_ratios(rounds, name, contestant, figure))


def _ratios(rounds: list[Round], name: str, contestant: str, figure: str) -> list[float]:
    base = WORKLOADS[name].base
    return [one[name][contestant][figure] / one[name][base][figure] for one in rounds]


def _ratio(rounds: list[Round], name: str, contestant: str, figure: str) -> str:
    ratios = _ratios(rounds, name, contestant, figure)
    return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} - {max(ratios):.2f})"


def _brief(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def server(rounds: list[Round], chosen: list[str], limits: dict[str, float]) -> str:
    """Say how busy the stub was, what its limit is, and where it held a client back."""
    lines = ["The stub's own limit, requests a second over one raw socket, 16 at once: "]
    lines[0] += ", ".join(f"{name} {limit:,.0f}" for name, limit in limits.items()) + "."
    for name in chosen:
        workload = WORKLOADS[name]
        if workload.request is None:
            continue
        loads = {one: _median(rounds, name, one, "server load") for one in present(rounds, name)}
        worst = max(loads, key=lambda one: loads[one])
        held = "; IT IS THE BOTTLENECK, the ratios are too near to 1" if loads[worst] > 0.6 else ""
        lines.append(f"* {name}: the stub was busy {loads[worst]:.0%} of the time at most ({worst}){held}.")
    return "\n".join(lines)
