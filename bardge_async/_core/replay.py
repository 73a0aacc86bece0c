"""What a key's entry in the journal allows, purely."""

from __future__ import annotations

import hashlib
from typing import Any, Final, cast

import attrs
import orjson

from bardge_async._core.entry import Answer, EntryState, Record
from bardge_async._core.http import Call
from bardge_async._core.retry import in_doubt_error, protected
from bardge_async._core.settings import ReplayWindow
from bardge_async._core.window import LEAST_LEFT, History, Moment, age, left
from bardge_async.endpoints import Again
from bardge_async.errors import AlreadyDoneError, IdempotencyMisuseError

_FORM: Final = b"v1"


def fingerprint(call: Call) -> str:
    """Hash what an operation is: method, URL, and the body as canonical JSON; versioned."""
    parts = (_FORM, call.row.method.encode(), call.url.encode(), _canonical(call.body))
    digest = hashlib.blake2b(b"\x00".join(parts), digest_size=16).hexdigest()
    return f"{_FORM.decode()}:{digest}"


def _canonical(body: bytes | None) -> bytes:
    return b"" if body is None else orjson.dumps(_loads(body), option=orjson.OPT_SORT_KEYS)


def _loads(body: bytes | None) -> dict[str, Any]:
    return {} if body is None else cast("dict[str, Any]", orjson.loads(body))


def different(record: Record, call: Call) -> str:
    """Name what differs between a key's operation on record and another one."""
    if record.endpoint != call.row.name:
        return f"the endpoint ({record.endpoint} on record)"
    if record.url != call.url:
        return "the path"
    old, new = _loads(record.body), _loads(call.body)
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name) or name not in old)
    return ", ".join(names) or "the request"


@attrs.frozen
class Proceed:
    """Send: under this history, with these bytes.

    ``refused`` is what is on record of an earlier refusal, ``fault`` that the handler failed on an earlier send.
    """

    history: History
    body: bytes | None
    refused: Record | None = None
    fault: Answer | None = None


def judge(
    record: Record | None, call: Call, now: Moment, window: ReplayWindow, *, overtaken: bool, trusting: bool = False
) -> Proceed | Answer:
    """Tell what a key's entry allows: the recorded answer, or to send.

    ``overtaken`` tells whether a later POST to the same row and path is on record, ``trusting`` whether the server is
    known to cache its own failures too.

    Raises:
        IdempotencyMisuseError: The key belongs to another request.
        AlreadyDoneError: It was done, and the answer's body is not kept.
        OutcomeUnknownError: It is in doubt, and a repeat could charge again.
    """
    if record is None or record.state is EntryState.INTENT or record.first_sent is None:
        return Proceed(History(), call.body)
    if record.fingerprint != fingerprint(call):
        if record.state is EntryState.REFUSED and not _bound(record, now, window):
            return Proceed(History(), call.body)
        raise _misuse(record, call)
    if record.state is EntryState.DONE:
        return _recorded(record, call)
    if record.state is EntryState.REFUSED:
        # After its 30 days the body is gone: then the caller's says the same.
        return Proceed(History(), call.body if record.body is None else record.body, record)
    faulted = record.answer is not None and not trusting and call.row.again is not Again.SAME
    return _doubtful(record, call, now, window, overtaken=overtaken, faulted=faulted)


def _bound(record: Record, now: Moment, window: ReplayWindow) -> bool:
    """Tell whether the server may still hold the key to its body."""
    return record.last_sent is not None and age(record.last_sent, now) < window.length


def _misuse(record: Record, call: Call) -> IdempotencyMisuseError:
    error = IdempotencyMisuseError(
        f"{call.row.name}: the key {call.key!r} belongs to another request; what differs: {different(record, call)}"
    )
    error.endpoint, error.idempotency_key = call.row.name, call.key
    return error


def _recorded(record: Record, call: Call) -> Answer:
    if record.answer is not None and record.answer.body is not None:
        return record.answer
    error = AlreadyDoneError(f"{call.row.name}: the operation of key {call.key!r} was done; its answer is not kept")
    error.endpoint, error.idempotency_key = call.row.name, call.key
    raise error


def _doubtful(
    record: Record, call: Call, now: Moment, window: ReplayWindow, *, overtaken: bool, faulted: bool
) -> Proceed:
    history = History(sent=True, in_doubt=True, ever_in_doubt=True, first_sent=record.first_sent)
    remaining = left(window, history, now) if protected(call.row) else None
    if remaining is not None and remaining >= LEAST_LEFT and not faulted:
        return Proceed(history, record.body, fault=record.answer)
    undoes = overtaken and call.row.again is Again.SAME
    if call.row.again is Again.SAME and not undoes:
        return Proceed(history, record.body, fault=record.answer)
    raise in_doubt_error(call.row, history, call.key, now, window=window, overtaken=undoes, faulted=faulted)
