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

from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity, RecordedResponse
from bardge_async._core.http import Response, WireResponse
from bardge_async._journal import Journal
from bardge_async._runtime.clock import Clock
from bardge_async.endpoints import KeySupport
from bardge_async.errors import BardgeError, InvalidArgumentError, KeyInUseError

if TYPE_CHECKING:
    from bardge_async._calls.client_caller import ClientCaller

__all__ = ["Doubt", "DoubtVerdict", "Finding", "Recovered"]

_MAX_CONCURRENT_RECOVERIES: Final = 16
_SAME_EVIDENCE: Final = {
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

    def __init__(self, caller: ClientCaller) -> None:
        self._caller = caller
        self._settings = caller.engine.settings
        self._journal = caller.engine.settings.journal
        self._clock_reader = caller.engine.clock_reader

    async def find_unfinished(self) -> list[JournalEntry]:
        """Return the records in doubt, oldest first."""
        return await self._journal.unfinished(self._settings.base_url, self._settings.account)

    async def list_doubts(self) -> list[Doubt]:
        """Return the doubts, oldest first."""
        return [self._make_doubt(entry) for entry in await self.find_unfinished() if entry.first_sent is not None]

    async def recover(self) -> list[Recovered]:
        """Send again, with key and bytes, whatever may still be."""
        recovered: list[Recovered] = []
        limiter = anyio.CapacityLimiter(_MAX_CONCURRENT_RECOVERIES)
        async with anyio.create_task_group() as group:
            for entry in await self.find_unfinished():
                if self._is_recoverable(entry):
                    group.start_soon(self._resend_entry, entry, limiter, recovered)
        return recovered

    async def _resend_entry(
        self, entry: JournalEntry, limiter: anyio.CapacityLimiter, recovered: list[Recovered]
    ) -> None:
        request = self._caller.request_builder.rebuild(entry)
        key = entry.identity.key
        async with limiter:
            try:
                response = await self._caller.engine.run(request, claim_timeout=0.0)
                recovered.append(Recovered(key, entry.endpoint, response, None))
            except KeyInUseError:
                # Somebody else works on it: then it is no longer ours to recover.
                return
            except BardgeError as error:
                recovered.append(Recovered(key, entry.endpoint, None, error))

    def _is_recoverable(self, entry: JournalEntry) -> bool:
        """Tell whether the window is open and its rules let the record be sent; what is past it is not recovered."""
        from bardge_async._core import replay as entries  # noqa: PLC0415 - brings cattrs

        settings = self._settings
        trusting = settings.policy.repeat_server_errors
        try:
            # A row that is gone cannot be sent.
            request = self._caller.request_builder.rebuild(entry)
            entries.check_replay(
                entry, request, self._clock_reader.now(), settings.window, overtaken=True, faults_are_cached=trusting
            )
        except BardgeError:
            return False
        return True

    def _make_doubt(self, entry: JournalEntry) -> Doubt:
        assert entry.first_sent is not None  # noqa: S101 - the caller looked
        first_sent_at = entry.first_sent.to_datetime()
        endpoint = self._caller.request_builder.endpoint_of(entry)
        length = dt.timedelta(seconds=self._settings.window.length)
        return Doubt(
            idempotency_key=entry.identity.key,
            endpoint=entry.endpoint,
            url=entry.url,
            request=body_of(entry),
            first_sent_at=first_sent_at,
            window_closes_at=first_sent_at + length if endpoint.key is KeySupport.YES else None,
            recoverable=self._is_recoverable(entry),
        )

    async def resolve(
        self, key: str, *, done: bool | Mapping[str, Any] | None, never_happened: bool, by: DoubtVerdict | None
    ) -> None:
        """Settle a doubt by hand.

        Raises:
            InvalidArgumentError: The key is not in doubt, or not exactly one way to settle it was given.
            KeyInUseError: A task or process works on the key.
        """
        recorded = choose_recorded_response(key, done=done, never_happened=never_happened, by=by)
        identity = KeyIdentity(self._settings.base_url, self._settings.account, key)
        await resolve_doubt(
            self._journal, self._clock_reader.clock, identity, recorded, check=self._response_check(done), by=by
        )

    def _response_check(self, done: object) -> Callable[[JournalEntry, RecordedResponse], None]:
        def check(entry: JournalEntry, recorded: RecordedResponse) -> None:
            """See that the row's result can be read from the answer, as it will be when the key is entered."""
            if isinstance(done, Mapping):
                from bardge_async._core import response as wire  # noqa: PLC0415 - brings cattrs

                response = WireResponse(recorded.status, {}, recorded.body or b"")
                error = wire.classify(
                    self._caller.request_builder.endpoint_of(entry), response, 0.0, self._settings.base_url
                ).error
                if error is not None:
                    raise InvalidArgumentError(f"done: it is no answer of {entry.endpoint}: {error}")

        return check

    async def find_entry(self, key: str) -> JournalEntry:
        """Return the record of a doubt.

        Raises:
            InvalidArgumentError: The key is not in doubt.
        """
        for entry in await self.find_unfinished():
            if entry.identity.key == key:
                return entry
        raise InvalidArgumentError(f"key: {key!r:.80} is not in doubt")

    async def find_competing_entries(self, entry: JournalEntry) -> list[JournalEntry]:
        """Return the other records that may claim the same evidence."""
        found: list[JournalEntry] = []
        for endpoint in (entry.endpoint, *_SAME_EVIDENCE.get(entry.endpoint, ())):
            found += await self._journal.since(attrs.evolve(entry, endpoint=endpoint))
        return found


def body_of(entry: JournalEntry) -> Mapping[str, Any] | None:
    """Return a record's JSON body, fractions as Decimal."""
    return None if entry.body is None else cast("dict[str, Any]", json.loads(entry.body, parse_float=Decimal))


async def resolve_doubt(
    journal: Journal,
    clock: Clock,
    identity: KeyIdentity,
    recorded: RecordedResponse | None,
    *,
    check: Callable[[JournalEntry, RecordedResponse], None] | None = None,
    by: DoubtVerdict | None = None,
) -> None:
    """Record the answer of a doubt, or free its key where there is none.

    Raises:
        InvalidArgumentError: The key is not in doubt, or not any more in the one that was examined.
        KeyInUseError: A task or process works on the key.
        JournalError: The journal cannot be written.
    """
    key = identity.key
    entry = await journal.claim(identity, 0.0, clock)
    try:
        if entry is None or entry.state is not EntryState.SENT or entry.first_sent is None:
            state = "is not on record" if entry is None else f"is {entry.state.value}"
            raise InvalidArgumentError(f"key: {key!r:.80} {state}, not in doubt")
        if by is not None and by.first_sent_at != entry.first_sent.to_datetime():
            raise InvalidArgumentError(f"by: the key {key!r:.80} was settled and sent anew since the verdict")
        if recorded is None:
            await journal.remove(identity)
        else:
            if check is not None:
                check(entry, recorded)
            await journal.put(attrs.evolve(entry, state=EntryState.DONE, answer=recorded))
    finally:
        journal.release(identity)


def choose_recorded_response(
    key: str, *, done: bool | Mapping[str, Any] | None, never_happened: bool, by: DoubtVerdict | None
) -> RecordedResponse | None:
    """Return the answer to record, or None for what never happened.

    Raises:
        InvalidArgumentError: Not exactly one way was given, or one that tells nothing.
    """
    chosen = [done is not None and done is not False, bool(never_happened), by is not None]
    if sum(chosen) != 1:
        raise InvalidArgumentError("resolve: give exactly one of done=, never_happened=True and by=")
    if by is not None:
        never_happened = _says_never_happened(key, by)
    elif not never_happened and done is not True and not isinstance(done, Mapping):
        raise InvalidArgumentError(f"done: expected True or the answer's JSON object, got {done!r:.40}")
    if never_happened:
        return None
    return RecordedResponse(200, _dump_response(done) if isinstance(done, Mapping) else None, None)


def _dump_response(done: Mapping[str, Any]) -> bytes:
    from bardge_async._core.converter import dump_json  # noqa: PLC0415 - brings cattrs

    return dump_json(dict(done), "done")


def _says_never_happened(key: str, by: object) -> bool:
    """Tell whether a verdict says that nothing happened."""
    if not isinstance(by, DoubtVerdict):
        raise InvalidArgumentError(f"by: expected a verdict of reconcile(), got {type(by).__name__}")
    if by.idempotency_key != key:
        raise InvalidArgumentError(f"by: the verdict is about the key {by.idempotency_key!r:.80}")
    if by.finding is Finding.CANNOT_TELL:
        raise InvalidArgumentError("by: the verdict cannot tell; settle it with done= or never_happened=True")
    return by.finding is Finding.DID_NOT
