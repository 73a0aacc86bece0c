"""Hash an operation, so that a key's later call can be compared with what is on record. Pure: no I/O."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final, NamedTuple, cast

import attrs
import orjson

from bardge_async._core.entry import JournalEntry
from bardge_async._core.http import PreparedRequest
from bardge_async._core.settings import normalize_base_url
from bardge_async.endpoints import ENDPOINTS

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
    except (ValueError, RecursionError):
        return False  # a damaged body; or a number beyond a double, which that version could not record
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


def list_differing_fields(old: bytes | None, new: bytes | None) -> list[str]:
    """Return the names of the fields that differ between two bodies; none if they cannot be compared."""
    try:
        before, after = _load_body(old), _load_body(new)
    except (ValueError, RecursionError):
        return []
    if not isinstance(cast("object", before), dict):
        return []
    return sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n) or n not in before)


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
