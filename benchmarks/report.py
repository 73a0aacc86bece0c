"""Format the figures of all repetitions as a table: medians, and medians of paired ratios to the base."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Iterable
from importlib import metadata

from benchmarks.workloads import WORKLOADS, Figures

Round = dict[str, dict[str, Figures]]
"""One repetition: figures by workload and contestant."""


def format_versions(names: Iterable[str]) -> str:
    """Return interpreter, platform and the versions of distributions, as text."""
    parts = [f"{name} {metadata.version(name)}" for name in names]
    return f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, " + ", ".join(parts)


def format_table(rounds: list[Round], chosen: list[str]) -> str:
    """Return the table in Markdown; for rates a ratio above 1 is better than the base, for times one below."""
    lines = ["| workload | contestant | medians | ratios to the base: median of pairs (lowest - highest) |"]
    lines.append("|---|---|---|---|")
    for name in chosen:
        workload = WORKLOADS[name]
        for contestant in list_contestants(rounds, name):
            medians = [
                f"{_format_number(_median(rounds, name, contestant, figure))} {figure}" for figure in workload.figures
            ]
            ratios = [f"{figure} {_format_ratio(rounds, name, contestant, figure)}" for figure in workload.figures]
            ratio_text = "base" if contestant == workload.base else ", ".join(ratios)
            lines.append(f"| {workload.title} | {contestant} | {', '.join(medians)} | {ratio_text} |")
    return "\n".join(lines)


def list_contestants(rounds: list[Round], name: str) -> list[str]:
    """Return the contestants that took part in a workload, in their fixed order."""
    return [one for one in WORKLOADS[name].contestants if one in rounds[0][name]]


def _median(rounds: list[Round], name: str, contestant: str, figure: str) -> float:
    return statistics.median(one[name][contestant][figure] for one in rounds)


def median_ratio(rounds: list[Round], name: str, contestant: str, figure: str) -> float:
    """Return the median of a figure's paired ratios to the base."""
    return statistics.median(_ratios(rounds, name, contestant, figure))


def _ratios(rounds: list[Round], name: str, contestant: str, figure: str) -> list[float]:
    base = WORKLOADS[name].base
    return [one[name][contestant][figure] / one[name][base][figure] for one in rounds]


def _format_ratio(rounds: list[Round], name: str, contestant: str, figure: str) -> str:
    ratios = _ratios(rounds, name, contestant, figure)
    return f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f} - {max(ratios):.2f})"


def _format_number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def format_server_load(rounds: list[Round], chosen: list[str], limits: dict[str, float]) -> str:
    """Report the stub's load and limit, and where it was the bottleneck."""
    lines = ["The stub's own limit in requests per second, over one raw socket, 16 at a time: "]
    lines[0] += ", ".join(f"{name} {limit:,.0f}" for name, limit in limits.items()) + "."
    for name in chosen:
        workload = WORKLOADS[name]
        if workload.request is None:
            continue
        loads = {one: _median(rounds, name, one, "server load") for one in list_contestants(rounds, name)}
        worst = max(loads, key=lambda one: loads[one])
        bottleneck = "; IT IS THE BOTTLENECK, the ratios are too close to 1" if loads[worst] > 0.6 else ""
        lines.append(f"* {name}: the stub was busy at most {loads[worst]:.0%} of the time ({worst}){bottleneck}.")
    return "\n".join(lines)
