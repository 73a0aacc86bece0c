"""Statements of the journal in PostgreSQL, each over any number of keys, and records as their rows.

Every statement is a transaction of its own and leaves nothing in the session, so that any server connection will do for
the next one (PgBouncer's transaction mode). Leases are measured by the server's clock. Keys are locked in their order, so
that two processes do not wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs

from bardge_async._core.entry import Answer, EntryState, Identity, Record
from bardge_async._core.window import Moment
from bardge_async._runtime.clock import Clock

_FIELDS: Final = (
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
)
_NAMES: Final = tuple(name for name, _ in _FIELDS)
COLUMNS: Final = ", ".join(_NAMES)
_SAME: Final = "e.key = g.key AND e.base_url = g.base_url AND e.account = g.account"
_FREE: Final = "(e.owner IS NULL OR e.lease_until < clock_timestamp())"
_LEASE: Final = "clock_timestamp() + make_interval(secs => %s)"
_SWIFT: Final = "set_config('synchronous_commit', 'off', true) AS swift"
"""Not to wait for the disk, in this transaction only: what a crash may take back here, the next put notices."""


def _given(*more: tuple[str, str], fields: Sequence[tuple[str, str]] = _FIELDS) -> str:
    """Name the table that a statement's arrays stand for."""
    wanted = (*fields, *more)
    arrays = ", ".join(f"%b::{kind}[]" for _, kind in wanted)
    return f"unnest({arrays}) WITH ORDINALITY AS g({', '.join(name for name, _ in wanted)}, n)"


_KEYS: Final = _given(("token", "text"), fields=_FIELDS[:3])

# Whoever works on a key only reads for nothing: what holds a lease is not even locked.
CLAIM: Final = f"""
INSERT INTO {{schema}}.entries AS e (base_url, account, key, state, owner, lease_until)
SELECT g.base_url, g.account, g.key, 'held', g.token, {_LEASE} FROM {_KEYS}, {_SWIFT}
WHERE NOT EXISTS (
    SELECT FROM {{schema}}.entries AS e WHERE {_SAME} AND e.owner <> g.token AND e.lease_until >= clock_timestamp())
ORDER BY g.key, g.base_url, g.account
ON CONFLICT (key, base_url, account) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until
WHERE {_FREE} OR e.owner = excluded.owner
RETURNING owner, {COLUMNS}, extract(epoch FROM clock_timestamp() - first_at)::float8
"""

_FIRST_AT: Final = "clock_timestamp() - make_interval(secs => coalesce({0}.first_ago, 0))"
_LAST_AT: Final = "clock_timestamp() - make_interval(secs => coalesce({0}.last_ago, 0))"
_AGES: Final = (("token", "text"), ("first_ago", "float8"), ("last_ago", "float8"))

# An intent, or taking it back: only for whoever still holds the key, which stays so for a whole lease from now on.
# What is done stays done.
INTEND: Final = f"""
UPDATE {{schema}}.entries AS e
SET {", ".join(f"{name} = g.{name}" for name in _NAMES[3:])}, writer = g.token, lease_until = {_LEASE},
    first_at = CASE WHEN g.first_wall IS NULL THEN NULL
        WHEN e.first_wall = g.first_wall THEN least(e.first_at, {_FIRST_AT.format("g")}) ELSE {_FIRST_AT.format("g")} END,
    last_at = CASE WHEN g.last_wall IS NULL THEN NULL
        WHEN e.last_wall = g.last_wall AND e.last_at IS NOT NULL THEN e.last_at ELSE {_LAST_AT.format("g")} END
FROM {_given(*_AGES)}
WHERE {_SAME} AND e.owner = g.token AND e.state <> 'done'
RETURNING g.n
"""

# An outcome, after the answer: "done" whoever holds the key now, and the key is free with it; "refused" unless another
# holder has written since. Without a claim (owner NULL): where nobody else holds the key.
KEEP: Final = f"""
INSERT INTO {{schema}}.entries AS e ({COLUMNS}, first_at, last_at, owner, lease_until, writer)
SELECT {", ".join(f"g.{name}" for name in _NAMES)},
    CASE WHEN g.first_wall IS NOT NULL THEN {_FIRST_AT.format("g")} END,
    CASE WHEN g.last_wall IS NOT NULL THEN {_LAST_AT.format("g")} END,
    CASE WHEN g.state <> 'done' THEN g.token END,
    CASE WHEN g.state <> 'done' AND g.token IS NOT NULL THEN {_LEASE} END, g.token
FROM {_given(*_AGES)} ORDER BY g.key, g.base_url, g.account
ON CONFLICT (key, base_url, account) DO UPDATE
SET {", ".join(f"{name} = excluded.{name}" for name in _NAMES[3:])}, writer = excluded.writer,
    first_at = CASE WHEN e.first_wall = excluded.first_wall THEN least(e.first_at, excluded.first_at)
        ELSE excluded.first_at END,
    last_at = CASE WHEN e.last_wall = excluded.last_wall AND e.last_at IS NOT NULL THEN e.last_at
        ELSE excluded.last_at END,
    owner = CASE WHEN excluded.state <> 'done' OR e.owner IS DISTINCT FROM excluded.writer THEN e.owner END
WHERE e.state <> 'done' AND CASE
    WHEN excluded.state = 'done' THEN true
    WHEN excluded.owner IS NULL THEN {_FREE}
    ELSE e.owner = excluded.owner OR e.writer = excluded.owner END
RETURNING key, base_url, account
"""

FORGET: Final = f"""
DELETE FROM {{schema}}.entries AS e USING {_KEYS} WHERE {_SAME} AND {_FREE} AND g.token IS NULL RETURNING g.n
"""

# Told apart by the endpoint: asked for the state, the planner would take the index of held keys, which is full of dead ones.
RELEASE: Final = f"""
WITH given AS MATERIALIZED (SELECT g.* FROM {_KEYS}, {_SWIFT}),
gone AS (DELETE FROM {{schema}}.entries AS e USING given AS g WHERE {_SAME} AND e.owner = g.token AND e.endpoint IS NULL)
UPDATE {{schema}}.entries AS e SET owner = NULL, lease_until = NULL FROM given AS g
WHERE {_SAME} AND e.owner = g.token AND e.endpoint IS NOT NULL
"""

RENEW: Final = f"""
UPDATE {{schema}}.entries AS e SET lease_until = {_LEASE} FROM {_KEYS}, {_SWIFT}
WHERE {_SAME} AND e.owner = g.token RETURNING g.n
"""

# The latest one first: put as EXISTS, the planner hopes to find any early and reads the table.
OVERTAKEN: Final = """
SELECT key FROM {schema}.entries
WHERE base_url = %(base_url)s AND account = %(account)s AND url = %(url)s AND key <> %(key)s AND last_at >= (
    SELECT last_at FROM {schema}.entries
    WHERE base_url = %(base_url)s AND account = %(account)s AND key = %(key)s)
ORDER BY last_at DESC LIMIT 1
"""

UNFINISHED: Final = f"""
SELECT {COLUMNS} FROM {{schema}}.entries AS e
WHERE base_url = %s AND account = %s AND state = 'sent' AND {_FREE} ORDER BY first_at
"""

SINCE: Final = f"""
SELECT {COLUMNS} FROM {{schema}}.entries
WHERE base_url = %s AND account = %s AND endpoint = %s AND key <> %s AND state <> 'refused' AND last_wall >= %s
"""

LISTED: Final = f"SELECT {COLUMNS} FROM {{schema}}.entries WHERE state <> 'held' ORDER BY first_at, last_at, key"
DOUBTS: Final = f"SELECT {COLUMNS} FROM {{schema}}.entries WHERE state = 'sent' ORDER BY first_at, key"
FORGOTTEN: Final = "SELECT value FROM {schema}.facts WHERE name = 'forgotten'"

ERASE: Final = """
UPDATE {schema}.entries SET body = NULL, answer = NULL
WHERE state IN ('done', 'refused') AND (body IS NOT NULL OR answer IS NOT NULL)
    AND (position(%(text)s::bytea IN body) > 0 OR position(%(text)s::bytea IN answer) > 0 OR position(%(id)s IN url) > 0)
"""

# One process in an hour wins the right to prune.
ELECT: Final = """
INSERT INTO {schema}.facts AS f VALUES ('pruned', least(%s, extract(epoch FROM clock_timestamp())))
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE f.value < excluded.value - 3600 RETURNING value
"""

# Some thousands at a time, so that nobody waits for their locks.
STRIP: Final = """
UPDATE {schema}.entries SET body = NULL, answer = NULL WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {schema}.entries
    WHERE state IN ('done', 'refused') AND (body IS NOT NULL OR answer IS NOT NULL) AND last_wall < %s
    LIMIT 5000 FOR UPDATE SKIP LOCKED))
"""

DROP: Final = f"""
WITH gone AS (
    DELETE FROM {{schema}}.entries WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {{schema}}.entries AS e WHERE state <> 'sent' AND last_wall < %s AND {_FREE}
        LIMIT 5000 FOR UPDATE SKIP LOCKED))
    RETURNING last_wall),
noted AS (
    INSERT INTO {{schema}}.facts AS f SELECT 'forgotten', max(last_wall) FROM gone HAVING count(*) > 0
    ON CONFLICT (name) DO UPDATE SET value = greatest(f.value, excluded.value))
SELECT count(*) FROM gone
"""

ORPHANS: Final = """
DELETE FROM {schema}.entries WHERE state = 'held' AND lease_until < clock_timestamp() - interval '1 hour'
"""


@attrs.frozen
class Entry:
    """One key's row on its way to the database; ``record`` is None for what was never sent."""

    identity: Identity
    token: str | None
    record: Record | None = None
    first_ago: float | None = None
    last_ago: float | None = None

    def keys(self) -> tuple[Any, ...]:
        """Return what a statement about keys takes."""
        return (*self.identity, self.token)

    def row(self) -> tuple[Any, ...]:
        """Return what a statement about records takes."""
        record = self.record
        if record is None:
            return (*self.identity, *(None,) * 5, "held", *(None,) * 11, self.token, None, None)
        answer = (None, None, None) if record.answer is None else _answer(record.answer)
        return (
            *self.identity,
            record.endpoint,
            record.url,
            record.fingerprint,
            record.body,
            record.given,
            record.state.value,
            *_moment_row(record.first_sent),
            *_moment_row(record.last_sent),
            *answer,
            self.token,
            self.first_ago,
            self.last_ago,
        )


def _answer(answer: Answer) -> tuple[Any, ...]:
    return answer.status, answer.body, answer.request_id


def arrays(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Turn rows into one array for each column."""
    return [list(column) for column in zip(*rows, strict=True)]


def _moment_row(moment: Moment | None) -> tuple[Any, ...]:
    if moment is None:
        return (None,) * 4
    return float(moment.wall), float(moment.elapsed), float(moment.highest), moment.boot


def record_of(row: Sequence[Any]) -> Record | None:
    """Make a record of its row; None for a key that is only held."""
    if row[8] == "held":
        return None
    return Record(
        identity=Identity(*row[:3]),
        endpoint=row[3],
        url=row[4],
        fingerprint=row[5],
        body=row[6],
        given=row[7],
        state=EntryState(row[8]),
        first_sent=_moment(row[9:13]),
        last_sent=_moment(row[13:17]),
        answer=None if row[17] is None else Answer(row[17], row[18], row[19]),
    )


def _moment(row: Sequence[Any]) -> Moment | None:
    return None if row[0] is None else Moment(*row)


def boot_of(clock: Clock) -> str:
    """Name the boot that a clock's elapsed time counts from."""
    return getattr(clock, "boot", "")


def ago(moment: Moment | None, clock: Clock) -> float | None:
    """Seconds since a moment of this boot; None for any other."""
    return clock.elapsed() - moment.elapsed if moment is not None and moment.boot == boot_of(clock) else None


def here(record: Record | None, age: float | None, clock: Clock) -> Record | None:
    """Tell the first send of another machine by this one's boot-time clock, as the server's clock says how old it is.

    Wall clocks of two machines may differ by more than a window's margin; the age may not depend on them.
    """
    if record is None or record.first_sent is None or age is None or record.first_sent.boot == boot_of(clock):
        return record
    first = attrs.evolve(record.first_sent, elapsed=clock.elapsed() - age, boot=boot_of(clock))
    return attrs.evolve(record, first_sent=first)
