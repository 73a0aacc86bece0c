"""How far a run has come: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from bardge_async._batch import Batch, OperationStatus

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from bardge_async.cli.batch._terminal import Voice

_ALWAYS: Final = (OperationStatus.DONE, OperationStatus.REPLAYED, OperationStatus.REFUSED, OperationStatus.IN_DOUBT)
_COLOURS: Final = {
    OperationStatus.DONE: "green",
    OperationStatus.REFUSED: "yellow",
    OperationStatus.FAILED: "yellow",
    OperationStatus.IN_DOUBT: "red",
}
_RECENT: Final = 15.0
"""Seconds that the rate is taken over."""
_LONGEST_NAME: Final = 24


class Figures:
    """Count outcomes, and tell how fast they come."""

    def __init__(self, job: str, total: int, batch: Batch, begun: float) -> None:
        self.job = job
        self.total = total
        self.batch = batch
        self._begun = begun
        self._recent: deque[tuple[float, int]] = deque([(begun, 0)])

    @property
    def counts(self) -> Mapping[OperationStatus, int]:
        """How many outcomes have each status."""
        return self.batch.counts

    @property
    def finished(self) -> int:
        """How many outcomes there are."""
        return sum(self.counts.values())

    def sample(self, now: float) -> None:
        """Take a point of the curve, at seconds of any clock that never goes back."""
        self._recent.append((now, self.finished))
        while now - self._recent[0][0] > _RECENT and len(self._recent) > 2:  # noqa: PLR2004 - a line has two ends
            self._recent.popleft()

    @property
    def rate(self) -> float:
        """Outcomes a second of late."""
        (begin, first), (end, last) = self._recent[0], self._recent[-1]
        return (last - first) / (end - begin) if end > begin else 0.0

    def pace(self) -> str:
        """Tell rate, time left and concurrency."""
        rate, pace = self.rate, self.batch.pace
        left = duration((self.total - self.finished) / rate) if rate else "-:--"
        slowed = f", slowed {pace.backoffs}x" if pace.backoffs else ""
        return f"{rate:,.0f}/s, {left} left, {pace.under_way} of {pace.limit} at once{slowed}"

    def words(self) -> list[tuple[OperationStatus, str]]:
        """Tell the counts, without those that are zero and say nothing by that."""
        shown = [status for status in OperationStatus if self.counts[status] or status in _ALWAYS]
        return [(status, f"{status.replace('_', ' ')} {self.counts[status]:,}") for status in shown]


def duration(seconds: float) -> str:
    """Tell a time in hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Board(Protocol):
    """Where the figures are shown."""

    @property
    def every(self) -> float:
        """How often to show, in seconds."""
        ...

    def show(self, figures: Figures) -> None:
        """Show how far it is."""

    def say(self, words: str) -> None:
        """Tell something meanwhile."""

    def end(self) -> None:
        """Leave the terminal as it was."""


@attrs.frozen
class Lines:
    """Show a line of text now and then."""

    voice: Voice
    every: float = 5.0

    def show(self, figures: Figures) -> None:
        """Show how far it is."""
        share = 100 * figures.finished // max(1, figures.total)
        counts = ", ".join(words for _, words in figures.words())
        place = f"{figures.finished:,} of {figures.total:,} ({share}%)"
        self.voice.say(f"{figures.job}: {place}, {figures.pace()}; {counts}")

    def say(self, words: str) -> None:
        """Tell something meanwhile."""
        self.voice.say(words)

    def end(self) -> None:
        """Leave the terminal as it was."""


class Bar:
    """Show three lines that change, fitting 80 columns."""

    every = 0.25

    def __init__(self, console: Console) -> None:
        from rich.live import Live  # noqa: PLC0415 - only for terminals

        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        with suppress(OSError):
            self._live.start()

    def show(self, figures: Figures) -> None:
        """Show how far it is."""
        with suppress(OSError):
            self._live.update(_drawn(figures), refresh=True)

    def say(self, words: str) -> None:
        """Tell something meanwhile."""
        with suppress(OSError):
            self._live.console.print(words, markup=False)

    def end(self) -> None:
        """Leave the terminal as it was."""
        with suppress(OSError):
            self._live.stop()


def _drawn(figures: Figures) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 - only for terminals
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    first = Table.grid(expand=True, padding=(0, 1))
    first.add_column(no_wrap=True, max_width=_LONGEST_NAME)
    first.add_column(ratio=1)
    first.add_column(no_wrap=True)
    share = 100 * figures.finished // max(1, figures.total)
    place = Text(f"{figures.finished:,} of {figures.total:,} {share:>3}%")
    first.add_row(
        Text(figures.job), ProgressBar(max(1, figures.total), figures.finished, complete_style="green"), place
    )
    counts = Text("  ").join(
        Text(words, style=_COLOURS.get(status, "") if figures.counts[status] else "dim")
        for status, words in figures.words()
    )
    return Group(first, counts, Text(figures.pace(), style="dim"))


def board(voice: Voice) -> Board:
    """Choose by what standard error is; NO_COLOR and a terminal that cannot move its cursor are heeded."""
    from rich.console import Console  # noqa: PLC0415 - takes a while

    console = Console(stderr=True, highlight=False)
    return Bar(console) if console.is_terminal and not console.is_dumb_terminal else Lines(voice)
