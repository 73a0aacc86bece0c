"""Decide from a key's journal entry whether its operation may be sent. Pure: no I/O."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final, NamedTuple, TypeVar, cast

import attrs
import orjson

from bardge_async._core.custom_endpoints import distrust_key
from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity, RecordedResponse, make_entry
from bardge_async._core.http import PreparedRequest
from bardge_async._core.retry import in_doubt_error
from bardge_async._core.settings import ReplayWindow, normalize_base_url
from bardge_async._core.window import MIN_SECONDS_LEFT, ClockReading, History, key_age, seconds_left
from bardge_async.endpoints import ENDPOINTS, Endpoint
from bardge_async.errors import AlreadyDoneError, IdempotencyMisuseError

Q = TypeVar("Q")
R = TypeVar("R")

# Stored in journals: a new way to hash needs a new version, and entries of an old one are compared in its form.
_VERSION: Final = "v2"
_INEXACT_VERSION: Final = "v1"
"""Hashes numbers after they went through a float."""
# In the JSON that we send, a number that orjson would not give back digit for digit: -0, a fraction, an exponent, or
# more digits than 64 bits hold. It may also match inside a string, which costs time only.
_RESPELLED_NUMBER: Final = re.compile(rb"[:,\[\s]-?(?:\d+[.eE]|\d{19})|[:,\[\s]-0")


def compute_fingerprint(request: PreparedRequest) -> str:
    """Return a versioned hash of an operation: its method, URL and canonical JSON body, numbers by their exact text."""
    return _hash_operation(_VERSION, request.endpoint.method, request.url, _canonicalize_body(request.body))


def add_fingerprint(entry: JournalEntry) -> JournalEntry:
    """Return an entry with the fingerprint of its request, if it was recorded without; it must have its body."""
    if entry.fingerprint:
        return entry
    endpoint = ENDPOINTS.get(entry.endpoint)
    # Another endpoint's name is its method and path: see custom_endpoint.
    method = entry.endpoint.partition(" ")[0] if endpoint is None else endpoint.method
    fingerprint = _hash_operation(_VERSION, method, entry.url, _canonicalize_body(entry.body))
    return attrs.evolve(entry, fingerprint=fingerprint)


def matches_fingerprint(fingerprint: str, request: PreparedRequest) -> bool:
    """Return whether a fingerprint on record is that of this request, in the form of the version that recorded it.

    A rewritten entry's fingerprint ends in ``@`` and the base URL that it was computed with.
    """
    recorded, _, spelling = fingerprint.partition("@")
    url = spelling + request.url.removeprefix(normalize_base_url(spelling)) if spelling else request.url
    try:
        is_inexact = recorded.startswith(_INEXACT_VERSION + ":")
        body = _canonicalize_inexactly(request.body) if is_inexact else _canonicalize_body(request.body)
    except orjson.JSONDecodeError:
        return False  # that version could not record a number beyond a double
    version = _INEXACT_VERSION if is_inexact else _VERSION
    return recorded == _hash_operation(version, request.endpoint.method, url, body)


def _hash_operation(version: str, method: str, url: str, body: bytes) -> str:
    parts = (version.encode(), method.encode(), url.encode(), body)
    digest = hashlib.blake2b(b"\x00".join(parts), digest_size=16).hexdigest()
    return f"{version}:{digest}"


def _canonicalize_body(body: bytes | None) -> bytes:
    if body is None or not _RESPELLED_NUMBER.search(body):
        return _canonicalize_inexactly(body)
    return _write_canonical(_load_body(body))


def _canonicalize_inexactly(body: bytes | None) -> bytes:
    return b"" if body is None else orjson.dumps(orjson.loads(body), option=orjson.OPT_SORT_KEYS)


class _Number(NamedTuple):
    """A number of a JSON text, digit for digit."""

    text: str


def _load_body(body: bytes | None) -> dict[str, Any]:
    if body is None:
        return {}
    return cast("dict[str, Any]", json.loads(body, parse_int=_Number, parse_float=_Number))


def _write_canonical(value: object) -> bytes:
    """Write JSON as orjson does with sorted names, but every number as it was read."""
    if isinstance(value, _Number):
        return value.text.encode()
    if isinstance(value, dict):
        members = sorted(cast("dict[str, object]", value).items())
        return b"{%b}" % b",".join([orjson.dumps(name) + b":" + _write_canonical(member) for name, member in members])
    if isinstance(value, list):
        return b"[%b]" % b",".join([_write_canonical(item) for item in cast("list[object]", value)])
    return orjson.dumps(value)


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
    if entry.fingerprint and not matches_fingerprint(entry.fingerprint, request):
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
