"""Housekeeping in pieces, so that no claim or put waits long for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PIECE_SECONDS: Final = 0.02
"""What a piece should take: well below 50 ms, since a slow disk or a busy machine stretches some."""
PAUSE_SECONDS: Final = 0.03
"""Between two pieces, for other processes: they look at most 25 ms apart whether the file is free."""
_FIRST_ROWS: Final = 64
_MIN_ROWS: Final = 8
_MAX_ROWS: Final = 4096


class PieceSize:
    """How many rows the next piece may have, by what the last one took."""

    def __init__(self) -> None:
        self.rows = _FIRST_ROWS

    def adapt(self, rows: int, seconds: float) -> None:
        """Adapt to the last piece: shrink as far as it was slow, grow by a factor of 2 at most."""
        if seconds > PIECE_SECONDS:
            self.rows = max(_MIN_ROWS, int(rows * PIECE_SECONDS / seconds))
        elif rows >= self.rows:
            self.rows = min(_MAX_ROWS, self.rows * 2, int(rows * PIECE_SECONDS / max(seconds, 1e-9)))


class Piece:
    """A piece in progress: it ends after a number of rows, or once it has taken its time."""

    def __init__(self, max_rows: int, read_clock: Callable[[], float] = time.monotonic) -> None:
        self.max_rows = max_rows
        self.rows = 0
        self._read_clock = read_clock
        self._started_at = read_clock()

    def take_row(self) -> bool:
        """Return whether the piece may have one more row, and count it; a piece has at least one."""
        if self.rows and (self.rows >= self.max_rows or self.seconds >= PIECE_SECONDS):
            return False
        self.rows += 1
        return True

    @property
    def room(self) -> int:
        """How many more rows the piece may have, if time allows."""
        return self.max_rows - self.rows

    @property
    def seconds(self) -> float:
        """What the piece has taken so far."""
        return self._read_clock() - self._started_at
