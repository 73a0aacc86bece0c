"""Decide from a key's journal entry whether its operation may be sent. Pure: no I/O."""

from __future__ import annotations

from typing import TypeVar

import attrs

from bardge_async._core.custom_endpoints import distrust_key
from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity, RecordedResponse, make_entry
from bardge_async._core.fingerprint import list_differing_fields, matches_fingerprint
from bardge_async._core.http import PreparedRequest
from bardge_async._core.retry import in_doubt_error
from bardge_async._core.settings import ReplayWindow
from bardge_async._core.window import MIN_SECONDS_LEFT, ClockReading, History, key_age, seconds_left
from bardge_async.endpoints import Endpoint
from bardge_async.errors import AlreadyDoneError, IdempotencyMisuseError, JournalError

Q = TypeVar("Q")
R = TypeVar("R")


def build_sent_entry(
    identity: KeyIdentity,
    request: PreparedRequest,
    first_sent: ClockReading | None,
    now: ClockReading,
    server_failure: RecordedResponse | None,
    *,
    fingerprint: str,
) -> JournalEntry:
    """Return the entry of a request that is about to be sent: written before, since a crash may follow."""
    return make_entry(
        identity,
        request.endpoint.name,
        request.url,
        fingerprint,
        request.body,
        request.given,
        EntryState.SENT,
        first_sent,
        now,
        server_failure,
        request.endpoint.key_is_honoured,
    )


def describe_difference(entry: JournalEntry, request: PreparedRequest) -> str:
    """Name what differs between the recorded operation of a key and this request."""
    if entry.endpoint != request.endpoint.name:
        return f"the endpoint ({entry.endpoint} on record)"
    if entry.url != request.url:
        return "the path"
    return ", ".join(list_differing_fields(entry.body, request.body)) or "the request"


@attrs.frozen
class SendAllowed:
    """Send these bytes, starting from this history.

    ``refused_entry`` is the entry if the API refused the operation before; ``server_failure`` the recorded response if
    the server failed on an earlier send.
    """

    history: History
    body: bytes | None
    refused_entry: JournalEntry | None = None
    server_failure: RecordedResponse | None = None


def check_replay(
    entry: JournalEntry | None,
    request: PreparedRequest,
    now: ClockReading,
    window: ReplayWindow,
    *,
    overtaken: bool,
    faults_are_cached: bool = False,
) -> SendAllowed | RecordedResponse:
    """Return the recorded response, or permission to send.

    ``overtaken``: a later POST to the same endpoint and path is recorded. ``faults_are_cached``: the server is known to
    cache its own failures, too.

    Raises:
        IdempotencyMisuseError: The key belongs to another request.
        AlreadyDoneError: The operation is done, but the response body was not kept.
        OutcomeUnknownError: The outcome is unknown, and a repeat could charge again.
        JournalError: The stored body is not that of the operation.
    """
    if entry is None or entry.state is EntryState.INTENT or entry.first_sent is None:
        return SendAllowed(History(), request.body)
    if entry.fingerprint and not matches_fingerprint(entry.fingerprint, request):
        if entry.state is EntryState.REFUSED and not _key_still_held(entry, now, window):
            # Nothing was charged, and the server has forgotten the refused body: the key may take another one.
            return SendAllowed(History(), request.body)
        raise _misuse_error(entry, request)
    if entry.state is EntryState.DONE:
        return _get_recorded_response(entry, request)
    _check_stored_body(entry, request)
    if entry.state is EntryState.REFUSED:
        # The journal drops bodies after 30 days; the fingerprint proves that the caller's body is the same.
        return SendAllowed(History(), request.body if entry.body is None else entry.body, entry)
    server_failed = entry.answer is not None and not faults_are_cached and not request.endpoint.repeat_is_harmless
    return _check_unknown(entry, request, now, window, overtaken=overtaken, server_failed=server_failed)


def _check_stored_body(entry: JournalEntry, request: PreparedRequest) -> None:
    """Check that the stored bytes, which are sent again as they are, are those of the operation.

    Raises:
        JournalError: They are not.
    """
    if entry.body is None or entry.body == request.body or not entry.fingerprint:
        return
    if not matches_fingerprint(entry.fingerprint, attrs.evolve(request, body=entry.body)):
        raise JournalError(
            f"the journal is damaged: the stored body of key {entry.identity.key!r:.80} is not that of its operation; "
            "nothing was sent: restore the journal from a backup, or resolve the key by hand"
        )


def _key_still_held(entry: JournalEntry, now: ClockReading, window: ReplayWindow) -> bool:
    """Return whether the server may still remember the key and its body."""
    return entry.last_sent is not None and key_age(entry.last_sent, now) < window.length


def _misuse_error(entry: JournalEntry, request: PreparedRequest) -> IdempotencyMisuseError:
    error = IdempotencyMisuseError(
        f"{request.endpoint.name}: the key {request.key!r} belongs to another request, which differs in "
        f"{describe_difference(entry, request)}; use one key for one operation"
    )
    error.endpoint, error.idempotency_key = request.endpoint.name, request.key
    return error


def _get_recorded_response(entry: JournalEntry, request: PreparedRequest) -> RecordedResponse:
    if entry.answer is not None and entry.answer.body is not None:
        return entry.answer
    error = AlreadyDoneError(
        f"{request.endpoint.name}: the operation of key {request.key!r} is done, but its response was not kept; "
        "look up the result"
    )
    error.endpoint, error.idempotency_key = request.endpoint.name, request.key
    raise error


def get_endpoint_at_send(entry: JournalEntry, endpoint: Endpoint[Q, R]) -> Endpoint[Q, R]:
    """Return the endpoint as it protects an entry: a key that was not relied on at its first send never is."""
    return distrust_key(endpoint) if entry.key_honoured is False else endpoint


def _check_unknown(
    entry: JournalEntry,
    request: PreparedRequest,
    now: ClockReading,
    window: ReplayWindow,
    *,
    overtaken: bool,
    server_failed: bool,
) -> SendAllowed:
    # Past the window, or after a failure that may have cost the server the key, a repeat could execute a second time.
    history = History(sent=True, in_doubt=True, ever_in_doubt=True, first_sent=entry.first_sent)
    endpoint = get_endpoint_at_send(entry, request.endpoint)
    remaining = seconds_left(window, history, now) if endpoint.key_is_honoured else None
    if remaining is not None and remaining >= MIN_SECONDS_LEFT and not server_failed:
        return SendAllowed(history, entry.body, server_failure=entry.answer)
    undoes = overtaken and endpoint.repeat_is_harmless
    if endpoint.repeat_is_harmless and not undoes:
        return SendAllowed(history, entry.body, server_failure=entry.answer)
    raise in_doubt_error(
        endpoint, history, request.key, now, window=window, overtaken=undoes, server_failed=server_failed
    )
