"""What a journal file remembers of the clocks: wall times read, the last pruning, and what it removed."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

import orjson

from bardge_async._core.entry import WallLog
from bardge_async._core.window import ClockReading
from bardge_async._journal.pruning import PruneTime, agreed_time, is_due
from bardge_async._journal.sqlite_digests import corruption_error, verify_checksum, with_checksum

_SELECT_FACT: Final = "SELECT value FROM facts WHERE name = ?"
_STORE_FACT: Final = "INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


class FileClocks:
    """Keep a file's log of wall times and its pruning in step with this process.

    ``walls`` is the log as this process knows it, ``forgotten`` the wall time up to which entries were removed; None if
    the file does not say; then ``legacy_highest`` is the time by which the first version may have pruned it.
    """

    def __init__(self) -> None:
        self.walls = WallLog()
        self.forgotten: float | None = None
        self.legacy_highest = 0.0
        self._stored: bytes | None = None
        self._unwritten: list[ClockReading] = []
        self._baseline: ClockReading | None = None

    def add_reading(self, reading: ClockReading) -> None:
        """Add a reading to what the current transaction stores."""
        self._unwritten.append(reading)

    def load(self, connection: sqlite3.Connection) -> None:
        """Load what other processes have stored since.

        Raises:
            JournalError: A fact is damaged.
        """
        stored = select_fact(connection, "walls")
        if stored is None:
            # The first version stored only the highest wall time, and later ones leave that alone.
            highest = select_fact(connection, "highest_wall")
            if highest is None:
                raise corruption_error()
            self.legacy_highest = float(highest)
            self.walls.merge(WallLog(self.legacy_highest))
        elif stored != self._stored:
            self._stored = stored
            found = orjson.loads(stored)
            peaks = {boot: tuple((e, w) for e, w in pairs) for boot, pairs in found["peaks"].items()}
            self.walls.merge(WallLog(found["highest"], peaks, found.get("behind", ())))
        forgotten = select_fact(connection, "forgotten")
        if forgotten is not None:
            self.forgotten = float(forgotten)
        elif stored is not None and not self.legacy_highest:
            self.legacy_highest = float(select_fact(connection, "highest_wall") or 0.0)

    def store(self, connection: sqlite3.Connection) -> PruneTime | None:
        """Store the new readings; return the time to prune at, if pruning is due and the clocks agree.

        Raises:
            JournalError: A fact is damaged.
        """
        self.load(connection)
        readings, self._unwritten = self._unwritten, []
        for reading in readings:
            self.walls.add(reading.wall, reading.elapsed, reading.boot)
        facts = {"highest": self.walls.highest, "peaks": self.walls.peaks}
        content = orjson.dumps({**facts, "behind": sorted(self.walls.behind)} if self.walls.behind else facts)
        if content != self._stored:
            store_fact(connection, "walls", content)
            self._stored = content
        return self._check_pruning(connection, readings[-1]) if readings else None

    def _check_pruning(self, connection: sqlite3.Connection, now: ClockReading) -> PruneTime | None:
        if not is_due(self._baseline, now):
            return None
        stored = select_fact(connection, "pruning")
        # Another process may have pruned in the meantime.
        self._baseline = baseline = None if stored is None else _parse_reading(orjson.loads(stored))
        if not is_due(baseline, now):
            return None
        self._baseline = now
        store_fact(connection, "pruning", orjson.dumps([now.wall, now.elapsed, now.highest, now.boot]))
        return agreed_time(baseline, now)

    def note_removed(self, connection: sqlite3.Connection, until: float) -> None:
        """Store that finished entries up to a wall time were removed."""
        if self.forgotten is None or until > self.forgotten:
            self.forgotten = until
            store_fact(connection, "forgotten", repr(until).encode())


def _parse_reading(stored: list[Any]) -> ClockReading:
    return ClockReading(*stored)


def select_fact(connection: sqlite3.Connection, name: str) -> bytes | None:
    """Return a fact that the file remembers, if it does.

    Raises:
        JournalError: It is damaged.
    """
    row = connection.execute(_SELECT_FACT, (name,)).fetchone()
    return None if row is None else verify_checksum(row[0])


def store_fact(connection: sqlite3.Connection, name: str, content: bytes) -> None:
    """Have the file remember a fact."""
    connection.execute(_STORE_FACT, (name, with_checksum(content)))
