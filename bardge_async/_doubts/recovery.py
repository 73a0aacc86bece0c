"""Doubts: POSTs that were sent and have no recorded outcome, and how to resolve them."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import json
import logging
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import attrs

from bardge_async._core.arguments import check_bool, check_text
from bardge_async._core.destination import describe_foreign_url
from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity, RecordedResponse
from bardge_async._core.http import Response, WireResponse
from bardge_async._journal import Journal
from bardge_async._runtime.clock import Clock
from bardge_async.errors import BardgeError, InvalidArgumentError, JournalError, KeyInUseError

if TYPE_CHECKING:
    from bardge_async._calls.client_caller import ClientCaller

__all__ = ["Doubt", "DoubtVerdict", "Finding", "Recovered"]

_LOG: Final = logging.getLogger("bardge_async")
_MAX_CONCURRENT_RECOVERIES: Final = 16
_SAME_EVIDENCE: Final = {
    "bookings.initiate_class": ("bookings.confirm_class", "bookings.reschedule"),
    "bookings.initiate_spa": ("bookings.confirm_spa", "bookings.reschedule"),
}
"""By endpoint: other endpoints whose calls leave the same evidence. A refund differs from a purchase by its description."""


@attrs.frozen
class Doubt:
    """A POST that was sent and has no recorded outcome.

    Attributes:
        idempotency_key: Its key.
        endpoint: The endpoint's name.
        url: Where it was sent.
        request: Its JSON body, or None for a POST without one.
        first_sent_at: When the key was first sent, aware UTC.
        window_closes_at: When the server forgets the key, aware UTC; None if keys do not protect the endpoint.
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
    """The outcome of a doubt that was sent again.

    Attributes:
        idempotency_key: Its key.
        endpoint: The endpoint's name.
        response: The response, or None.
        error: The error it ended with instead, or None.
    """

    idempotency_key: str
    endpoint: str
    response: Response[Any] | None
    error: BardgeError | None


class Finding(enum.StrEnum):
    """What the evidence says about a doubt."""

    HAPPENED = "happened"
    DID_NOT = "did not"
    CANNOT_TELL = "cannot tell"


@attrs.frozen
class DoubtVerdict:
    """What was found about a doubt; nothing changes until you call ``bardge.resolve(key, by=verdict)``.

    Attributes:
        idempotency_key: The doubt's key.
        first_sent_at: When the key of the examined doubt was first sent, aware UTC.
        finding: Happened, did not, or cannot tell.
        evidence: What the finding is based on, as sentences.
        inferred: Whether it is based on fields that none of the vendor's pages shows.
    """

    idempotency_key: str
    first_sent_at: dt.datetime
    finding: Finding
    evidence: tuple[str, ...]
    inferred: bool


class Doubts:
    """Find and resolve the doubts of one client's account."""

    def __init__(self, caller: ClientCaller) -> None:
        self._caller = caller
        self._settings = caller.settings
        self._journal = caller.settings.journal
        self._clock_reader = caller.clock_reader

    async def find_unfinished(self) -> list[JournalEntry]:
        """Return the journal entries in doubt, oldest first."""
        return await self._journal.unfinished(self._settings.base_url, self._settings.account)

    async def list_doubts(self) -> list[Doubt]:
        """Return the doubts, oldest first."""
        return [self._make_doubt(entry) for entry in await self.find_unfinished() if entry.first_sent is not None]

    async def recover(self) -> list[Recovered]:
        """Send every recoverable doubt again, with its key and its bytes."""
        recovered: list[Recovered] = []
        limiter = anyio.CapacityLimiter(_MAX_CONCURRENT_RECOVERIES)
        # Before the group, which would wrap an error in a group.
        entries = await self.find_unfinished()
        if entries:
            await self._caller.observe_clocks()
        recoverable = [entry for entry in entries if self._is_recoverable(entry)]
        for foreign in filter(None, (describe_foreign_url(entry, self._settings.base_url) for entry in entries)):
            _warn_once(foreign)
        try:
            async with anyio.create_task_group() as group:
                for entry in recoverable:
                    group.start_soon(self._resend_entry, entry, limiter, recovered)
        except ExceptionGroup as found:
            # What a journal or transport of the user's own raises.
            raise found.exceptions[0] from None
        return recovered

    async def _resend_entry(
        self, entry: JournalEntry, limiter: anyio.CapacityLimiter, recovered: list[Recovered]
    ) -> None:
        request = self._caller.request_builder.rebuild(entry)
        key = entry.identity.key
        async with limiter:
            try:
                response = await self._caller.run(request, claim_timeout=0.0)
                recovered.append(Recovered(key, entry.endpoint, response, None))
            except KeyInUseError:
                # Another task or process is working on the key: it is no longer ours to recover.
                return
            except BardgeError as error:
                recovered.append(Recovered(key, entry.endpoint, None, error))

    def _is_recoverable(self, entry: JournalEntry) -> bool:
        """Return whether the window is open and its rules allow the entry to be sent again."""
        from bardge_async._core import replay  # noqa: PLC0415 - brings cattrs

        settings = self._settings
        trusting = settings.policy.repeat_server_errors
        # overtaken=True assumes that a later POST replaced this one's effect: past its window, nothing is sent again.
        try:
            # An endpoint that this version does not know cannot be sent.
            request = self._caller.request_builder.rebuild(entry)
            replay.check_replay(
                entry, request, self._clock_reader.now(), settings.window, overtaken=True, faults_are_cached=trusting
            )
        except BardgeError:
            return False
        return True

    def _make_doubt(self, entry: JournalEntry) -> Doubt:
        assert entry.first_sent is not None
        first_sent_at = entry.first_sent.to_datetime()
        length = dt.timedelta(seconds=self._settings.window.length)
        return Doubt(
            idempotency_key=entry.identity.key,
            endpoint=entry.endpoint,
            url=entry.url,
            request=body_of(entry),
            first_sent_at=first_sent_at,
            window_closes_at=first_sent_at + length if self._is_key_honoured(entry) else None,
            recoverable=self._is_recoverable(entry),
        )

    def _is_key_honoured(self, entry: JournalEntry) -> bool:
        """Return whether the key protects an entry; of an endpoint that this version does not know, it is not known."""
        from bardge_async._core import replay  # noqa: PLC0415 - brings cattrs

        try:
            endpoint = self._caller.request_builder.endpoint_of(entry)
        except InvalidArgumentError:
            return False
        return replay.get_endpoint_at_send(entry, endpoint).key_is_honoured

    async def resolve(
        self, key: str, *, done: bool | Mapping[str, Any] | None, never_happened: bool, by: DoubtVerdict | None
    ) -> None:
        """Resolve a doubt manually.

        Raises:
            InvalidArgumentError: The key is not in doubt, or not exactly one way to resolve it was given.
            KeyInUseError: Another task or process holds the key.
        """
        recorded = choose_recorded_response(key, done=done, never_happened=never_happened, by=by)
        identity = KeyIdentity(self._settings.base_url, self._settings.account, key)
        await resolve_doubt(
            self._journal, self._clock_reader.clock, identity, recorded, check=self._response_check(done), by=by
        )

    def _response_check(self, done: object) -> Callable[[JournalEntry, RecordedResponse], None]:
        def check(entry: JournalEntry, recorded: RecordedResponse) -> None:
            """Check that the endpoint's result can be decoded from the response, as later uses of the key will do."""
            if isinstance(done, Mapping):
                from bardge_async._core import response as responses  # noqa: PLC0415 - brings cattrs

                response = WireResponse(recorded.status, {}, recorded.body or b"")
                error = responses.classify(
                    self._caller.request_builder.endpoint_of(entry), response, 0.0, self._settings.base_url
                ).error
                if error is not None:
                    raise InvalidArgumentError(f"done: it is not a response of {entry.endpoint}: {error}")

        return check

    async def find_entry(self, key: str) -> JournalEntry:
        """Return the journal entry of a doubt.

        Raises:
            InvalidArgumentError: The key is not in doubt.
        """
        for entry in await self.find_unfinished():
            if entry.identity.key == key:
                return entry
        raise InvalidArgumentError(f"key: {key!r:.80} is not in doubt; bardge.in_doubt() lists the keys that are")

    async def find_competing_entries(self, entry: JournalEntry) -> list[JournalEntry]:
        """Return the other journal entries that may have left the same evidence."""
        found: list[JournalEntry] = []
        names = (entry.endpoint, *_SAME_EVIDENCE.get(entry.endpoint, ()))
        paths = self._caller.request_builder.paths
        # `bardge.request()` reaches the same path under a name of its own.
        for endpoint in (*names, *(f"POST {paths[name]}" for name in names if name in paths)):
            found += await self._journal.since(attrs.evolve(entry, endpoint=endpoint))
        return found


@functools.lru_cache(maxsize=1024)
def _warn_once(text: str) -> None:
    """Log a warning, once in this process: a worker recovers every few seconds."""
    _LOG.warning("%s", text)


def body_of(entry: JournalEntry) -> Mapping[str, Any] | None:
    """Return an entry's JSON body, with fractions as Decimal.

    Raises:
        JournalError: It is no JSON object.
    """
    if entry.body is None:
        return None
    try:
        body = json.loads(entry.body, parse_float=Decimal)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise JournalError(
            f"the journal is damaged: the stored body of key {entry.identity.key!r:.80} is no JSON object; "
            "restore the journal from a backup, or resolve the key by hand"
        )
    return cast("dict[str, Any]", body)


async def resolve_doubt(
    journal: Journal,
    clock: Clock,
    identity: KeyIdentity,
    recorded: RecordedResponse | None,
    *,
    check: Callable[[JournalEntry, RecordedResponse], None] | None = None,
    by: DoubtVerdict | None = None,
) -> None:
    """Record the response of a doubt, or free its key if there is none.

    Raises:
        InvalidArgumentError: The key is not in doubt, or no longer in the doubt that was examined.
        KeyInUseError: Another task or process holds the key.
        JournalError: The journal cannot be written.
    """
    key = identity.key
    # Do not wait for a key that is in use: its holder may still learn the outcome.
    entry = await journal.claim(identity, 0.0, clock)
    try:
        if entry is None or entry.state is not EntryState.SENT or entry.first_sent is None:
            state = "is not on record" if entry is None else f"is {entry.state.value}"
            raise InvalidArgumentError(f"key: {key!r:.80} {state}, not in doubt")
        if by is not None and by.first_sent_at != entry.first_sent.to_datetime():
            # The verdict is about an earlier use of the key, and says nothing about this one.
            raise InvalidArgumentError(
                f"by: the key {key!r:.80} was resolved and sent again since the verdict; call reconcile() again"
            )
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
    """Return the response to record, or None if the operation never happened.

    Raises:
        InvalidArgumentError: Not exactly one way was given, or a verdict that cannot tell.
    """
    check_text("key", key)
    check_bool("never_happened", never_happened)
    chosen = [done is not None and done is not False, never_happened, by is not None]
    if sum(chosen) != 1:
        raise InvalidArgumentError("resolve: pass exactly one of done=, never_happened=True and by=")
    if by is not None:
        never_happened = _says_never_happened(key, by)
    elif not never_happened and done is not True and not isinstance(done, Mapping):
        raise InvalidArgumentError(f"done: expected True or the response's JSON object, got {done!r:.40}")
    if never_happened:
        return None
    return RecordedResponse(200, _dump_response(done) if isinstance(done, Mapping) else None, None)


def _dump_response(done: Mapping[str, Any]) -> bytes:
    from bardge_async._core.converter import dump_json  # noqa: PLC0415 - brings cattrs

    return dump_json(dict(done), "done")


def _says_never_happened(key: str, by: object) -> bool:
    """Return whether a verdict says that the operation did not happen."""
    if not isinstance(by, DoubtVerdict):
        raise InvalidArgumentError(f"by: expected a verdict from reconcile(), got {type(by).__name__}")
    if by.idempotency_key != key:
        raise InvalidArgumentError(f"by: the verdict is about the key {by.idempotency_key!r:.80}, not this one")
    if by.finding is Finding.CANNOT_TELL:
        raise InvalidArgumentError("by: the verdict cannot tell; resolve it with done= or never_happened=True")
    return by.finding is Finding.DID_NOT
