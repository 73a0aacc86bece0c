"""SQL statements of the journal in PostgreSQL, each for any number of keys, and conversion between entries and rows.

Every statement is a transaction of its own and leaves no session state, so any server connection can execute the next
one (PgBouncer's transaction mode). Nor does it depend on any: it states how it commits, and names the functions of
``pg_catalog``, so that no search path can replace the clock. Leases are measured by the server's clock. Keys are locked
in order, so that two processes do not deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs

from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity, RecordedResponse
from bardge_async._core.window import ClockReading
from bardge_async._journal.stored_values import check_stored_values
from bardge_async._runtime.clock import Clock

_COLUMN_TYPES: Final = (
    ("base_url", "text"),
    ("account", "text"),
    ("key", "text"),
    ("endpoint", "text"),
    ("url", "text"),
    ("fingerprint", "text"),
    ("body", "bytea"),
    ("given", "boolean"),
    ("state", "text"),
    ("first_wall", "float8"),
    ("first_elapsed", "float8"),
    ("first_highest", "float8"),
    ("first_boot", "text"),
    ("last_wall", "float8"),
    ("last_elapsed", "float8"),
    ("last_highest", "float8"),
    ("last_boot", "text"),
    ("status", "integer"),
    ("answer", "bytea"),
    ("request_id", "text"),
    ("first_server", "float8"),
    ("key_honoured", "boolean"),
)
# Of these, a search path could name another one; "boolean" and "integer" are syntax.
_PLAIN_TYPES: Final = {name: f"pg_catalog.{name}" for name in ("text", "bytea", "float8")}
_COLUMN_NAMES: Final = tuple(name for name, _ in _COLUMN_TYPES)
COLUMNS: Final = ", ".join(_COLUMN_NAMES)
_SAME_KEY: Final = "e.key = g.key AND e.base_url = g.base_url AND e.account = g.account"
IS_FREE: Final = "(e.owner IS NULL OR e.lease_until < pg_catalog.clock_timestamp())"
_LEASE_END: Final = "pg_catalog.clock_timestamp() + pg_catalog.make_interval(secs => %s)"
_SYNC_COMMIT: Final = "pg_catalog.set_config('synchronous_commit', 'on', true) AS durable"
"""Commit this transaction once it is on disk, whatever session, role, database or the pooler's last client have set."""
_ASYNC_COMMIT: Final = "pg_catalog.set_config('synchronous_commit', 'off', true) AS swift"
"""Commit this transaction without waiting for the disk: if a crash loses it, the next write notices."""


def _unnest_arrays(*extra: tuple[str, str], columns: Sequence[tuple[str, str]] = _COLUMN_TYPES) -> str:
    """Return the FROM item that turns a statement's array parameters into rows.

    ``unnest`` of several arrays is syntax, and never another function than pg_catalog's.
    """
    selected = (*columns, *extra)
    arrays = ", ".join(f"%b::{_PLAIN_TYPES.get(kind, kind)}[]" for _, kind in selected)
    return f"unnest({arrays}) WITH ORDINALITY AS g({', '.join(name for name, _ in selected)}, n)"


_KEY_ARRAYS: Final = _unnest_arrays(("token", "text"), columns=_COLUMN_TYPES[:3])

# Claims of leased keys only read: a row whose lease is valid is not even locked.
CLAIM: Final = f"""
INSERT INTO {{schema}}.entries AS e (base_url, account, key, state, owner, lease_until)
SELECT g.base_url, g.account, g.key, 'held', g.token, {_LEASE_END} FROM {_KEY_ARRAYS}, {_ASYNC_COMMIT}
WHERE NOT EXISTS (
    SELECT FROM {{schema}}.entries AS e
    WHERE {_SAME_KEY} AND e.owner <> g.token AND e.lease_until >= pg_catalog.clock_timestamp())
ORDER BY g.key, g.base_url, g.account
ON CONFLICT (key, base_url, account) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until
WHERE {IS_FREE} OR e.owner = excluded.owner
RETURNING owner, {COLUMNS}, extract(epoch FROM pg_catalog.clock_timestamp() - first_at)::float8
"""

_FIRST_AT: Final = "pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => coalesce({0}.first_ago, 0))"
_LAST_AT: Final = "pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => coalesce({0}.last_ago, 0))"
_AGE_COLUMNS: Final = (("token", "text"), ("first_ago", "float8"), ("last_ago", "float8"))

# Records or withdraws an intent: only for the current holder of the key, whose lease is thereby renewed.
# An entry that is done never changes.
RECORD_INTENT: Final = f"""
UPDATE {{schema}}.entries AS e
SET {", ".join(f"{name} = g.{name}" for name in _COLUMN_NAMES[3:])}, writer = g.token, lease_until = {_LEASE_END},
    first_at = CASE WHEN g.first_wall IS NULL THEN NULL
        WHEN e.first_wall = g.first_wall THEN least(e.first_at, {_FIRST_AT.format("g")}) ELSE {_FIRST_AT.format("g")} END,
    last_at = CASE WHEN g.last_wall IS NULL THEN NULL
        WHEN e.last_wall = g.last_wall AND e.last_at IS NOT NULL THEN e.last_at ELSE {_LAST_AT.format("g")} END
FROM {_unnest_arrays(*_AGE_COLUMNS)}, {_SYNC_COMMIT}
WHERE {_SAME_KEY} AND e.owner = g.token AND e.state <> 'done'
RETURNING g.n
"""

# Records an outcome: "done" regardless of who holds the key now, and frees the writer's own claim; "refused" unless
# another holder has written since. Without a claim (owner NULL), only if no one holds the key.
RECORD_OUTCOME: Final = f"""
INSERT INTO {{schema}}.entries AS e ({COLUMNS}, first_at, last_at, owner, lease_until, writer)
SELECT {", ".join(f"g.{name}" for name in _COLUMN_NAMES)},
    CASE WHEN g.first_wall IS NOT NULL THEN {_FIRST_AT.format("g")} END,
    CASE WHEN g.last_wall IS NOT NULL THEN {_LAST_AT.format("g")} END,
    CASE WHEN g.state <> 'done' THEN g.token END,
    CASE WHEN g.state <> 'done' AND g.token IS NOT NULL THEN {_LEASE_END} END, g.token
FROM {_unnest_arrays(*_AGE_COLUMNS)}, {_SYNC_COMMIT} ORDER BY g.key, g.base_url, g.account
ON CONFLICT (key, base_url, account) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in _COLUMN_NAMES[3:])}, writer = excluded.writer,
    first_at = CASE WHEN e.first_wall = excluded.first_wall THEN least(e.first_at, excluded.first_at)
        ELSE excluded.first_at END,
    last_at = CASE WHEN e.last_wall = excluded.last_wall AND e.last_at IS NOT NULL THEN e.last_at
        ELSE excluded.last_at END,
    owner = CASE WHEN excluded.state <> 'done' OR e.owner IS DISTINCT FROM excluded.writer THEN e.owner END
WHERE e.state <> 'done' AND CASE
    WHEN excluded.state = 'done' THEN true
    WHEN excluded.owner IS NULL THEN {IS_FREE}
    ELSE e.owner = excluded.owner OR e.writer = excluded.owner END
RETURNING key, base_url, account
"""

FORGET: Final = f"""
DELETE FROM {{schema}}.entries AS e USING {_KEY_ARRAYS}, {_SYNC_COMMIT}
WHERE {_SAME_KEY} AND {IS_FREE} AND g.token IS NULL RETURNING g.n
"""

# Distinguished by endpoint, not by state: for the state the planner would use the index of held keys, full of dead rows.
RELEASE: Final = f"""
WITH given AS MATERIALIZED (SELECT g.* FROM {_KEY_ARRAYS}, {_ASYNC_COMMIT}),
gone AS (DELETE FROM {{schema}}.entries AS e USING given AS g WHERE {_SAME_KEY} AND e.owner = g.token AND e.endpoint IS NULL)
UPDATE {{schema}}.entries AS e SET owner = NULL, lease_until = NULL FROM given AS g
WHERE {_SAME_KEY} AND e.owner = g.token AND e.endpoint IS NOT NULL
"""

RENEW: Final = f"""
UPDATE {{schema}}.entries AS e SET lease_until = {_LEASE_END} FROM {_KEY_ARRAYS}, {_ASYNC_COMMIT}
WHERE {_SAME_KEY} AND e.owner = g.token RETURNING g.n
"""

# ORDER BY ... LIMIT 1 rather than EXISTS: for EXISTS the planner expects an early match and scans the table.
LATER_REQUEST: Final = """
SELECT key FROM {schema}.entries
WHERE base_url = %(base_url)s AND account = %(account)s AND url = %(url)s AND key <> %(key)s AND last_at >= (
    SELECT last_at FROM {schema}.entries
    WHERE base_url = %(base_url)s AND account = %(account)s AND key = %(key)s)
ORDER BY last_at DESC LIMIT 1
"""

UNFINISHED: Final = f"""
SELECT {COLUMNS} FROM {{schema}}.entries AS e
WHERE base_url = %s AND account = %s AND state = 'sent' AND {IS_FREE} ORDER BY first_at
"""

SENT_SINCE: Final = f"""
SELECT {COLUMNS} FROM {{schema}}.entries
WHERE base_url = %s AND account = %s AND endpoint = %s AND key <> %s AND state <> 'refused' AND last_wall >= %s
"""

FORGOTTEN_UNTIL: Final = "SELECT value FROM {schema}.facts WHERE name = 'forgotten'"

# At most one process per hour wins the right to prune.
ELECT_PRUNER: Final = """
INSERT INTO {schema}.facts AS f VALUES ('pruned', least(%s, extract(epoch FROM pg_catalog.clock_timestamp())))
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE f.value < excluded.value - 3600 RETURNING value
"""


@attrs.frozen
class RowValues:
    """The values of one key's row to be written; ``entry`` is None for a request that was never sent."""

    identity: KeyIdentity
    token: str | None
    entry: JournalEntry | None = None
    first_ago: float | None = None
    last_ago: float | None = None

    def key_columns(self) -> tuple[Any, ...]:
        """Return the values for a statement that takes keys."""
        return (*self.identity, self.token)

    def all_columns(self) -> tuple[Any, ...]:
        """Return the values for a statement that takes entries."""
        entry = self.entry
        if entry is None:
            return (*self.identity, *(None,) * 5, "held", *(None,) * 13, self.token, None, None)
        response = (None, None, None) if entry.answer is None else _response_columns(entry.answer)
        return (
            *self.identity,
            entry.endpoint,
            entry.url,
            entry.fingerprint,
            entry.body,
            entry.given,
            entry.state.value,
            *_reading_columns(entry.first_sent),
            *_reading_columns(entry.last_sent),
            *response,
            None if entry.first_sent is None else entry.first_sent.server,
            entry.key_honoured,
            self.token,
            self.first_ago,
            self.last_ago,
        )


def _response_columns(response: RecordedResponse) -> tuple[Any, ...]:
    return response.status, response.body, response.request_id


def transpose_rows(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Transpose rows into one array per column."""
    return [list(column) for column in zip(*rows, strict=True)]


def _reading_columns(reading: ClockReading | None) -> tuple[Any, ...]:
    if reading is None:
        return (None,) * 4
    return float(reading.wall), float(reading.elapsed), float(reading.highest), reading.boot


def parse_entry(row: Sequence[Any]) -> JournalEntry | None:
    """Parse a row into an entry; None for a key that is only held."""
    if row[8] == "held":
        return None
    check_stored_values(row, *row[20:22])
    return JournalEntry(
        identity=KeyIdentity(*row[:3]),
        endpoint=row[3],
        url=row[4],
        fingerprint=row[5],
        body=row[6],
        given=row[7],
        state=EntryState(row[8]),
        first_sent=_parse_reading(row[9:13], row[20]),
        last_sent=_parse_reading(row[13:17]),
        answer=None if row[17] is None else RecordedResponse(row[17], row[18], row[19]),
        key_honoured=row[21],
    )


def _parse_reading(row: Sequence[Any], server: float | None = None) -> ClockReading | None:
    wall, elapsed, highest, boot = row
    return None if wall is None else ClockReading(wall, elapsed, highest, boot, server)


def boot_of(clock: Clock) -> str:
    """Return the id of the boot that a clock's elapsed time counts from."""
    return getattr(clock, "boot", "")


def seconds_since(reading: ClockReading | None, clock: Clock) -> float | None:
    """Return the seconds since a reading taken in this boot; None for any other."""
    return clock.elapsed() - reading.elapsed if reading is not None and reading.boot == boot_of(clock) else None


def rebase_first_sent(entry: JournalEntry | None, age: float | None, clock: Clock) -> JournalEntry | None:
    """Convert another machine's first send to this machine's boot-time clock, by its age on the server's clock.

    The wall clocks of two machines may differ by more than the window's margin, so the age must not depend on them.
    """
    if entry is None or entry.first_sent is None or age is None or entry.first_sent.boot == boot_of(clock):
        return entry
    first = attrs.evolve(entry.first_sent, elapsed=clock.elapsed() - age, boot=boot_of(clock))
    return attrs.evolve(entry, first_sent=first)
