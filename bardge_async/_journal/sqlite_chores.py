"""Long work on a journal file in short transactions: pruning and erasing."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import attrs

from bardge_async._core.erasure import ClientMatcher
from bardge_async._journal.pieces import PAUSE_SECONDS, Piece, PieceSize
from bardge_async._journal.pruning import WHERE_EXPIRED, PruneTime
from bardge_async._journal.sqlite_clocks import FileClocks

Receiver = TypeVar("Receiver")

_CHECKSUM_LENGTH: Final = 8
_EXPIRED: Final = WHERE_EXPIRED.format("?")
_HAS_BODIES: Final = "(body NOT NULL OR answer NOT NULL)"
# In the order of an index, from where the last piece ended: rows that stay are not read again and again.
_SELECT_OLD: Final = (
    f"SELECT last_wall, seq, {_EXPIRED} FROM entries WHERE state <> 'sent' AND {{condition}} last_wall < ? "
    "AND (last_wall, seq) > (?, ?) ORDER BY last_wall, seq LIMIT ?"
)
_SELECT_OLD_BODIES: Final = _SELECT_OLD.format(condition=f"{_HAS_BODIES} AND")
_SELECT_OLD_ENTRIES: Final = _SELECT_OLD.format(condition="")
_REMOVE_BODIES: Final = "UPDATE entries SET body = NULL, answer = NULL WHERE seq = ?"
_REMOVE_ENTRY: Final = "DELETE FROM entries WHERE seq = ?"

_MAY_CONTAIN: Final = " OR ".join(
    f"instr({content}, :needle) OR instr({content}, x'{escape}')"
    for content, escape in (("body", "5c"), ("answer", "5c"), ("CAST(url AS BLOB)", "25"))
)
_SELECT_CANDIDATES: Final = (
    f"SELECT seq, state <> 'sent' AND {_HAS_BODIES} AND ({_MAY_CONTAIN}) FROM entries "
    "WHERE seq > :position ORDER BY seq LIMIT :rows"
)
_SELECT_CONTENT: Final = "SELECT fingerprint, base_url, url, body, answer FROM entries WHERE seq = ?"
_ERASE: Final = f"{_REMOVE_BODIES} AND state <> 'sent' AND fingerprint = ? AND {_HAS_BODIES}"


class Chore(Protocol):
    """Work that is done in pieces."""

    @property
    def writes(self) -> bool:
        """Whether the next piece writes."""
        ...

    def run_piece(self, connection: sqlite3.Connection, piece: Piece) -> bool:
        """Do a piece of the work, as much as it has room for; return whether there is more."""
        ...


@attrs.define(eq=False)
class _QueuedChore(Generic[Receiver]):
    """A chore, whom to tell of its end, and the sizes of its pieces that read and that write."""

    chore: Chore
    receiver: Receiver | None
    sizes: tuple[PieceSize, PieceSize] = attrs.field(factory=lambda: (PieceSize(), PieceSize()))


class ChoreQueue(Generic[Receiver]):
    """The chores of a journal: one piece at a time, and a pause after each."""

    def __init__(self, read_clock: Callable[[], float] = time.monotonic) -> None:
        self._read_clock = read_clock
        self._queue: deque[_QueuedChore[Receiver]] = deque()
        self._due_at = 0.0

    def add(self, chore: Chore, receiver: Receiver | None = None) -> None:
        """Queue a chore."""
        self._queue.append(_QueuedChore(chore, receiver))

    def seconds_until_due(self) -> float | None:
        """Return the seconds until the next piece is due; None without chores."""
        return max(0.0, self._due_at - self._read_clock()) if self._queue else None

    def run_due_piece(
        self,
        run: Callable[[Callable[[sqlite3.Connection], bool], bool], bool | str],
        is_abandoned: Callable[[Receiver], bool],
    ) -> tuple[Receiver, str | None] | None:
        """Run the next piece, if it is due; return whom to tell that a chore has ended, and its error.

        ``run`` executes work in a transaction that writes or not, and returns its result or an error message.
        """
        while self._queue and self._queue[0].receiver is not None and is_abandoned(self._queue[0].receiver):
            self._queue.popleft()
        if self.seconds_until_due() != 0.0:
            return None
        queued = self._queue[0]
        writes = queued.chore.writes
        size = queued.sizes[writes]
        piece = Piece(size.rows, self._read_clock)
        has_more = run(lambda connection: queued.chore.run_piece(connection, piece), writes)
        seconds = piece.seconds  # with the commit
        size.adapt(piece.rows, seconds)
        self._due_at = self._read_clock() + max(PAUSE_SECONDS, seconds)
        if has_more is True:
            return None
        self._queue.popleft()
        if queued.receiver is None:
            return None
        return queued.receiver, has_more or None

    def drain(self) -> list[Receiver]:
        """Drop all chores; return whom to tell."""
        dropped = [queued.receiver for queued in self._queue if queued.receiver is not None]
        self._queue.clear()
        return dropped


class PruneChore:
    """Remove bodies, then entries, that are past their retention; ``removed`` counts the entries.

    ``read_forgotten`` returns the wall time up to which entries were removed before.
    """

    writes = True

    def __init__(
        self,
        clocks: FileClocks,
        time: PruneTime,
        keep_bodies: float,
        keep_entries: float,
        read_forgotten: Callable[[], float],
    ) -> None:
        self.removed = 0
        self._clocks = clocks
        self._time = time
        self._keep_entries = keep_entries
        self._read_forgotten = read_forgotten
        self._steps = deque([(_SELECT_OLD_BODIES, _REMOVE_BODIES, keep_bodies)])
        if keep_entries:  # 0 keeps them forever
            self._steps.append((_SELECT_OLD_ENTRIES, _REMOVE_ENTRY, keep_entries))
        self._position = (-math.inf, 0)

    def run_piece(self, connection: sqlite3.Connection, piece: Piece) -> bool:
        """Remove as much as the piece has room for; return whether there is more."""
        while self._steps and piece.room and self._run_step(connection, piece, *self._steps[0]):
            self._steps.popleft()
            self._position = (-math.inf, 0)
        return bool(self._steps)

    def _run_step(self, connection: sqlite3.Connection, piece: Piece, select: str, remove: str, keep: float) -> bool:
        """Remove rows with a statement; return whether there are no more of this kind."""
        limits, room, removed, seen = self._time.limits(keep), piece.room, 0, 0
        rows = connection.execute(select, (*limits, limits[0], *self._position, room)).fetchall()
        for last_wall, seq, is_expired in rows:
            if not piece.take_row():
                break
            seen += 1
            self._position = last_wall, seq
            if is_expired:
                removed += connection.execute(remove, (seq,)).rowcount
        if remove is _REMOVE_ENTRY and removed:
            self._note_removed(connection, removed)
        return seen == len(rows) < room

    def _note_removed(self, connection: sqlite3.Connection, removed: int) -> None:
        self.removed += removed
        self._clocks.load(connection)
        # A file of the first version does not say what was removed from it.
        forgotten = max(self._read_forgotten(), self._time.wall - self._keep_entries)
        self._clocks.note_removed(connection, forgotten)


class EraseChore:
    """Remove the bodies of finished entries that name a client; ``changed`` counts the entries.

    The pieces that search take no write lock; what one has found is removed by the next.
    """

    def __init__(self, client_id: str) -> None:
        self.changed = 0
        self._matcher = ClientMatcher(client_id)
        self._position = 0
        self._is_searched = False
        self._found: deque[tuple[int, str]] = deque()

    @property
    def writes(self) -> bool:
        """Whether the next piece writes."""
        return bool(self._found)

    def run_piece(self, connection: sqlite3.Connection, piece: Piece) -> bool:
        """Search or remove as much as the piece has room for; return whether there is more."""
        if self._found:
            while self._found and piece.take_row():
                # Its fingerprint stands for URL and body: the key may have been freed and used for another request.
                self.changed += connection.execute(_ERASE, self._found.popleft()).rowcount
        else:
            self._search(connection, piece)
        return bool(self._found) or not self._is_searched

    def _search(self, connection: sqlite3.Connection, piece: Piece) -> None:
        parameters = {"needle": self._matcher.needle, "position": self._position, "rows": piece.max_rows}
        with contextlib.closing(connection.execute(_SELECT_CANDIDATES, parameters)) as rows:
            for seq, is_candidate in rows:
                if not piece.take_row():
                    return
                self._position = seq
                if is_candidate:
                    self._examine(connection, seq)
        self._is_searched = piece.rows < piece.max_rows

    def _examine(self, connection: sqlite3.Connection, seq: int) -> None:
        fingerprint, base_url, url, *stored = connection.execute(_SELECT_CONTENT, (seq,)).fetchone()
        contents = [None if content is None else content[_CHECKSUM_LENGTH:] for content in stored]
        if self._matcher.matches(base_url, url, *contents):
            self._found.append((seq, fingerprint))
