"""Doubts: what was sent and has no outcome, and how it is settled."""

from __future__ import annotations

import datetime as dt
import enum
import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import attrs

from bardge_async._core.entry import Answer, EntryState, Identity, Record
from bardge_async._core.http import Response, WireResponse
from bardge_async._journal import Journal
from bardge_async._runtime.clock import Clock
from bardge_async.endpoints import KeySupport
from bardge_async.errors import BardgeError, InvalidArgumentError, KeyInUseError

if TYPE_CHECKING:
    from bardge_async._calls.client_caller import Calls

__all__ = ["Doubt", "DoubtVerdict", "Finding", "Recovered"]

_AT_ONCE: Final = 16
_SAME_TRACES: Final = {
    "bookings.initiate_class": ("bookings.confirm_class",),
    "bookings.initiate_spa": ("bookings.confirm_spa",),
}
"""Other rows that leave what a row leaves."""


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
        first_sent_at: When the doubt that was examined began, aware UTC.
        finding: Happened, did not, or cannot tell.
        evidence: What it rests on, in words.
        inferred: Whether it rests on fields that no page of the vendor shows.
    """

    idempotency_key: str
    first_sent_at: dt.datetime
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
        """Tell whether the window is open and its rules let the record be sent; what is past it is not recovered."""
        from bardge_async._core import replay as entries  # noqa: PLC0415 - brings cattrs

        settings = self._settings
        trusting = settings.policy.repeat_server_errors
        try:
            # A row that is gone cannot be sent.
            call = self._calls.composer.again(record)
            entries.judge(record, call, self._watch.now(), settings.window, overtaken=True, trusting=trusting)
        except BardgeError:
            return False
        return True

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
            recoverable=self._recoverable(record),
        )

    async def resolve(
        self, key: str, *, done: bool | Mapping[str, Any] | None, never_happened: bool, by: DoubtVerdict | None
    ) -> None:
        """Settle a doubt by hand.

        Raises:
            InvalidArgumentError: The key is not in doubt, or not exactly one way to settle it was given.
            KeyInUseError: A task or process works on the key.
        """
        answer = settlement(key, done=done, never_happened=never_happened, by=by)
        identity = Identity(self._settings.base_url, self._settings.account, key)
        await settle(self._journal, self._watch.clock, identity, answer, check=self._checked(done), by=by)

    def _checked(self, done: object) -> Callable[[Record, Answer], None]:
        def check(record: Record, answer: Answer) -> None:
            """See that the row's result can be read from the answer, as it will be when the key is entered."""
            if isinstance(done, Mapping):
                from bardge_async._core import response as wire  # noqa: PLC0415 - brings cattrs

                response = WireResponse(answer.status, {}, answer.body or b"")
                error = wire.read(self._calls.composer.row_of(record), response, 0.0, self._settings.base_url).error
                if error is not None:
                    raise InvalidArgumentError(f"done: it is no answer of {record.endpoint}: {error}")

        return check

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
        """Return the other records that may claim the same evidence."""
        found: list[Record] = []
        for endpoint in (record.endpoint, *_SAME_TRACES.get(record.endpoint, ())):
            found += await self._journal.since(attrs.evolve(record, endpoint=endpoint))
        return found


def body_of(record: Record) -> Mapping[str, Any] | None:
    """Return a record's JSON body, fractions as Decimal."""
    return None if record.body is None else cast("dict[str, Any]", json.loads(record.body, parse_float=Decimal))


async def settle(
    journal: Journal,
    clock: Clock,
    identity: Identity,
    answer: Answer | None,
    *,
    check: Callable[[Record, Answer], None] | None = None,
    by: DoubtVerdict | None = None,
) -> None:
    """Record the answer of a doubt, or free its key where there is none.

    Raises:
        InvalidArgumentError: The key is not in doubt, or not any more in the one that was examined.
        KeyInUseError: A task or process works on the key.
        JournalError: The journal cannot be written.
    """
    key = identity.key
    record = await journal.claim(identity, 0.0, clock)
    try:
        if record is None or record.state is not EntryState.SENT or record.first_sent is None:
            state = "is not on record" if record is None else f"is {record.state.value}"
            raise InvalidArgumentError(f"key: {key!r:.80} {state}, not in doubt")
        if by is not None and by.first_sent_at != record.first_sent.at():
            raise InvalidArgumentError(f"by: the key {key!r:.80} was settled and sent anew since the verdict")
        if answer is None:
            await journal.remove(identity)
        else:
            if check is not None:
                check(record, answer)
            await journal.put(attrs.evolve(record, state=EntryState.DONE, answer=answer))
    finally:
        journal.release(identity)


def settlement(
    key: str, *, done: bool | Mapping[str, Any] | None, never_happened: bool, by: DoubtVerdict | None
) -> Answer | None:
    """Return the answer to record, or None for what never happened.

    Raises:
        InvalidArgumentError: Not exactly one way was given, or one that tells nothing.
    """
    ways = [done is not None and done is not False, bool(never_happened), by is not None]
    if sum(ways) != 1:
        raise InvalidArgumentError("resolve: give exactly one of done=, never_happened=True and by=")
    if by is not None:
        never_happened = _told(key, by)
    elif not never_happened and done is not True and not isinstance(done, Mapping):
        raise InvalidArgumentError(f"done: expected True or the answer's JSON object, got {done!r:.40}")
    if never_happened:
        return None
    return Answer(200, _dumped(done) if isinstance(done, Mapping) else None, None)


def _dumped(done: Mapping[str, Any]) -> bytes:
    from bardge_async._core.converter import dump  # noqa: PLC0415 - brings cattrs

    return dump(dict(done), "done")


def _told(key: str, by: object) -> bool:
    """Tell whether a verdict says that nothing happened."""
    if not isinstance(by, DoubtVerdict):
        raise InvalidArgumentError(f"by: expected a verdict of reconcile(), got {type(by).__name__}")
    if by.idempotency_key != key:
        raise InvalidArgumentError(f"by: the verdict is about the key {by.idempotency_key!r:.80}")
    if by.finding is Finding.CANNOT_TELL:
        raise InvalidArgumentError("by: the verdict cannot tell; settle it with done= or never_happened=True")
    return by.finding is Finding.DID_NOT
