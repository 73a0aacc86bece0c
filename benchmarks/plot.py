"""The figures as a picture: a plain SVG, how many times as fast as its base each contestant is."""

from __future__ import annotations

import math
from html import escape
from typing import Final

from benchmarks.report import Round, paired, present
from benchmarks.workloads import WORKLOADS

_LEFT: Final = 250
_WIDTH: Final = 560
_ROW: Final = 18
_DECADES: Final = (-2, 1)
_OURS: Final = ("bardge", "read_ahead=1")


def svg(rounds: list[Round], chosen: list[str]) -> str:
    """Draw every contestant's median ratio to the base, on a logarithmic scale; right is faster."""
    lines: list[str] = []
    y = 40
    for name in chosen:
        workload = WORKLOADS[name]
        y += _ROW
        lines.append(_text(8, y, workload.title, "bold"))
        for contestant in present(rounds, name):
            y += _ROW
            lines += _bar(y, contestant, _speed(rounds, name, contestant))
    height = y + _ROW
    grid = [_line(10**power, height) for power in range(_DECADES[0], _DECADES[1] + 1)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + 60}" height="{height + 10}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    )
    title = _text(
        8,
        20,
        "Times as fast as the base of each workload (1), by CPU time where that is measured: right is faster",
        "bold",
    )
    return "\n".join([head, title, *grid, *lines, "</svg>", ""])


def _speed(rounds: list[Round], name: str, contestant: str) -> float:
    """Return how many times as fast as the base, by CPU time where that is measured; of times and sizes the inverse."""
    figures = WORKLOADS[name].figures
    figure = "CPU us" if "CPU us" in figures else next(iter(figures))
    more = figures[figure]
    ratio = paired(rounds, name, contestant, figure)
    return ratio if more else 1 / ratio


def _x(speed: float) -> float:
    low, high = _DECADES
    part = (math.log10(min(max(speed, 10.0**low), 10.0**high)) - low) / (high - low)
    return _LEFT + part * _WIDTH


def _bar(y: int, contestant: str, speed: float) -> list[str]:
    begin, end = sorted((_x(1.0), _x(speed)))
    colour = "#1f6f4a" if contestant.startswith(_OURS) else "#8a8f98"
    box = f'<rect x="{begin:.1f}" y="{y - 10}" width="{max(end - begin, 1.5):.1f}" height="11" fill="{colour}"/>'
    at = end + 4 if speed >= 1 else begin - 32
    return [_text(24, y, contestant), box, _text(round(at), y, f"{speed:.2f}")]


def _line(speed: float, height: int) -> str:
    x = _x(speed)
    label = f'<text x="{x:.1f}" y="36" text-anchor="middle" fill="#555">{speed:g}</text>'
    return f'<line x1="{x:.1f}" y1="42" x2="{x:.1f}" y2="{height}" stroke="#ddd"/>{label}'


def _text(x: int, y: int, words: str, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}">{escape(words)}</text>'
