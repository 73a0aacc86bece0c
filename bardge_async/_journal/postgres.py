"""The journal in PostgreSQL, which survives the machine and is shared by any number of machines."""

from __future__ import annotations

import math
import weakref
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final, Self

from bardge_async._core.arguments import check_bool, check_number, check_schema, check_seconds, check_text
from bardge_async._core.entry import COMPETING_SECONDS, JournalEntry, KeyIdentity
from bardge_async._core.forks import register_lock_owner
from bardge_async._core.secret import Secret
from bardge_async._core.settings import DAY
from bardge_async._core.window import ClockReading
from bardge_async._journal.key_holders import KeyHolders, key_in_use_error
from bardge_async._journal.pruning import PruneTime, is_due
from bardge_async._runtime.clock import Clock, TimeLimit, choose_clock
from bardge_async._runtime.loops import PerLoop
from bardge_async.errors import ConfigurationError, JournalError

if TYPE_CHECKING:
    from bardge_async._journal.postgres_session import PostgresSession

_POLL_SECONDS: Final = 0.25
_MIN_TIMEOUT: Final = 10.0
_CLOSE_TIMEOUT: Final = 15.0

# All journals of this process over the same tables share their key holders: a key passes from task to task FIFO.
_HOLDERS: Final[weakref.WeakValueDictionary[tuple[str, str], KeyHolders]] = weakref.WeakValueDictionary()


class PostgresJournal:
    """Keep entries durably in PostgreSQL, for any number of processes and machines (extra ``postgres``).

    A key is held by a lease in the database, renewed while its holder lives. A holder whose lease expired (stalled, cut
    off) cannot record an intent, so it sends nothing; a response it still receives is recorded. Intents and outcomes
    are on disk before the call proceeds, whatever ``synchronous_commit`` is; many calls share a commit. No session state
    outlives a statement, so PgBouncer in transaction mode works. The tables hold personal data, passcodes and access
    codes; the API key and lookup tokens are never stored.

    The tables are created in ``schema`` on first use. Close the journal with ``async with`` or ``aclose()``.

    Args:
        dsn: A libpq connection URL or string; in a URL's password, everything but letters and digits is encoded.
        schema: The schema of the tables: lower-case letters, digits, underscores.
        lease: Seconds after which the key of a holder that died is free; renewed three times in that time.
        patience: Seconds to keep retrying while the database is unreachable; an intent waits no longer than its call.
        keep_bodies: Seconds after which the bodies of finished entries are removed; 30 days by default.
        keep_entries: Seconds after which finished entries are removed; 400 days by default, 0 keeps them forever.
        clock: Clock for the journal's own waits; leases are measured by the server's clock.

    Raises:
        ConfigurationError: The extra is missing, or an argument is out of range.
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
        secret_dsn = Secret(dsn)
        del dsn
        for name, value, minimum in (
            ("lease", lease, 0.1),
            ("patience", patience, 0),
            ("keep_bodies", keep_bodies, 0),
            ("keep_entries", keep_entries, 0),
        ):
            check_seconds(name, value, minimum)
        check_schema(schema)
        #: The highest wall time that this process has stored, in seconds. Across machines the server's clock decides.
        self.highest = 0.0
        self.forgotten = 0.0
        self._keep_bodies = keep_bodies
        self._keep_entries = keep_entries
        self._pruned_at: ClockReading | None = None
        self._closed = False
        self._held_keys: set[KeyIdentity] = set()
        self._holders = _HOLDERS.setdefault((secret_dsn, schema), KeyHolders())
        clock = choose_clock(clock)
        make_session = _make_session_factory(
            secret_dsn,
            schema,
            lease=float(lease),
            timeout=float(patience),
            clock=clock,
            on_key_dropped=self._hand_on_key,
        )
        self._sessions: PerLoop[PostgresSession] = PerLoop(make_session, lambda session: session.aclose())
        register_lock_owner(self)

    def reset_after_fork(self) -> None:
        """Hold no key in a forked child: the leases are the parent's."""
        self._held_keys.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def claim(self, identity: KeyIdentity, timeout: float, clock: Clock) -> JournalEntry | None:
        """Claim a key, waiting at most ``timeout`` seconds; return its entry, if any.

        The first send of another machine is converted to this machine's clocks, by its age on the server's clock.

        Raises:
            KeyInUseError: Another task, process or machine did not release the key in time.
            JournalError: The database could not be reached in time, or reported an error.
        """
        session, deadline = self._get_session(), clock.elapsed() + timeout
        await self._holders.acquire(identity, timeout, clock)
        try:
            entry = await self._wait_for_lease(session, identity, deadline, clock)
        except BaseException:
            self._holders.release(identity)
            raise
        self._held_keys.add(identity)
        return entry

    async def _wait_for_lease(
        self, session: PostgresSession, identity: KeyIdentity, deadline: float, clock: Clock
    ) -> JournalEntry | None:
        """Poll for a key's lease until it is granted or the deadline passes."""
        refused = False
        remaining = deadline - clock.elapsed()
        with TimeLimit(clock, remaining if remaining > 0 else _MIN_TIMEOUT):
            while True:
                granted, entry = await session.try_claim(identity, clock)
                if granted:
                    return entry
                refused = True
                remaining = deadline - clock.elapsed()
                if remaining <= 0:
                    break
                await clock.sleep(min(_POLL_SECONDS, remaining))
        if refused:
            raise key_in_use_error(identity)
        cause = session.outage or "no answer"
        error = JournalError(
            f"timed out waiting for the journal's database; check that it is running, and dsn=: {cause}"
        )
        error.timed_out = True
        raise error

    def release(self, identity: KeyIdentity) -> None:
        """Release a key; it is free once the database has committed that."""
        released = None if self._closed else self._sessions.get().release(identity)
        if released is None:
            self._hand_on_key(identity)
        else:
            released.add_done_callback(lambda _: self._hand_on_key(identity))

    def _hand_on_key(self, identity: KeyIdentity) -> None:
        """Pass a key to the next task in this process, once."""
        if identity in self._held_keys:
            self._held_keys.discard(identity)
            self._holders.release(identity)

    async def put(self, entry: JournalEntry) -> None:
        """Store an entry; it is committed once this returns.

        Raises:
            JournalError: The entry could not be written, or is an intent for a key whose lease is lost.
        """
        session = self._get_session()
        await session.put(entry.for_storage())
        self._note_send(session, entry)

    async def put_later(self, entry: JournalEntry) -> None:
        """Store an entry, in spite of a cancellation: the journal goes on writing it, and ``aclose()`` waits for that.

        The key stays held until it is written, or has failed: that is logged.

        Raises:
            JournalError: The entry could not be written.
        """
        session = self._get_session()
        await session.put_later(entry.for_storage())
        self._note_send(session, entry)

    @property
    def outage(self) -> str | None:
        """The cause for which this loop's writes are being retried, None if they are not."""
        return None if self._closed else self._sessions.get().outage

    def _note_send(self, session: PostgresSession, entry: JournalEntry) -> None:
        """Note an entry's last send as the time that it is, and prune if that is due."""
        now = entry.last_sent
        if now is None:
            return
        self.highest = max(self.highest, now.wall)
        # The database's clock is the second witness: the earlier of the two decides.
        time = PruneTime(now.wall, now.elapsed, now.boot)
        if is_due(self._pruned_at, now) and session.start_pruning(time, self._keep_bodies, self._keep_entries):
            self._pruned_at = now

    async def remove(self, identity: KeyIdentity) -> None:
        """Remove an entry whose request never reached the server."""
        await self._get_session().remove(identity)

    async def overtaken(self, entry: JournalEntry) -> bool:
        """Return whether a POST to the same endpoint and path was sent after this entry's, under another key."""
        return await self._get_session().queries.has_later_request(entry)

    async def unfinished(self, base_url: str, account: str) -> list[JournalEntry]:
        """Return the entries that were sent and have no outcome, oldest first, except those whose key is held."""
        queries = self._get_session().queries
        entries = await queries.list_unfinished(base_url, account)
        self.forgotten = max(self.forgotten, await queries.read_forgotten_until())
        return [entry for entry in entries if not self._holders.is_held(entry.identity)]

    async def since(self, entry: JournalEntry) -> list[JournalEntry]:
        """Return the endpoint's other entries last sent at most ten minutes before this one was first sent, or later."""
        queries = self._get_session().queries
        earliest = entry.first_sent.wall - COMPETING_SECONDS if entry.first_sent is not None else 0.0
        found = await queries.list_sent_since(entry, earliest)
        # Read afterwards, so that entries pruned in the meantime count as forgotten.
        self.forgotten = max(self.forgotten, await queries.read_forgotten_until())
        return found

    def entries(self, *, unfinished: bool = False) -> AsyncIterator[JournalEntry]:
        """Iterate over the entries of all servers and accounts, oldest first; with ``unfinished``, over those in doubt.

        A page is read at a time, in a transaction of its own, so memory stays flat and no other call waits. An entry
        that is there all the time comes exactly once, as it was when its page was read; one that is added or removed
        meanwhile may come or not. Entries of a version without this method come first, in the order of their keys.

        Raises:
            JournalError: The database cannot be read.
        """
        check_bool("unfinished", unfinished)
        return self._get_session().queries.stream_entries(unfinished=unfinished)

    async def listed(self, *, unfinished: bool = False) -> list[JournalEntry]:
        """Return what ``entries`` yields, in a list.

        Raises:
            JournalError: The database cannot be read.
        """
        return [entry async for entry in self.entries(unfinished=unfinished)]

    async def erase(self, client_id: str) -> int:
        """Remove the bodies of finished entries that name a client; return the number of entries changed.

        A body names a client by its id as a segment of the URL's path or as a string in its JSON. Key, fingerprint and
        outcome are kept. Entries in doubt keep their bodies, which resolving them needs, and one that is answered
        meanwhile may keep them. The server's own log and backups are not changed.

        Raises:
            InvalidArgumentError: The id is empty.
            JournalError: The database cannot be written.
        """
        check_text("client_id", client_id)
        return await self._get_session().queries.chores.erase_client(client_id)

    async def prune(self, now: float) -> int:
        """Remove what is past its retention at the wall time ``now``, in seconds; return the number of entries removed.

        The time is taken as given: pass one that is certainly right. Without this call the journal prunes by itself, by
        the earlier of its own and the database's clock.

        Raises:
            JournalError: The database cannot be written.
        """
        check_number("now", now, -math.inf)
        chores = self._get_session().queries.chores
        return await chores.prune(PruneTime(now), self._keep_bodies, self._keep_entries)

    async def aclose(self) -> None:
        """Release every key and close the connections, in all running loops; later calls raise JournalError."""
        self._closed = True
        await self._sessions.aclose(_CLOSE_TIMEOUT)

    def _get_session(self) -> PostgresSession:
        if self._closed:
            raise JournalError("the journal is closed; create a new one")
        return self._sessions.get()


def _make_session_factory(
    dsn: Secret,
    schema: str,
    *,
    lease: float,
    timeout: float,
    clock: Clock,
    on_key_dropped: Callable[[KeyIdentity], None],
) -> Callable[[], PostgresSession]:
    try:
        from bardge_async._journal import postgres_session as parts  # noqa: PLC0415 - psycopg is an extra
        from bardge_async._postgres.dsn import check_dsn  # noqa: PLC0415 - the same
    except ImportError as error:
        raise ConfigurationError(
            f"PostgresJournal needs an extra: pip install 'bardge-async[postgres]' ({error})"
        ) from None
    settings = parts.SessionSettings(check_dsn(dsn), schema, lease, timeout, clock)
    return lambda: parts.PostgresSession(settings, on_key_dropped)
