"""Decide from a key's journal entry whether its operation may be sent. Pure: no I/O."""

from __future__ import annotations

import hashlib
from typing import Any, Final, cast

import attrs
import orjson

from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity, RecordedResponse
from bardge_async._core.http import PreparedRequest
from bardge_async._core.retry import in_doubt_error
from bardge_async._core.settings import ReplayWindow
from bardge_async._core.window import MIN_SECONDS_LEFT, ClockReading, History, key_age, seconds_left
from bardge_async.errors import AlreadyDoneError, IdempotencyMisuseError

# Stored in journals: a new way to hash needs a new version.
_VERSION: Final = b"v1"


def compute_fingerprint(request: PreparedRequest) -> str:
    """Return a versioned hash of an operation: its method, URL and canonical JSON body."""
    parts = (_VERSION, request.endpoint.method.encode(), request.url.encode(), _canonicalize_body(request.body))
    digest = hashlib.blake2b(b"\x00".join(parts), digest_size=16).hexdigest()
    return f"{_VERSION.decode()}:{digest}"


def _canonicalize_body(body: bytes | None) -> bytes:
    return b"" if body is None else orjson.dumps(_load_body(body), option=orjson.OPT_SORT_KEYS)


def _load_body(body: bytes | None) -> dict[str, Any]:
    return {} if body is None else cast("dict[str, Any]", orjson.loads(body))


def build_sent_entry(
    identity: KeyIdentity,
    request: PreparedRequest,
    first_sent: ClockReading | None,
    now: ClockReading,
    server_failure: RecordedResponse | None,
) -> JournalEntry:
    """Return the entry of a request that is about to be sent: written before, since a crash may follow."""
    return JournalEntry(
        identity,
        request.endpoint.name,
        request.url,
        compute_fingerprint(request),
        request.body,
        request.given,
        EntryState.SENT,
        first_sent,
        now,
        server_failure,
    )


def describe_difference(entry: JournalEntry, request: PreparedRequest) -> str:
    """Name what differs between the recorded operation of a key and this request."""
    if entry.endpoint != request.endpoint.name:
        return f"the endpoint ({entry.endpoint} on record)"
    if entry.url != request.url:
        return "the path"
    old, new = _load_body(entry.body), _load_body(request.body)
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name) or name not in old)
    return ", ".join(names) or "the request"


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
    """
    if entry is None or entry.state is EntryState.INTENT or entry.first_sent is None:
        return SendAllowed(History(), request.body)
    if entry.fingerprint != compute_fingerprint(request):
        if entry.state is EntryState.REFUSED and not _key_still_held(entry, now, window):
            # Nothing was charged, and the server has forgotten the refused body: the key may take another one.
            return SendAllowed(History(), request.body)
        raise _misuse_error(entry, request)
    if entry.state is EntryState.DONE:
        return _get_recorded_response(entry, request)
    if entry.state is EntryState.REFUSED:
        # The journal drops bodies after 30 days; the fingerprint proves that the caller's body is the same.
        return SendAllowed(History(), request.body if entry.body is None else entry.body, entry)
    server_failed = entry.answer is not None and not faults_are_cached and not request.endpoint.repeat_is_harmless
    return _check_unknown(entry, request, now, window, overtaken=overtaken, server_failed=server_failed)


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
    remaining = seconds_left(window, history, now) if request.endpoint.key_is_honoured else None
    if remaining is not None and remaining >= MIN_SECONDS_LEFT and not server_failed:
        return SendAllowed(history, entry.body, server_failure=entry.answer)
    undoes = overtaken and request.endpoint.repeat_is_harmless
    if request.endpoint.repeat_is_harmless and not undoes:
        return SendAllowed(history, entry.body, server_failure=entry.answer)
    raise in_doubt_error(
        request.endpoint, history, request.key, now, window=window, overtaken=undoes, server_failed=server_failed
    )
