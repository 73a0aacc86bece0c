"""Draw the figures as an SVG: how many times as fast as its base each contestant is."""

from __future__ import annotations

import math
from html import escape
from typing import Final

from benchmarks.report import Round, list_contestants, median_ratio
from benchmarks.workloads import WORKLOADS

_LEFT: Final = 250
_WIDTH: Final = 560
_ROW: Final = 18
_DECADES: Final = (-2, 1)
_OURS: Final = ("bardge", "read_ahead=1")


def draw_svg(rounds: list[Round], chosen: list[str]) -> str:
    """Draw each contestant's median ratio to the base on a logarithmic scale; further right is faster."""
    lines: list[str] = []
    y = 40
    for name in chosen:
        workload = WORKLOADS[name]
        y += _ROW
        lines.append(_draw_text(8, y, workload.title, "bold"))
        for contestant in list_contestants(rounds, name):
            y += _ROW
            lines += _draw_bar(y, contestant, _compute_speed(rounds, name, contestant))
    height = y + _ROW
    grid = [_draw_line(10**power, height) for power in range(_DECADES[0], _DECADES[1] + 1)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 60}" height="{height + 10}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    )
    title = _draw_text(
        8,
        20,
        "Speed relative to the base of each workload (1), by CPU time where measured: further right is faster",
        "bold",
    )
    return "\n".join([head, title, *grid, *lines, "</svg>", ""])


def _compute_speed(rounds: list[Round], name: str, contestant: str) -> float:
    """Return how many times as fast as the base, by CPU time if measured; for times and sizes, the inverse ratio."""
    figures = WORKLOADS[name].figures
    figure = "CPU us" if "CPU us" in figures else next(iter(figures))
    more = figures[figure]
    ratio = median_ratio(rounds, name, contestant, figure)
    return ratio if more else 1 / ratio


def _x(speed: float) -> float:
    low, high = _DECADES
    part = (math.log10(min(max(speed, 10.0**low), 10.0**high)) - low) / (high - low)
    return _LEFT + part * _WIDTH


def _draw_bar(y: int, contestant: str, speed: float) -> list[str]:
    begin, end = sorted((_x(1.0), _x(speed)))
    colour = "#1f6f4a" if contestant.startswith(_OURS) else "#8a8f98"
    box = f'<rect x="{begin:.1f}" y="{y - 10}" width="{max(end - begin, 1.5):.1f}" height="11" fill="{colour}"/>'
    at = end + 4 if speed >= 1 else begin - 32
    return [_draw_text(24, y, contestant), box, _draw_text(round(at), y, f"{speed:.2f}")]


def _draw_line(speed: float, height: int) -> str:
    x = _x(speed)
    label = f'<text x="{x:.1f}" y="36" text-anchor="middle" fill="#555">{speed:g}</text>'
    return f'<line x1="{x:.1f}" y1="42" x2="{x:.1f}" y2="{height}" stroke="#ddd"/>{label}'


def _draw_text(x: int, y: int, words: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}">{escape(words)}</text>'
