"""The journal in an SQLite file, which survives the process."""

from __future__ import annotations

import math
import os
import sqlite3
import weakref
from pathlib import Path
from typing import Any, Final, Self

from bardge_async._core.arguments import check_bool, check_number, check_path, check_seconds, check_text
from bardge_async._core.entry import COMPETING_SECONDS, EntryState, JournalEntry, KeyIdentity, RecordedResponse, WallLog
from bardge_async._core.settings import DAY
from bardge_async._core.window import ClockReading
from bardge_async._journal.key_holders import KeyHolders, key_in_use_error
from bardge_async._journal.pruning import WHERE_EXPIRED, PruneTime
from bardge_async._journal.spellings import choose_binding_entry, find_respelled, respell_entry
from bardge_async._journal.sqlite_clocks import FileClocks
from bardge_async._journal.sqlite_digests import compute_checksum, corruption_error, verify_checksum, with_checksum
from bardge_async._journal.sqlite_locks import KeyFileLocks
from bardge_async._journal.sqlite_schema import list_spellings
from bardge_async._journal.sqlite_writer import SQLiteWriter
from bardge_async._runtime.clock import Clock

_POLL_SECONDS: Final = 0.05
_RESPELL_BATCH: Final = 1000

_COLUMNS: Final = (
    "base_url, account, key, endpoint, url, fingerprint, body, given, state, "
    "first_wall, first_elapsed, first_highest, first_boot, last_wall, last_elapsed, last_highest, last_boot, "
    "status, answer, request_id, seal, first_server, key_honoured"
)
_CHECKSUM_INDEX: Final = 20
_WHERE_KEY: Final = "base_url = ? AND account = ? AND key = ?"
_UPSERT: Final = (
    f"INSERT INTO entries ({_COLUMNS}) VALUES ({', '.join('?' * 23)}) ON CONFLICT (base_url, account, key) DO UPDATE "
    "SET " + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.split(", ")[3:])
)
_UPDATE_OUTCOME: Final = (
    f"UPDATE entries SET {', '.join(f'{name} = ?' for name in _COLUMNS.split(', ')[8:])} "
    f"WHERE {_WHERE_KEY} AND fingerprint = ? AND given = ?"
)


# All journals of this process over one file share their key holders: a key passes to the next task without polling, FIFO.
_HOLDERS: Final[weakref.WeakValueDictionary[Path, KeyHolders]] = weakref.WeakValueDictionary()


class SQLiteJournal:
    """Keep entries durably in an SQLite file, for any number of processes on one machine.

    Intents and outcomes are on disk before the call proceeds (WAL, ``synchronous=FULL``; many calls share a commit, and
    the event loop never waits for the disk). The file holds personal data, passcodes and access codes: only its owner
    can read it (mode 0600) and its companions ``-wal``, ``-shm`` and ``-lock``. The API key and lookup tokens are never
    stored. Requires Linux and a local disk: other systems and network file systems do not support its locks.

    Args:
        path: The file; created if missing.
        keep_bodies: Seconds after which the bodies of finished entries are removed; 30 days by default.
        keep_entries: Seconds after which finished entries are removed; 400 days by default, 0 keeps them forever.

    Raises:
        JournalError: The file cannot be used; it is left unchanged.
        ConfigurationError: A number is out of range.
    """

    instant = False

    def __init__(
        self, path: str | os.PathLike[str], *, keep_bodies: float = 30 * DAY, keep_entries: float = 400 * DAY
    ) -> None:
        check_seconds("keep_bodies", keep_bodies, 0)
        check_seconds("keep_entries", keep_entries, 0)
        self.path = check_path("path", path).absolute()
        self._clocks = FileClocks()
        self._keep_bodies = keep_bodies
        self._keep_entries = keep_entries
        self._writer = SQLiteWriter(self.path, self._complete_transaction, _respell_entries)
        # A POST under a key generated here reads nothing before it is recorded, and must be later than what is on record.
        self._writer.read_now(self._clocks.load)
        self._holders = _HOLDERS.setdefault(self.path.resolve(), KeyHolders())
        self._locks = KeyFileLocks(self.path)

    @property
    def forgotten(self) -> float:
        """The wall time in seconds up to which finished entries may have been pruned; 0 if none were."""
        if self._clocks.forgotten is not None:
            return self._clocks.forgotten
        # A file of the first version does not say: it was pruned by the highest wall time.
        return max(0.0, self._clocks.legacy_highest - self._keep_entries) if self._keep_entries else 0.0

    @property
    def highest(self) -> float:
        """The highest wall time on record, in seconds."""
        return self._clocks.walls.highest

    @property
    def walls(self) -> WallLog:
        """The highest wall times read, by this and other processes."""
        return self._clocks.walls

    async def record_reading(self, reading: ClockReading) -> None:
        """Record a reading of the clocks, so that a window that it closed stays closed for other processes.

        Raises:
            JournalError: The file cannot be written.
        """
        await self._writer.run(lambda _: self._clocks.add_reading(reading), writes=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def claim(self, identity: KeyIdentity, timeout: float, clock: Clock) -> JournalEntry | None:
        """Claim a key, waiting at most ``timeout`` seconds; return its entry, if any.

        Raises:
            KeyInUseError: Another task or process did not release the key in time.
            JournalError: The file cannot be read.
        """
        deadline = clock.elapsed() + timeout
        await self._holders.acquire(identity, timeout, clock)
        try:
            await self._wait_for_lock(identity, deadline, clock)
            return await self._writer.run(lambda found: _select_entry(found, identity), writes=False)
        except BaseException:
            self.release(identity)
            raise

    def hold_fresh(self, identity: KeyIdentity) -> bool:
        """Claim a key that was generated just now, without reading the file; return whether it was claimed."""
        if not self._holders.try_acquire(identity):
            return False
        try:
            locked = self._locks.try_lock(identity)
        except BaseException:
            self._holders.release(identity)
            raise
        if not locked:
            self._holders.release(identity)
        return locked

    async def _wait_for_lock(self, identity: KeyIdentity, deadline: float, clock: Clock) -> None:
        while not self._locks.try_lock(identity):
            remaining = deadline - clock.elapsed()
            if remaining <= 0:
                raise key_in_use_error(identity)
            await clock.sleep(min(_POLL_SECONDS, remaining))

    def release(self, identity: KeyIdentity) -> None:
        """Release a key."""
        self._locks.release(identity)
        self._holders.release(identity)

    async def put(self, entry: JournalEntry) -> None:
        """Store an entry; it is on disk once this returns.

        Raises:
            JournalError: The entry could not be written.
        """
        stored = entry.for_storage()
        await self._writer.run(lambda connection: self._write_entry(connection, stored), writes=True)

    async def remove(self, identity: KeyIdentity) -> None:
        """Remove an entry whose request never reached the server."""
        await self._writer.run(
            lambda found: found.execute(f"DELETE FROM entries WHERE {_WHERE_KEY}", identity), writes=True
        )

    async def overtaken(self, entry: JournalEntry) -> bool:
        """Return whether a POST to the same endpoint and path was sent after this entry's, under another key."""
        return await self._writer.run(lambda found: _has_later_request(found, entry), writes=False)

    async def unfinished(self, base_url: str, account: str) -> list[JournalEntry]:
        """Return the entries that were sent and have no outcome, oldest first, except those whose key is held."""
        entries = await self._writer.run(lambda found: _select_unfinished(found, base_url, account), writes=False)
        return [r for r in entries if not self._holders.is_held(r.identity) and not self._locks.is_held(r.identity)]

    async def since(self, entry: JournalEntry) -> list[JournalEntry]:
        """Return the endpoint's other entries last sent at most ten minutes before this one was first sent, or later."""
        return await self._writer.run(lambda found: _select_sent_since(found, entry), writes=False)

    async def listed(self, *, unfinished: bool = False) -> list[JournalEntry]:
        """Return the entries of all servers and accounts, oldest first; with ``unfinished``, only those in doubt.

        Raises:
            JournalError: The file cannot be read.
        """
        check_bool("unfinished", unfinished)
        return await self._writer.run(lambda found: _select_entries(found, unfinished=unfinished), writes=False)

    async def erase(self, client_id: str) -> int:
        """Remove the bodies of finished entries that contain a client's id; return the number of entries changed.

        Key, fingerprint and outcome are kept. Entries in doubt keep their bodies, which resolving them needs.

        Raises:
            JournalError: The file cannot be written.
        """
        check_text("client_id", client_id)
        return await self._writer.run(lambda found: _erase_client(found, client_id), writes=True)

    async def prune(self, now: float) -> int:
        """Remove what is past its retention at the wall time ``now``, in seconds; return the number of entries removed.

        The time is taken as given: pass one that is certainly right. Without this call the journal prunes by itself, by
        two readings of the clocks that are an hour apart in the same boot and agree.

        Raises:
            JournalError: The file cannot be written.
        """
        check_number("now", now, -math.inf)
        return await self._writer.run(lambda found: self._prune_entries(found, PruneTime(now)), writes=True)

    def close(self) -> None:
        """Finish pending writes, close the file and release every key."""
        self._writer.close()
        self._locks.close()

    def _write_entry(self, connection: sqlite3.Connection, entry: JournalEntry) -> None:
        row = _entry_columns(entry)
        # Mostly only the outcome is new: updating just that takes half the time.
        if (
            entry.answer is None
            or not connection.execute(_UPDATE_OUTCOME, (*row[8:], *row[:3], row[5], row[7])).rowcount
        ):
            connection.execute(_UPSERT, row)
        if entry.last_sent is not None:
            self._clocks.add_reading(entry.last_sent)

    def _complete_transaction(self, connection: sqlite3.Connection, writes: bool) -> None:
        """Load or store what the file remembers of the clocks, once per transaction, and prune once an hour."""
        if not writes:
            self._clocks.load(connection)
            return
        due = self._clocks.store(connection)
        if due is not None:
            self._prune_entries(connection, due)

    def _prune_entries(self, connection: sqlite3.Connection, time: PruneTime) -> int:
        condition = f"state <> 'sent' AND {WHERE_EXPIRED.format('?')}"
        connection.execute(
            f"UPDATE entries SET body = NULL, answer = NULL WHERE {condition} AND (body NOT NULL OR answer NOT NULL)",
            time.limits(self._keep_bodies),
        )
        if not self._keep_entries:  # 0 keeps them forever
            return 0
        # Read before: a file of the first version does not say what was removed from it.
        forgotten = max(self.forgotten, time.wall - self._keep_entries)
        removed = connection.execute(f"DELETE FROM entries WHERE {condition}", time.limits(self._keep_entries)).rowcount
        if removed:
            self._clocks.note_removed(connection, forgotten)
        return removed


def _select_entry(connection: sqlite3.Connection, identity: KeyIdentity) -> JournalEntry | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM entries WHERE {_WHERE_KEY}", identity).fetchone()
    return None if row is None else _parse_entry(row)


def _respell_entries(connection: sqlite3.Connection) -> None:
    """Rewrite the entries under other spellings of their base URL, in short transactions; most files have none."""
    sql = f"SELECT {_COLUMNS} FROM entries WHERE base_url = ? LIMIT {_RESPELL_BATCH}"
    for spelling in find_respelled(list_spellings(connection)):
        rows: list[Any] | None = None
        while rows is None or rows:
            connection.execute("BEGIN IMMEDIATE")
            rows = connection.execute(sql, (spelling,)).fetchall()
            for row in rows:
                _respell_row(connection, _parse_entry(row))
            connection.execute("COMMIT")


def _respell_row(connection: sqlite3.Connection, entry: JournalEntry) -> None:
    respelled = respell_entry(entry)
    rival = _select_entry(connection, respelled.identity)
    loser = None
    if rival is not None:
        loser = entry.identity if choose_binding_entry(rival, respelled) is rival else rival.identity
        connection.execute(f"DELETE FROM entries WHERE {_WHERE_KEY}", loser)
    if loser != entry.identity:
        checksum = _entry_columns(respelled)[_CHECKSUM_INDEX]
        # In place: the order of the entries is that of their numbers.
        connection.execute(
            f"UPDATE entries SET base_url = ?, url = ?, fingerprint = ?, seal = ? WHERE {_WHERE_KEY}",
            (respelled.identity.base_url, respelled.url, respelled.fingerprint, checksum, *entry.identity),
        )


def _has_later_request(connection: sqlite3.Connection, entry: JournalEntry) -> bool:
    sql = (
        f"SELECT 1 FROM entries AS other JOIN entries AS mine ON mine.{_WHERE_KEY.replace(' AND ', ' AND mine.')} "
        "WHERE other.base_url = mine.base_url AND other.account = mine.account AND other.url = mine.url "
        # Ordered by the clock that is never set back; of two boots, by the highest wall time that was seen.
        "AND CASE WHEN other.last_boot = mine.last_boot "
        "THEN (other.last_elapsed, other.seq) > (mine.last_elapsed, mine.seq) "
        "ELSE (other.last_highest, other.seq) > (mine.last_highest, mine.seq) END LIMIT 1"
    )
    return connection.execute(sql, entry.identity).fetchone() is not None


def _select_unfinished(connection: sqlite3.Connection, base_url: str, account: str) -> list[JournalEntry]:
    sql = f"SELECT {_COLUMNS} FROM entries WHERE base_url = ? AND account = ? AND state = 'sent' ORDER BY seq"
    return [_parse_entry(row) for row in connection.execute(sql, (base_url, account))]


def _select_entries(connection: sqlite3.Connection, *, unfinished: bool) -> list[JournalEntry]:
    where = "WHERE state = 'sent' " if unfinished else ""
    return [_parse_entry(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM entries {where}ORDER BY seq")]


def _select_sent_since(connection: sqlite3.Connection, entry: JournalEntry) -> list[JournalEntry]:
    assert entry.first_sent is not None
    sql = (
        f"SELECT {_COLUMNS} FROM entries WHERE base_url = ? AND account = ? AND endpoint = ? AND key <> ? "
        "AND state <> 'refused' AND last_wall >= ?"
    )
    base_url, account, key = entry.identity
    earliest = entry.first_sent.wall - COMPETING_SECONDS
    return [_parse_entry(row) for row in connection.execute(sql, (base_url, account, entry.endpoint, key, earliest))]


def _erase_client(connection: sqlite3.Connection, client_id: str) -> int:
    sql = (
        "UPDATE entries SET body = NULL, answer = NULL WHERE state <> 'sent' AND (body NOT NULL OR answer NOT NULL) "
        "AND (instr(body, CAST(? AS BLOB)) OR instr(answer, CAST(? AS BLOB)) OR instr(url, ?))"
    )
    return connection.execute(sql, (client_id, client_id, client_id)).rowcount


def _entry_columns(entry: JournalEntry) -> tuple[Any, ...]:
    first, last, response = entry.first_sent, entry.last_sent, entry.answer
    first_columns = _reading_columns(first)
    row = (
        *entry.identity,
        entry.endpoint,
        entry.url,
        entry.fingerprint,
        with_checksum(entry.body),
        int(entry.given),
        entry.state.value,
        *first_columns,
        *(first_columns if last is first else _reading_columns(last)),
        *(
            (response.status, with_checksum(response.body), response.request_id)
            if response is not None
            else (None, None, None)
        ),
    )
    server = None if first is None or first.server is None else float(first.server)
    honoured = None if entry.key_honoured is None else int(entry.key_honoured)
    return (*row, _compute_checksum(row, server, honoured), server, honoured)


def _compute_checksum(row: tuple[Any, ...], server: float | None, honoured: int | None) -> bytes:
    """Compute the checksum of an entry without its bodies, which have their own and may be removed."""
    # Equals repr((*row[:6], *row[7:18], row[19])), but formats the four floats once when both readings are the same.
    first = repr(row[9:13])[1:-1]
    last = first if row[13:17] == row[9:13] else repr(row[13:17])[1:-1]
    text = f"{repr(row[:6])[:-1]}, {row[7]!r}, {row[8]!r}, {first}, {last}, {row[17]!r}, {row[19]!r})"
    # Entries of earlier versions have neither, and keep their checksum.
    if server is not None:
        text += repr(server)
    if honoured is not None:
        text += f", {honoured}"
    return compute_checksum(text.encode())


def _reading_columns(reading: ClockReading | None) -> tuple[Any, ...]:
    if reading is None:
        return (None,) * 4
    return float(reading.wall), float(reading.elapsed), float(reading.highest), reading.boot


def _parse_entry(row: tuple[Any, ...]) -> JournalEntry:
    if _compute_checksum(row[:20], *row[21:]) != row[_CHECKSUM_INDEX]:
        raise corruption_error()
    response = None if row[17] is None else RecordedResponse(row[17], verify_checksum(row[18]), row[19])
    return JournalEntry(
        identity=KeyIdentity(*row[:3]),
        endpoint=row[3],
        url=row[4],
        fingerprint=row[5],
        body=verify_checksum(row[6]),
        given=bool(row[7]),
        state=EntryState(row[8]),
        first_sent=_parse_reading(row[9:13], row[21]),
        last_sent=_parse_reading(row[13:17]),
        answer=response,
        key_honoured=None if row[22] is None else bool(row[22]),
    )


def _parse_reading(row: tuple[Any, ...], server: float | None = None) -> ClockReading | None:
    wall, elapsed, highest, boot = row
    return None if wall is None else ClockReading(wall, elapsed, highest, boot, server)
