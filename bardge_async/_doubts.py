"""Doubts: what was sent and has no outcome, and how it is settled."""

from __future__ import annotations

import datetime as dt
import enum
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import attrs

from bardge_async._http import Response
from bardge_async._record import Answer, EntryState, Identity, Record
from bardge_async._window import LEAST_LEFT, History, left
from bardge_async.endpoints import Again, KeySupport
from bardge_async.errors import BardgeError, InvalidArgumentError, KeyInUseError

if TYPE_CHECKING:
    from bardge_async._calls import Calls

__all__ = ["Doubt", "DoubtVerdict", "Finding", "Recovered"]

_AT_ONCE: Final = 16


@attrs.frozen
class Doubt:
    """A POST that was sent and has no outcome on record.

    Attributes:
        idempotency_key: Its key.
        endpoint: The row's name.
        url: Where it was sent.
        request: Its JSON body, or None for a POST without one.
        first_sent_at: When the key was first sent, aware UTC.
        window_closes_at: When the server forgets the key, aware UTC; None where no key protects the row.
        recoverable: Whether ``bardge.recover()`` may still send it again.
    """

    idempotency_key: str
    endpoint: str
    url: str
    request: Mapping[str, Any] | None = attrs.field(hash=False)
    first_sent_at: dt.datetime
    window_closes_at: dt.datetime | None
    recoverable: bool


@attrs.frozen
class Recovered:
    """What became of an entry in doubt that was sent again.

    Attributes:
        idempotency_key: Its key.
        endpoint: The row's name.
        response: The answer, or None.
        error: What it ended with instead, or None.
    """

    idempotency_key: str
    endpoint: str
    response: Response[Any] | None
    error: BardgeError | None


class Finding(enum.StrEnum):
    """Tell what the evidence says of a doubt."""

    HAPPENED = "happened"
    DID_NOT = "did not"
    CANNOT_TELL = "cannot tell"


@attrs.frozen
class DoubtVerdict:
    """What was found out about a doubt: evidence, not an act; act with ``bardge.resolve(key, by=verdict)``.

    Attributes:
        idempotency_key: The doubt's key.
        finding: Happened, did not, or cannot tell.
        evidence: What it rests on, in words.
        inferred: Whether it rests on fields that no page of the vendor shows.
    """

    idempotency_key: str
    finding: Finding
    evidence: tuple[str, ...]
    inferred: bool


class Doubts:
    """Find and settle the doubts of one client's account."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._settings = calls.engine.settings
        self._journal = calls.engine.settings.journal
        self._watch = calls.engine.watch

    async def unfinished(self) -> list[Record]:
        """Return the records in doubt, oldest first."""
        return await self._journal.unfinished(self._settings.base_url, self._settings.account)

    async def listed(self) -> list[Doubt]:
        """Return the doubts, oldest first."""
        return [self._doubt(record) for record in await self.unfinished() if record.first_sent is not None]

    async def recover(self) -> list[Recovered]:
        """Send again, with key and bytes, whatever may still be."""
        found: list[Recovered] = []
        room = anyio.CapacityLimiter(_AT_ONCE)
        async with anyio.create_task_group() as group:
            for record in await self.unfinished():
                if self._recoverable(record):
                    group.start_soon(self._again, record, room, found)
        return found

    async def _again(self, record: Record, room: anyio.CapacityLimiter, found: list[Recovered]) -> None:
        call = self._calls.composer.again(record)
        key = record.identity.key
        async with room:
            try:
                response = await self._calls.engine.run(call, patience=0.0)
                found.append(Recovered(key, record.endpoint, response, None))
            except KeyInUseError:
                # Somebody else works on it: then it is no longer ours to recover.
                return
            except BardgeError as error:
                found.append(Recovered(key, record.endpoint, None, error))

    def _recoverable(self, record: Record) -> bool:
        row = self._calls.composer.row_of(record)
        if row.key is not KeySupport.YES or row.again is None:
            return False
        history = History(first_sent=record.first_sent, in_doubt=True)
        remaining = left(self._settings.window, history, self._watch.now())
        return remaining is not None and remaining >= LEAST_LEFT

    def _doubt(self, record: Record) -> Doubt:
        assert record.first_sent is not None  # noqa: S101 - the caller looked
        first = record.first_sent.at()
        row = self._calls.composer.row_of(record)
        length = dt.timedelta(seconds=self._settings.window.length)
        return Doubt(
            idempotency_key=record.identity.key,
            endpoint=record.endpoint,
            url=record.url,
            request=body_of(record),
            first_sent_at=first,
            window_closes_at=first + length if row.key is KeySupport.YES else None,
            recoverable=self._recoverable(record) or row.again is Again.SAME,
        )

    async def resolve(
        self, key: str, *, done: bool | Mapping[str, Any] | None, never_happened: bool, by: DoubtVerdict | None
    ) -> None:
        """Settle a doubt by hand.

        Raises:
            InvalidArgumentError: The key is not in doubt, or not exactly one way to settle it was given.
            KeyInUseError: A task or process works on the key.
        """
        answer = _settlement(key, done=done, never_happened=never_happened, by=by)
        identity = Identity(self._settings.base_url, self._settings.account, key)
        record = await self._journal.claim(identity, 0.0, self._watch.clock)
        try:
            if record is None or record.state is not EntryState.SENT:
                state = "is not on record" if record is None else f"is {record.state.value}"
                raise InvalidArgumentError(f"key: {key!r:.80} {state}, not in doubt")
            if answer is None:
                await self._journal.remove(identity)
            else:
                await self._journal.put(attrs.evolve(record, state=EntryState.DONE, answer=answer))
        finally:
            self._journal.release(identity)

    async def record(self, key: str) -> Record:
        """Return the record of a doubt.

        Raises:
            InvalidArgumentError: The key is not in doubt.
        """
        for record in await self.unfinished():
            if record.identity.key == key:
                return record
        raise InvalidArgumentError(f"key: {key!r:.80} is not in doubt")

    async def rivals(self, record: Record) -> list[Record]:
        """Return the other records of the same row, which may claim the same evidence."""
        found = await self._journal.since(record)
        return [other for other in found if other.identity != record.identity]


def body_of(record: Record) -> Mapping[str, Any] | None:
    """Return a record's JSON body."""
    return None if record.body is None else cast("dict[str, Any]", json.loads(record.body))


def _settlement(
    key: str, *, done: bool | Mapping[str, Any] | None, never_happened: bool, by: DoubtVerdict | None
) -> Answer | None:
    """Return the answer to record, or None for what never happened."""
    ways = [done is not None and done is not False, never_happened, by is not None]
    if sum(ways) != 1:
        raise InvalidArgumentError("resolve: give exactly one of done=, never_happened=True and by=")
    if by is not None:
        if by.idempotency_key != key:
            raise InvalidArgumentError(f"by: the verdict is about the key {by.idempotency_key!r:.80}")
        if by.finding is Finding.CANNOT_TELL:
            raise InvalidArgumentError("by: the verdict cannot tell; settle it with done= or never_happened=True")
        never_happened = by.finding is Finding.DID_NOT
    if never_happened:
        return None
    body = json.dumps(dict(done)).encode() if isinstance(done, Mapping) else None
    return Answer(200, body, None)
