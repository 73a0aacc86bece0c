"""What a key's entry in the journal allows, purely."""

from __future__ import annotations

import hashlib
from typing import Any, Final, cast

import attrs
import orjson

from bardge_async._core.entry import EntryState, JournalEntry, RecordedResponse
from bardge_async._core.http import PreparedRequest
from bardge_async._core.retry import in_doubt_error, key_is_honoured
from bardge_async._core.settings import ReplayWindow
from bardge_async._core.window import MIN_SECONDS_LEFT, ClockReading, History, key_age, seconds_left
from bardge_async.endpoints import RepeatEffect
from bardge_async.errors import AlreadyDoneError, IdempotencyMisuseError

_VERSION: Final = b"v1"


def compute_fingerprint(request: PreparedRequest) -> str:
    """Hash what an operation is: method, URL, and the body as canonical JSON; versioned."""
    parts = (_VERSION, request.endpoint.method.encode(), request.url.encode(), _canonicalize_body(request.body))
    digest = hashlib.blake2b(b"\x00".join(parts), digest_size=16).hexdigest()
    return f"{_VERSION.decode()}:{digest}"


def _canonicalize_body(body: bytes | None) -> bytes:
    return b"" if body is None else orjson.dumps(_load_body(body), option=orjson.OPT_SORT_KEYS)


def _load_body(body: bytes | None) -> dict[str, Any]:
    return {} if body is None else cast("dict[str, Any]", orjson.loads(body))


def describe_difference(entry: JournalEntry, request: PreparedRequest) -> str:
    """Name what differs between a key's operation on record and another one."""
    if entry.endpoint != request.endpoint.name:
        return f"the endpoint ({entry.endpoint} on record)"
    if entry.url != request.url:
        return "the path"
    old, new = _load_body(entry.body), _load_body(request.body)
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name) or name not in old)
    return ", ".join(names) or "the request"


@attrs.frozen
class SendAllowed:
    """Send: under this history, with these bytes.

    ``refused`` is what is on record of an earlier refusal, ``fault`` that the handler failed on an earlier send.
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
    """Tell what a key's entry allows: the recorded answer, or to send.

    ``overtaken`` tells whether a later POST to the same row and path is on record, ``trusting`` whether the server is
    known to cache its own failures too.

    Raises:
        IdempotencyMisuseError: The key belongs to another request.
        AlreadyDoneError: It was done, and the answer's body is not kept.
        OutcomeUnknownError: It is in doubt, and a repeat could charge again.
    """
    if entry is None or entry.state is EntryState.INTENT or entry.first_sent is None:
        return SendAllowed(History(), request.body)
    if entry.fingerprint != compute_fingerprint(request):
        if entry.state is EntryState.REFUSED and not _key_still_held(entry, now, window):
            return SendAllowed(History(), request.body)
        raise _misuse_error(entry, request)
    if entry.state is EntryState.DONE:
        return _get_recorded_response(entry, request)
    if entry.state is EntryState.REFUSED:
        # After its 30 days the body is gone: then the caller's says the same.
        return SendAllowed(History(), request.body if entry.body is None else entry.body, entry)
    server_failed = (
        entry.answer is not None
        and not faults_are_cached
        and request.endpoint.repeat_effect is not RepeatEffect.HARMLESS
    )
    return _check_unknown(entry, request, now, window, overtaken=overtaken, server_failed=server_failed)


def _key_still_held(entry: JournalEntry, now: ClockReading, window: ReplayWindow) -> bool:
    """Tell whether the server may still hold the key to its body."""
    return entry.last_sent is not None and key_age(entry.last_sent, now) < window.length


def _misuse_error(entry: JournalEntry, request: PreparedRequest) -> IdempotencyMisuseError:
    error = IdempotencyMisuseError(
        f"{request.endpoint.name}: the key {request.key!r} belongs to another request; what differs: {describe_difference(entry, request)}"
    )
    error.endpoint, error.idempotency_key = request.endpoint.name, request.key
    return error


def _get_recorded_response(entry: JournalEntry, request: PreparedRequest) -> RecordedResponse:
    if entry.answer is not None and entry.answer.body is not None:
        return entry.answer
    error = AlreadyDoneError(
        f"{request.endpoint.name}: the operation of key {request.key!r} was done; its answer is not kept"
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
    history = History(sent=True, in_doubt=True, ever_in_doubt=True, first_sent=entry.first_sent)
    remaining = seconds_left(window, history, now) if key_is_honoured(request.endpoint) else None
    if remaining is not None and remaining >= MIN_SECONDS_LEFT and not server_failed:
        return SendAllowed(history, entry.body, server_failure=entry.answer)
    undoes = overtaken and request.endpoint.repeat_effect is RepeatEffect.HARMLESS
    if request.endpoint.repeat_effect is RepeatEffect.HARMLESS and not undoes:
        return SendAllowed(history, entry.body, server_failure=entry.answer)
    raise in_doubt_error(
        request.endpoint, history, request.key, now, window=window, overtaken=undoes, server_failed=server_failed
    )
