"""The journal in an SQLite file, which survives the process."""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Literal, Self

from bardge_async._core.arguments import check_bool, check_number, check_path, check_seconds, check_text
from bardge_async._core.entry import JournalEntry, KeyIdentity, WallLog
from bardge_async._core.settings import DAY
from bardge_async._core.window import ClockReading
from bardge_async._journal.key_holders import KeyHolders, key_in_use_error
from bardge_async._journal.pages import PAGE_ROWS, stream_pages, take_page
from bardge_async._journal.pruning import PruneTime
from bardge_async._journal.spellings import choose_binding_entry, find_respelled, respell_entry
from bardge_async._journal.sqlite_chores import EraseChore, PruneChore
from bardge_async._journal.sqlite_clocks import FileClocks
from bardge_async._journal.sqlite_files import resolve_journal_path
from bardge_async._journal.sqlite_keys import choose_way, make_key_holds, open_locks
from bardge_async._journal.sqlite_rows import CHECKSUM_INDEX, COLUMNS, entry_columns, parse_entry
from bardge_async._journal.sqlite_schema import check_foreign_file, list_spellings
from bardge_async._journal.sqlite_since import list_sent_since
from bardge_async._journal.sqlite_trust import check_trust, share_files
from bardge_async._journal.sqlite_writer import SQLiteWriter
from bardge_async._runtime.clock import Clock, Timer
from bardge_async.errors import ConfigurationError

_POLL_SECONDS: Final = 0.05
_MIN_TIMEOUT: Final = 1.0
_RESPELL_BATCH: Final = 200

_WHERE_KEY: Final = "base_url = ? AND account = ? AND key = ?"
_UPSERT: Final = (
    f"INSERT INTO entries ({COLUMNS}) VALUES ({', '.join('?' * 23)}) ON CONFLICT (base_url, account, key) DO UPDATE "
    "SET " + ", ".join(f"{name} = excluded.{name}" for name in COLUMNS.split(", ")[3:])
)
_UPDATE_OUTCOME: Final = (
    f"UPDATE entries SET {', '.join(f'{name} = ?' for name in COLUMNS.split(', ')[8:])} "
    f"WHERE {_WHERE_KEY} AND fingerprint = ? AND given = ?"
)
_PAGE: Final = f"SELECT {COLUMNS}, seq FROM entries WHERE seq > ? ORDER BY seq LIMIT ?"
# The planner would rather read the whole table in its order.
_UNFINISHED_PAGE: Final = (
    f"SELECT {COLUMNS}, seq FROM entries WHERE seq IN (SELECT seq FROM entries INDEXED BY entries_unfinished "
    "WHERE state = 'sent' AND seq > ? ORDER BY seq LIMIT ?) ORDER BY seq"
)


# All journals of this process over one file share their key holders: a key passes to the next task without polling, FIFO.
_HOLDERS: Final[weakref.WeakValueDictionary[Path, KeyHolders]] = weakref.WeakValueDictionary()


class SQLiteJournal:
    """Keep entries durably in an SQLite file, for any number of processes on one machine.

    Intents and outcomes are on disk before the call proceeds (WAL, ``synchronous=FULL``; many calls share a commit, and
    the event loop never waits for the disk). The file holds personal data, passcodes and access codes: only its owner
    can read it (mode 0600) and its companions ``-wal``, ``-shm`` and ``-lock``. The API key and lookup tokens are never
    stored. Requires a local disk: network file systems do not support its locks.

    Args:
        path: The file; created if missing. Links are resolved, and a file with several hard links is refused.
        keep_bodies: Seconds after which the bodies of finished entries are removed; 30 days by default.
        keep_entries: Seconds after which finished entries are removed; 400 days by default, 0 keeps them forever.
        patience: Seconds to keep retrying while another program has the file locked; a claim and an intent wait no longer
            than their call.
        locks: How keys are held. ``"auto"`` is what the environment variable ``BARDGE_JOURNAL_LOCKS`` says, else locks on
            ranges of one file where the system has them (Linux), else ``"portable"``: one more file for each open journal.
        shared: Share the file with a common group, as 0660 in a folder of 2770; otherwise, what others can write is refused.

    Raises:
        JournalError: The file cannot be used, or not be trusted; it is left unchanged.
        ConfigurationError: A number is out of range.
    """

    instant = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        keep_bodies: float = 30 * DAY,
        keep_entries: float = 400 * DAY,
        shared: bool = False,
        patience: float = 60.0,
        locks: Literal["auto", "portable"] = "auto",
    ) -> None:
        for name, seconds in (("keep_bodies", keep_bodies), ("keep_entries", keep_entries), ("patience", patience)):
            check_seconds(name, seconds, 0)
        check_bool("shared", shared, ConfigurationError)
        way = choose_way(locks)
        self.path = resolve_journal_path(check_path("path", path))
        self._clocks = FileClocks()
        self._keep_bodies = keep_bodies
        self._keep_entries = keep_entries
        check_trust(self.path, shared=shared)
        check_foreign_file(self.path)
        self._locks = open_locks(self.path, way)
        try:
            self._writer = SQLiteWriter(self.path, self._locks, self._complete_transaction, _respell_entries, patience)
            # A POST under a key generated here reads nothing before it is recorded, and must be later than what is on
            # record.
            self._writer.read_now(self._clocks.load)
            if shared:
                share_files(self.path)
        except BaseException:
            self._locks.close()
            raise
        self._holders = _HOLDERS.setdefault(self.path, KeyHolders())
        self._keys = make_key_holds(self._locks, self._writer)

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
            return await self._claim_in_time(identity, deadline, clock)
        except BaseException:
            self.release(identity)
            raise

    async def _claim_in_time(self, identity: KeyIdentity, deadline: float, clock: Clock) -> JournalEntry | None:
        """Poll for a key until it is free or the deadline passes, and read its entry."""

        def start_timer(expire: Callable[[], object]) -> Timer:
            # Even if no time is left: another process has the file locked for the time of a commit only.
            return clock.timer(max(_MIN_TIMEOUT, deadline - clock.elapsed()), expire)

        while not await self._keys.lock(identity, start_timer):
            remaining = deadline - clock.elapsed()
            if remaining <= 0:
                raise key_in_use_error(identity)
            await clock.sleep(min(_POLL_SECONDS, remaining))
        return await self._writer.run(
            lambda found: _select_entry(found, identity), writes=False, start_timer=start_timer
        )

    def hold_fresh(self, identity: KeyIdentity) -> bool:
        """Claim a key that was generated just now, without reading the file; return whether it was claimed."""
        if not self._holders.try_acquire(identity):
            return False
        try:
            locked = self._keys.lock_fresh(identity)
        except BaseException:
            self._holders.release(identity)
            raise
        if not locked:
            self._holders.release(identity)
        return locked

    def release(self, identity: KeyIdentity) -> None:
        """Release a key."""
        self._keys.release(identity)
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
        free = [entry for entry in entries if not self._holders.is_held(entry.identity)]
        held = await self._keys.find_held(entry.identity for entry in free)
        return [entry for entry in free if entry.identity not in held]

    async def since(self, entry: JournalEntry) -> list[JournalEntry]:
        """Return the endpoint's other entries last sent at most ten minutes before this one was first sent, or later."""
        return await list_sent_since(self._writer.run, entry)

    def entries(self, *, unfinished: bool = False) -> AsyncIterator[JournalEntry]:
        """Iterate over the entries of all servers and accounts, oldest first; with ``unfinished``, over those in doubt.

        A page is read at a time, so memory stays flat and no other call waits. An entry that is there all the time comes
        exactly once, as it was when its page was read; one that is added or removed meanwhile may come or not.

        Raises:
            JournalError: The file cannot be read.
        """
        check_bool("unfinished", unfinished)

        async def read_page(end: int) -> tuple[list[JournalEntry], int | None]:
            began = time.monotonic()
            page = await self._writer.run(lambda found: _select_page(found, end, unfinished=unfinished), writes=False)
            # The file is locked meanwhile: leave it to other processes for as long.
            await asyncio.sleep(time.monotonic() - began)
            return page

        return stream_pages(0, read_page)

    async def listed(self, *, unfinished: bool = False) -> list[JournalEntry]:
        """Return what ``entries`` yields, in a list.

        Raises:
            JournalError: The file cannot be read.
        """
        return [entry async for entry in self.entries(unfinished=unfinished)]

    async def erase(self, client_id: str) -> int:
        """Remove the bodies of finished entries that name a client; return the number of entries changed.

        A body names a client by its id as a segment of the URL's path or as a string in its JSON. Key, fingerprint and
        outcome are kept. Entries in doubt keep their bodies, which resolving them needs, and one that is answered
        meanwhile may keep them.

        Raises:
            InvalidArgumentError: The id is empty.
            JournalError: The file cannot be written.
        """
        check_text("client_id", client_id)
        chore = EraseChore(client_id)
        await self._writer.run_chore(chore)
        return chore.changed

    async def prune(self, now: float) -> int:
        """Remove what is past its retention at the wall time ``now``, in seconds; return the number of entries removed.

        The time is taken as given: pass one that is certainly right. Without this call the journal prunes by itself, by
        two readings of the clocks that are an hour apart in the same boot and agree.

        Raises:
            JournalError: The file cannot be written.
        """
        check_number("now", now, -math.inf)
        chore = self._make_prune_chore(PruneTime(now))
        await self._writer.run_chore(chore)
        return chore.removed

    def close(self) -> None:
        """Finish pending writes, close the file and release every key."""
        self._writer.close()
        self._locks.close()

    def _write_entry(self, connection: sqlite3.Connection, entry: JournalEntry) -> None:
        row = entry_columns(entry)
        # Mostly only the outcome is new: updating just that takes half the time.
        if (
            entry.answer is None
            or not connection.execute(_UPDATE_OUTCOME, (*row[8:], *row[:3], row[5], row[7])).rowcount
        ):
            connection.execute(_UPSERT, row)
        self._keys.record(connection, entry.identity)
        if entry.last_sent is not None:
            self._clocks.add_reading(entry.last_sent)

    def _complete_transaction(self, connection: sqlite3.Connection, writes: bool) -> None:
        """Load or store what the file remembers of the clocks, once per transaction; once an hour start pruning."""
        if not writes:
            self._clocks.load(connection)
            return
        due = self._clocks.store(connection)
        if due is not None:
            self._writer.add_chore(self._make_prune_chore(due))

    def _make_prune_chore(self, time: PruneTime) -> PruneChore:
        return PruneChore(self._clocks, time, self._keep_bodies, self._keep_entries, lambda: self.forgotten)


def _select_entry(connection: sqlite3.Connection, identity: KeyIdentity) -> JournalEntry | None:
    row = connection.execute(f"SELECT {COLUMNS} FROM entries WHERE {_WHERE_KEY}", identity).fetchone()
    return None if row is None else parse_entry(row)


def _respell_entries(connection: sqlite3.Connection) -> None:
    """Rewrite the entries under other spellings of their base URL, in short transactions; most files have none."""
    sql = f"SELECT {COLUMNS} FROM entries WHERE base_url = ? LIMIT {_RESPELL_BATCH}"
    for spelling in find_respelled(list_spellings(connection)):
        rows: list[Any] | None = None
        while rows is None or rows:
            connection.execute("BEGIN IMMEDIATE")
            rows = connection.execute(sql, (spelling,)).fetchall()
            for row in rows:
                _respell_row(connection, parse_entry(row))
            connection.execute("COMMIT")


def _respell_row(connection: sqlite3.Connection, entry: JournalEntry) -> None:
    respelled = respell_entry(entry)
    rival = _select_entry(connection, respelled.identity)
    loser = None
    if rival is not None:
        loser = entry.identity if choose_binding_entry(rival, respelled) is rival else rival.identity
        connection.execute(f"DELETE FROM entries WHERE {_WHERE_KEY}", loser)
    if loser != entry.identity:
        checksum = entry_columns(respelled)[CHECKSUM_INDEX]
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
        "ELSE (other.last_highest, other.seq) > (mine.last_highest, mine.seq) END "
        # The latest first: for an old entry one of them is later.
        "ORDER BY other.last_highest DESC LIMIT 1"
    )
    return connection.execute(sql, entry.identity).fetchone() is not None


def _select_unfinished(connection: sqlite3.Connection, base_url: str, account: str) -> list[JournalEntry]:
    sql = f"SELECT {COLUMNS} FROM entries WHERE base_url = ? AND account = ? AND state = 'sent' ORDER BY seq"
    return [parse_entry(row) for row in connection.execute(sql, (base_url, account))]


def _select_page(
    connection: sqlite3.Connection, position: int, *, unfinished: bool
) -> tuple[list[JournalEntry], int | None]:
    sql = _UNFINISHED_PAGE if unfinished else _PAGE
    with closing(connection.execute(sql, (position, PAGE_ROWS))) as rows:
        return take_page((row[-1], parse_entry(row)) for row in rows)
