"""A run's progress: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from bardge_async._batch import Batch, OperationStatus

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from bardge_async.cli.batch._terminal import Output

_ALWAYS_SHOWN: Final = (
    OperationStatus.DONE,
    OperationStatus.REPLAYED,
    OperationStatus.REFUSED,
    OperationStatus.IN_DOUBT,
)
_COLOURS: Final = {
    OperationStatus.DONE: "green",
    OperationStatus.REFUSED: "yellow",
    OperationStatus.FAILED: "yellow",
    OperationStatus.IN_DOUBT: "red",
}
_RATE_WINDOW: Final = 15.0
"""Seconds over which the rate is averaged."""
_MAX_NAME_LENGTH: Final = 24


class ProgressCounter:
    """Count outcomes and measure their rate."""

    def __init__(self, job: str, total: int, batch: Batch, started_at: float) -> None:
        self.job = job
        self.total = total
        self.batch = batch
        self._samples: deque[tuple[float, int]] = deque([(started_at, 0)])

    @property
    def counts(self) -> Mapping[OperationStatus, int]:
        """Number of outcomes by status."""
        return self.batch.counts

    @property
    def finished(self) -> int:
        """Number of outcomes."""
        return sum(self.counts.values())

    def add_sample(self, now: float) -> None:
        """Record the count at ``now``, in seconds of a monotonic clock."""
        self._samples.append((now, self.finished))
        while now - self._samples[0][0] > _RATE_WINDOW and len(self._samples) > 2:  # noqa: PLR2004 - a slope needs two
            self._samples.popleft()

    @property
    def rate(self) -> float:
        """Recent outcomes per second."""
        (begin, first), (end, last) = self._samples[0], self._samples[-1]
        return (last - first) / (end - begin) if end > begin else 0.0

    def format_pace(self) -> str:
        """Format rate, time left and concurrency."""
        rate, pace = self.rate, self.batch.pace
        left = format_duration((self.total - self.finished) / rate) if rate else "-:--"
        slowed = f", slowed {pace.backoffs}x" if pace.backoffs else ""
        return f"{rate:,.0f}/s, {left} left, {pace.in_flight} of {pace.limit} in flight{slowed}"

    def format_counts(self) -> list[tuple[OperationStatus, str]]:
        """Format the counts; zeros only for the statuses that are always shown."""
        shown = [status for status in OperationStatus if self.counts[status] or status in _ALWAYS_SHOWN]
        return [(status, f"{status.replace('_', ' ')} {self.counts[status]:,}") for status in shown]


def format_duration(seconds: float) -> str:
    """Format a duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressDisplay(Protocol):
    """Where progress is shown."""

    @property
    def interval(self) -> float:
        """Seconds between updates."""
        ...

    def show_progress(self, progress: ProgressCounter) -> None:
        """Show the progress."""

    def show_message(self, text: str) -> None:
        """Show a message during the run."""

    def close_display(self) -> None:
        """Restore the terminal."""


@attrs.frozen
class LineDisplay:
    """Show a line of text every few seconds."""

    output: Output
    interval: float = 5.0

    def show_progress(self, progress: ProgressCounter) -> None:
        """Show the progress."""
        share = 100 * progress.finished // max(1, progress.total)
        counts = ", ".join(words for _, words in progress.format_counts())
        position = f"{progress.finished:,} of {progress.total:,} ({share}%)"
        self.output.write_message(f"{progress.job}: {position}, {progress.format_pace()}; {counts}")

    def show_message(self, text: str) -> None:
        """Show a message during the run."""
        self.output.write_message(text)

    def close_display(self) -> None:
        """Restore the terminal."""


class BarDisplay:
    """Show three updating lines that fit 80 columns."""

    interval = 0.25

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        # A closed terminal must not end the run, here and below.
        with suppress(OSError):
            self._live.start()

    def show_progress(self, progress: ProgressCounter) -> None:
        """Show the progress."""
        with suppress(OSError):
            self._live.update(_render_bar(progress), refresh=True)

    def show_message(self, text: str) -> None:
        """Show a message during the run."""
        with suppress(OSError):
            self._live.console.print(text, markup=False)

    def close_display(self) -> None:
        """Restore the terminal."""
        with suppress(OSError):
            self._live.stop()


def _render_bar(progress: ProgressCounter) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    first = Table.grid(expand=True, padding=(0, 1))
    first.add_column(no_wrap=True, max_width=_MAX_NAME_LENGTH)
    first.add_column(ratio=1)
    first.add_column(no_wrap=True)
    share = 100 * progress.finished // max(1, progress.total)
    position = Text(f"{progress.finished:,} of {progress.total:,} {share:>3}%")
    first.add_row(
        Text(progress.job), ProgressBar(max(1, progress.total), progress.finished, complete_style="green"), position
    )
    counts = Text("  ").join(
        Text(words, style=_COLOURS.get(status, "") if progress.counts[status] else "dim")
        for status, words in progress.format_counts()
    )
    return Group(first, counts, Text(progress.format_pace(), style="dim"))


def choose_display(output: Output) -> ProgressDisplay:
    """Choose the display by what standard error is; rich respects NO_COLOR, a dumb terminal gets lines."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    return BarDisplay(console) if console.is_terminal and not console.is_dumb_terminal else LineDisplay(output)
