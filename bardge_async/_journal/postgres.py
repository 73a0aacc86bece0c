"""The journal in PostgreSQL: it survives the machine, and any number of machines share it."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

import anyio
import attrs

from bardge_async._core.entry import EntryState, Identity, Record
from bardge_async._core.secret import Secret
from bardge_async._journal.key_holders import Lines, in_use
from bardge_async._runtime.clock import Clock, SystemClock, TimeLimit
from bardge_async._runtime.loops import PerLoop, run_in
from bardge_async.errors import ConfigurationError, JournalError

if TYPE_CHECKING:
    from bardge_async._journal.postgres_session import OneLoop

DAY: Final = 86_400.0
RIVAL_SECONDS: Final = 600.0
_POLL: Final = 0.25
_AT_LEAST: Final = 10.0
_PRUNE_EVERY: Final = 3600.0
_CLOSE_WITHIN: Final = 15.0
_LONGEST_NAME: Final = 63

_ALL: Final[weakref.WeakSet[PostgresJournal]] = weakref.WeakSet()
# Journals of one process over the same tables share their lines: a key is handed on in the order of the asking.
_LINES: Final[weakref.WeakValueDictionary[tuple[str, str], Lines]] = weakref.WeakValueDictionary()


class PostgresJournal:
    """Keep records in PostgreSQL, durably, for any number of processes on any number of machines (extra ``postgres``).

    A key is held by a lease of the database's, which is renewed while its holder lives. Whoever lost it (stalled, cut
    off) writes no intent any more, so it sends nothing; an outcome that it still learns is kept. Intents and outcomes
    are committed before the call goes on; many calls share a commit. Nothing is left in a session between two
    statements, so PgBouncer in transaction mode will do. The tables hold personal data, passcodes and access codes; the
    API key and lookup tokens are never in them.

    Tables are made in ``schema`` on first use. Close the journal with ``async with`` or ``aclose()``.

    Args:
        dsn: A connection URL or string of libpq's.
        schema: Where the tables are: lower-case letters, digits, underscores.
        lease: Seconds after which the key of a holder that died is free; renewed three times in them.
        patience: Seconds for which work waits for a database that is away; an intent no longer than its call.
        keep_bodies: Seconds after which the bodies of finished entries are removed; 30 days by default.
        keep_entries: Seconds after which finished entries are forgotten; 400 days by default, 0 keeps them for ever.
        clock: Where the journal's own waits take their time from; leases are measured by the server.

    Raises:
        ConfigurationError: The extra is missing, or an argument out of its range.
    """

    instant = False

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = "bardge",
        lease: float = 15.0,
        patience: float = 60.0,
        keep_bodies: float = 30 * DAY,
        keep_entries: float = 400 * DAY,
        clock: Clock | None = None,
    ) -> None:
        hidden = Secret(dsn)
        del dsn
        for name, value, least in (
            ("lease", lease, 0.1),
            ("patience", patience, 0),
            ("keep_bodies", keep_bodies, 0),
            ("keep_entries", keep_entries, 0),
        ):
            _check_seconds(name, value, least)
        if not (schema.isidentifier() and schema.isascii() and schema.islower()) or len(schema) > _LONGEST_NAME:
            raise ConfigurationError(f"schema: expected lower-case letters, digits, underscores, got {schema!r:.40}")
        #: The highest wall time that this process has put, in seconds. Over machines the server's clock counts instead.
        self.highest = 0.0
        self.forgotten = 0.0
        self._keep_bodies = keep_bodies
        self._keep_entries = keep_entries
        self._pruned_at: float | None = None
        self._closed = False
        self._held: set[Identity] = set()
        self._lines = _LINES.setdefault((hidden, schema), Lines())
        clock = SystemClock() if clock is None else clock
        make = _maker(hidden, schema, lease=float(lease), patience=float(patience), clock=clock, dropped=self._drop)
        self._loops: PerLoop[OneLoop] = PerLoop(make)
        _ALL.add(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def claim(self, identity: Identity, patience: float, clock: Clock) -> Record | None:
        """Take hold of a key, waiting for at most ``patience`` seconds; return its record.

        A first send on another machine is told by this one's clocks, as the server's clock says how long ago it was.

        Raises:
            KeyInUseError: Another task, process or machine did not let go in time.
            JournalError: The database could not be reached in time, or refuses.
        """
        one, deadline = self._one(), clock.elapsed() + patience
        await self._lines.take(identity, patience, clock)
        try:
            record = await self._granted(one, identity, deadline, clock)
        except BaseException:
            self._lines.release(identity)
            raise
        self._held.add(identity)
        return record

    async def _granted(self, one: OneLoop, identity: Identity, deadline: float, clock: Clock) -> Record | None:
        """Ask for a key's lease until it is granted, or the time is up."""
        refused = False
        left = deadline - clock.elapsed()
        with TimeLimit(clock, left if left > 0 else _AT_LEAST):
            while True:
                granted, record = await one.claim(identity, clock)
                if granted:
                    return record
                refused = True
                left = deadline - clock.elapsed()
                if left <= 0:
                    break
                await clock.sleep(min(_POLL, left))
        if refused:
            raise in_use(identity)
        error = JournalError("the journal's database did not answer in time")
        error.timed_out = True
        raise error

    def release(self, identity: Identity) -> None:
        """Let go of a key: it is free as soon as the database knows."""
        given_back = None if self._closed else self._loops.get().release(identity)
        if given_back is None:
            self._drop(identity)
        else:
            given_back.add_done_callback(lambda _: self._drop(identity))

    def _drop(self, identity: Identity) -> None:
        """Hand a key to the next in this process, once."""
        if identity in self._held:
            self._held.discard(identity)
            self._lines.release(identity)

    async def put(self, record: Record) -> None:
        """Keep a record; it is committed when this returns.

        Raises:
            JournalError: It could not be written, or is an intent for a key whose lease is lost.
        """
        if record.state is EntryState.DONE and not record.given and record.answer is not None:
            # Nobody can know a fresh key before, so nobody asks for its answer again.
            record = attrs.evolve(record, answer=attrs.evolve(record.answer, body=None))
        one = self._one()
        await one.put(record)
        self.highest = max(self.highest, *(m.wall for m in (record.first_sent, record.last_sent) if m is not None), 0.0)
        due = self._pruned_at is None or self.highest - self._pruned_at > _PRUNE_EVERY
        if due and one.prune(self.highest, self._keep_bodies, self._keep_entries):
            self._pruned_at = self.highest

    async def remove(self, identity: Identity) -> None:
        """Forget a record that never reached the server."""
        await self._one().remove(identity)

    async def overtaken(self, record: Record) -> bool:
        """Tell whether a POST to the same row and path was sent later than the record's, under another key."""
        return await self._one().reads.overtaken(record)

    async def unfinished(self, base_url: str, account: str) -> list[Record]:
        """Return the records that were sent and have no outcome, oldest first, without those under work."""
        reads = self._one().reads
        records = await reads.unfinished(base_url, account)
        self.forgotten = max(self.forgotten, await reads.forgotten())
        return [record for record in records if not self._lines.held(record.identity)]

    async def since(self, record: Record) -> list[Record]:
        """Return the other records of the same row that were sent at most ten minutes before a record's or later."""
        reads = self._one().reads
        earliest = record.first_sent.wall - RIVAL_SECONDS if record.first_sent is not None else 0.0
        found = await reads.since(record, earliest)
        # Afterwards, so that what is pruned meanwhile counts as forgotten.
        self.forgotten = max(self.forgotten, await reads.forgotten())
        return found

    async def listed(self, *, unfinished: bool = False) -> list[Record]:
        """Return the records of all servers and accounts, oldest first; ``unfinished`` leaves out what has an outcome.

        Raises:
            JournalError: The database cannot be read.
        """
        return await self._one().reads.listed(unfinished=unfinished)

    async def erase(self, client_id: str) -> int:
        """Remove the bodies of finished entries that name a client, and return how many there were.

        Key, fingerprint and outcome stay. Entries in doubt keep theirs, which are needed to settle them. The server's
        own log and backups keep what they have.

        Raises:
            JournalError: The database cannot be written.
        """
        return await self._one().reads.erase(client_id)

    async def prune(self, now: float) -> int:
        """Remove what is kept long enough, by a wall time in seconds; return how many entries were forgotten.

        Raises:
            JournalError: The database cannot be written.
        """
        return await self._one().reads.prune(now, self._keep_bodies, self._keep_entries)

    async def aclose(self) -> None:
        """Give back every key, in all loops that run, and close the connections; later calls are refused."""
        self._closed = True
        _ALL.discard(self)
        for loop, one in self._loops.items():
            if loop.is_running():
                self._loops.discard(loop)
                with anyio.move_on_after(_CLOSE_WITHIN):
                    await run_in(loop, one.aclose)

    def _one(self) -> OneLoop:
        if self._closed:
            raise JournalError("the journal is closed; make a new one")
        return self._loops.get()


def _maker(
    dsn: Secret, schema: str, *, lease: float, patience: float, clock: Clock, dropped: Callable[[Identity], None]
) -> Callable[[], OneLoop]:
    try:
        from bardge_async._journal import postgres_session as parts  # noqa: PLC0415 - psycopg is an extra
        from bardge_async._postgres.connection import checked  # noqa: PLC0415 - the same
    except ImportError as error:
        raise ConfigurationError(
            f"PostgresJournal needs an extra: pip install 'bardge-async[postgres]' ({error})"
        ) from None
    settings = parts.Settings(checked(dsn), schema, lease, patience, clock)
    return lambda: parts.OneLoop(settings, dropped)


def _check_seconds(name: str, value: object, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise ConfigurationError(f"{name}: expected a number of seconds from {least:g}, got {value!r:.40}")


def _after_fork() -> None:
    for journal in list(_ALL):
        journal._lines.begin_anew()  # noqa: SLF001 - of this module
        journal._held.clear()  # noqa: SLF001


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork)
