"""The journal on disk: it survives the process."""

from __future__ import annotations

import os
import sqlite3
import sys
import weakref
from pathlib import Path
from typing import Any, Final, Self

import attrs

from bardge_async._core.entry import Answer, EntryState, Identity, Record
from bardge_async._core.window import Moment
from bardge_async._journal.key_holders import Lines, in_use
from bardge_async._journal.sqlite_digests import damaged, digest, sealed, unsealed
from bardge_async._journal.sqlite_locks import KeyLocks
from bardge_async._journal.sqlite_writer import Writer
from bardge_async._runtime.clock import Clock
from bardge_async.errors import ConfigurationError

DAY: Final = 86_400.0
RIVAL_SECONDS: Final = 600.0
_POLL: Final = 0.05
_PRUNE_EVERY: Final = 3600.0

_COLUMNS: Final = (
    "base_url, account, key, endpoint, url, fingerprint, body, given, state, "
    "first_wall, first_elapsed, first_highest, first_boot, last_wall, last_elapsed, last_highest, last_boot, "
    "status, answer, request_id, seal"
)
_WHERE: Final = "base_url = ? AND account = ? AND key = ?"
_PUT: Final = (
    f"INSERT INTO entries ({_COLUMNS}) VALUES ({', '.join('?' * 21)}) ON CONFLICT (base_url, account, key) DO UPDATE "
    "SET " + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.split(", ")[3:])
)
_END: Final = (
    f"UPDATE entries SET {', '.join(f'{name} = ?' for name in _COLUMNS.split(', ')[8:])} "
    f"WHERE {_WHERE} AND fingerprint = ? AND given = ?"
)


_ALL: Final[weakref.WeakSet[SQLiteJournal]] = weakref.WeakSet()
# Journals of one process over one file share their lines: a key is handed on at once, in the order of the asking.
_LINES: Final[weakref.WeakValueDictionary[Path, Lines]] = weakref.WeakValueDictionary()


class SQLiteJournal:
    """Keep records in an SQLite file, durably, for any number of processes on one machine.

    Intents and outcomes are on disk before the call goes on (WAL, ``synchronous=FULL``; many calls share a commit, and
    the event loop never waits for the disk). The file holds personal data, passcodes and access codes: it is readable
    by its owner only (0600), and so are its companions ``-wal``, ``-shm`` and ``-lock``. The API key and lookup tokens
    are never in it. Linux and local disks only: other systems and network file systems do not keep its locks.

    Args:
        path: The file; made where it is missing.
        keep_bodies: Seconds after which the bodies of finished entries are removed; 30 days by default.
        keep_entries: Seconds after which finished entries are forgotten; 400 days by default, 0 keeps them for ever.

    Raises:
        JournalError: The file cannot be used; it stays unchanged.
        ConfigurationError: A number out of its range.
    """

    instant = False

    def __init__(
        self, path: str | os.PathLike[str], *, keep_bodies: float = 30 * DAY, keep_entries: float = 400 * DAY
    ) -> None:
        _check_seconds("keep_bodies", keep_bodies)
        _check_seconds("keep_entries", keep_entries)
        self.path = Path(path).absolute()
        self.highest = 0.0
        self._keep_bodies = keep_bodies
        self._keep_entries = keep_entries
        self._pruned_at: float | None = None
        self._seen = 0.0
        self._writer = Writer(self.path, self._finish)
        self._lines = _LINES.setdefault(self.path.resolve(), Lines())
        self._locks = KeyLocks(self.path)
        _ALL.add(self)

    @property
    def forgotten(self) -> float:
        """The wall time in seconds up to which finished entries may be gone; 0 where none are."""
        return max(0.0, self.highest - self._keep_entries) if self._keep_entries else 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def claim(self, identity: Identity, patience: float, clock: Clock) -> Record | None:
        """Take hold of a key, waiting for at most ``patience`` seconds; return its record.

        Raises:
            KeyInUseError: Another task or process did not let go in time.
            JournalError: The file cannot be read.
        """
        deadline = clock.elapsed() + patience
        await self._lines.take(identity, patience, clock)
        try:
            await self._lock(identity, deadline, clock)
            return await self._writer.run(lambda found: _read(found, identity), writes=False)
        except BaseException:
            self.release(identity)
            raise

    def hold_fresh(self, identity: Identity) -> bool:
        """Take hold of a key that was made just now, so that no record of it has to be looked for."""
        if not self._lines.hold(identity):
            return False
        try:
            free = self._locks.take(identity)
        except BaseException:
            self._lines.release(identity)
            raise
        if not free:
            self._lines.release(identity)
        return free

    async def _lock(self, identity: Identity, deadline: float, clock: Clock) -> None:
        while not self._locks.take(identity):
            left = deadline - clock.elapsed()
            if left <= 0:
                raise in_use(identity)
            await clock.sleep(min(_POLL, left))

    def release(self, identity: Identity) -> None:
        """Let go of a key."""
        self._locks.release(identity)
        self._lines.release(identity)

    async def put(self, record: Record) -> None:
        """Keep a record; it is on disk when this returns.

        Raises:
            JournalError: It could not be written.
        """
        answer = record.answer
        if answer is not None and answer.body is not None and record.state is not EntryState.SENT and not record.given:
            # Nobody can know a fresh key before, so nobody asks for its answer again.
            record = attrs.evolve(record, answer=attrs.evolve(answer, body=None))
        await self._writer.run(lambda found: self._put(found, record), writes=True)

    async def remove(self, identity: Identity) -> None:
        """Forget a record that never reached the server."""
        await self._writer.run(
            lambda found: found.execute(f"DELETE FROM entries WHERE {_WHERE}", identity), writes=True
        )

    async def overtaken(self, record: Record) -> bool:
        """Tell whether a POST to the same row and path was sent later than the record's, under another key."""
        return await self._writer.run(lambda found: _overtaken(found, record), writes=False)

    async def unfinished(self, base_url: str, account: str) -> list[Record]:
        """Return the records that were sent and have no outcome, oldest first, without those under work."""
        records = await self._writer.run(lambda found: _unfinished(found, base_url, account), writes=False)
        return [r for r in records if not self._lines.held(r.identity) and not self._locks.held(r.identity)]

    async def since(self, record: Record) -> list[Record]:
        """Return the other records of the same row that were sent at most ten minutes before a record's or later."""
        return await self._writer.run(lambda found: _since(found, record), writes=False)

    async def listed(self, *, unfinished: bool = False) -> list[Record]:
        """Return the records of all servers and accounts, oldest first; ``unfinished`` leaves out what has an outcome.

        Raises:
            JournalError: The file cannot be read.
        """
        return await self._writer.run(lambda found: _listed(found, unfinished=unfinished), writes=False)

    async def erase(self, client_id: str) -> int:
        """Remove the bodies of finished entries that name a client, and return how many there were.

        Key, fingerprint and outcome stay. Entries in doubt keep theirs, which are needed to settle them.

        Raises:
            JournalError: The file cannot be written.
        """
        return await self._writer.run(lambda found: _erase(found, client_id), writes=True)

    async def prune(self, now: float) -> int:
        """Remove what is kept long enough, by a wall time in seconds; return how many entries were forgotten.

        Raises:
            JournalError: The file cannot be written.
        """
        return await self._writer.run(lambda found: self._prune(found, now), writes=True)

    def close(self) -> None:
        """Close the file after what is being written; every key is let go."""
        _ALL.discard(self)
        self._writer.close()
        self._locks.close()

    def _put(self, found: sqlite3.Connection, record: Record) -> None:
        row = _row(record)
        # Only the outcome is new, mostly: an update of that takes half the time.
        if record.answer is None or not found.execute(_END, (*row[8:], *row[:3], row[5], row[7])).rowcount:
            found.execute(_PUT, row)
        for moment in (record.first_sent, record.last_sent):
            if moment is not None and moment.wall > self._seen:
                self._seen = moment.wall

    def _finish(self, found: sqlite3.Connection, writes: bool) -> None:
        """Do what every transaction needs once: learn or keep the highest wall time, and prune now and then."""
        if not writes:
            self.highest = max(self.highest, _highest(found))
            return
        seen = self._seen
        if seen > self.highest:
            self.highest = seen
            if seen > _highest(found):
                found.execute("UPDATE facts SET value = ? WHERE name = 'highest_wall'", (sealed(repr(seen).encode()),))
        if self._pruned_at is None or seen - self._pruned_at > _PRUNE_EVERY:
            self._pruned_at = seen
            self._prune(found, seen)

    def _prune(self, found: sqlite3.Connection, now: float) -> int:
        finished = "state <> 'sent' AND last_wall < ?"
        found.execute(
            f"UPDATE entries SET body = NULL, answer = NULL WHERE {finished} AND (body NOT NULL OR answer NOT NULL)",
            (now - self._keep_bodies,),
        )
        if not self._keep_entries:
            return 0
        return found.execute(f"DELETE FROM entries WHERE {finished}", (now - self._keep_entries,)).rowcount


def _check_seconds(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ConfigurationError(f"{name}: expected a number of seconds from 0, got {value!r:.40}")


def _after_fork() -> None:
    for journal in list(_ALL):
        journal._lines.begin_anew()  # noqa: SLF001 - of this module
        journal._locks.begin_anew()  # noqa: SLF001


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork)


def _read(found: sqlite3.Connection, identity: Identity) -> Record | None:
    row = found.execute(f"SELECT {_COLUMNS} FROM entries WHERE {_WHERE}", identity).fetchone()
    return None if row is None else _record(row)


def _highest(found: sqlite3.Connection) -> float:
    row = found.execute("SELECT value FROM facts WHERE name = 'highest_wall'").fetchone()
    content = None if row is None else unsealed(row[0])
    if content is None:
        raise damaged()
    return float(content)


def _overtaken(found: sqlite3.Connection, record: Record) -> bool:
    sql = (
        f"SELECT 1 FROM entries AS other JOIN entries AS mine ON mine.{_WHERE.replace(' AND ', ' AND mine.')} "
        "WHERE other.base_url = mine.base_url AND other.account = mine.account AND other.url = mine.url "
        # The highest wall time never goes back, as the wall itself may.
        "AND (other.last_highest, other.seq) > (mine.last_highest, mine.seq) LIMIT 1"
    )
    return found.execute(sql, record.identity).fetchone() is not None


def _unfinished(found: sqlite3.Connection, base_url: str, account: str) -> list[Record]:
    sql = f"SELECT {_COLUMNS} FROM entries WHERE base_url = ? AND account = ? AND state = 'sent' ORDER BY seq"
    return [_record(row) for row in found.execute(sql, (base_url, account))]


def _listed(found: sqlite3.Connection, *, unfinished: bool) -> list[Record]:
    where = "WHERE state = 'sent' " if unfinished else ""
    return [_record(row) for row in found.execute(f"SELECT {_COLUMNS} FROM entries {where}ORDER BY seq")]


def _since(found: sqlite3.Connection, record: Record) -> list[Record]:
    assert record.first_sent is not None  # noqa: S101 - a record in doubt was sent
    sql = (
        f"SELECT {_COLUMNS} FROM entries WHERE base_url = ? AND account = ? AND endpoint = ? AND key <> ? "
        "AND state <> 'refused' AND last_wall >= ?"
    )
    base_url, account, key = record.identity
    earliest = record.first_sent.wall - RIVAL_SECONDS
    return [_record(row) for row in found.execute(sql, (base_url, account, record.endpoint, key, earliest))]


def _erase(found: sqlite3.Connection, client_id: str) -> int:
    sql = (
        "UPDATE entries SET body = NULL, answer = NULL WHERE state <> 'sent' AND (body NOT NULL OR answer NOT NULL) "
        "AND (instr(body, CAST(? AS BLOB)) OR instr(answer, CAST(? AS BLOB)) OR instr(url, ?))"
    )
    return found.execute(sql, (client_id, client_id, client_id)).rowcount


def _row(record: Record) -> tuple[Any, ...]:
    first, last, answer = record.first_sent, record.last_sent, record.answer
    firsts = _moment_row(first)
    row = (
        *record.identity,
        record.endpoint,
        record.url,
        record.fingerprint,
        sealed(record.body),
        int(record.given),
        record.state.value,
        *firsts,
        *(firsts if last is first else _moment_row(last)),
        *((answer.status, sealed(answer.body), answer.request_id) if answer is not None else (None, None, None)),
    )
    return (*row, _seal(row))


def _seal(row: tuple[Any, ...]) -> bytes:
    """Make the digest of an entry without its bodies, which have their own and may be removed."""
    # As repr((*row[:6], *row[7:18], row[19])), whose eight floats take most of its time; mostly the moments are one.
    first = repr(row[9:13])[1:-1]
    last = first if row[13:17] == row[9:13] else repr(row[13:17])[1:-1]
    text = f"{repr(row[:6])[:-1]}, {row[7]!r}, {row[8]!r}, {first}, {last}, {row[17]!r}, {row[19]!r})"
    return digest(text.encode())


def _moment_row(moment: Moment | None) -> tuple[Any, ...]:
    if moment is None:
        return (None,) * 4
    return float(moment.wall), float(moment.elapsed), float(moment.highest), moment.boot


def _record(row: tuple[Any, ...]) -> Record:
    if _seal(row[:20]) != row[20]:
        raise damaged()
    answer = None if row[17] is None else Answer(row[17], unsealed(row[18]), row[19])
    return Record(
        identity=Identity(*row[:3]),
        endpoint=row[3],
        url=row[4],
        fingerprint=row[5],
        body=unsealed(row[6]),
        given=bool(row[7]),
        state=EntryState(row[8]),
        first_sent=_moment(row[9:13]),
        last_sent=_moment(row[13:17]),
        answer=answer,
    )


def _moment(row: tuple[Any, ...]) -> Moment | None:
    return None if row[0] is None else Moment(*row)
