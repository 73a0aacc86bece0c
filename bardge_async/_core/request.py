"""A row and its arguments, made into one call: checked, encoded, and the same bytes for every attempt."""

from __future__ import annotations

import functools
import math
import platform
import re
import string
from collections.abc import Mapping
from types import NoneType
from typing import Any, Final, cast
from urllib.parse import quote

from bardge_async._core.converter import dump, encode
from bardge_async._core.custom_endpoints import free_row
from bardge_async._core.entry import Record
from bardge_async._core.http import (
    KEY_HEADER,
    TOKEN_HEADER,
    Call,
    check_token,
)
from bardge_async._core.keys import check_takes_key
from bardge_async._core.secret import Secret
from bardge_async._version import __version__
from bardge_async.endpoints import ENDPOINTS, Endpoint, placeholders
from bardge_async.errors import InvalidArgumentError
from bardge_async.models import Body

LARGEST_BODY: Final = 1024 * 1024
"""Bytes; no body of the API comes near it."""
_JSON: Final = "application/json"
_GET_HEADERS: Final[Mapping[str, str]] = {
    "Accept": _JSON,
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": f"bardge-async/{__version__} Python/{platform.python_version()}",
}
_POST_HEADERS: Final[Mapping[str, str]] = {**_GET_HEADERS, "Content-Type": _JSON}


class Composer:
    """Make calls below one base URL, with the user's path corrections."""

    def __init__(self, base_url: str, paths: Mapping[str, str]) -> None:
        self.base_url = base_url
        self.paths = paths

    def compose(
        self,
        row: Endpoint[Any, Any],
        arguments: tuple[object, ...],
        *,
        request: object = None,
        query: Mapping[str, object] | None = None,
        key: str | None = None,
        lookup_token: str | None = None,
        given: bool = False,
    ) -> Call:
        """Make a call.

        Raises:
            InvalidArgumentError: An argument that the row does not take, or that cannot be sent.
            IdempotencyMisuseError: A key for a row that takes none.
        """
        url = self.base_url + fill(row, self.paths.get(row.name, row.path), arguments)
        if query:
            url += query_string(query)
        headers = _headers(row, key, lookup_token)
        return Call(row, url, _body(row, request), headers, key, given, key is not None and not given)

    def row_of(self, record: Record) -> Endpoint[Any, Any]:
        """Return the row that a record's operation was of."""
        row = ENDPOINTS.get(record.endpoint)
        if row is not None:
            return row
        method, _, path = record.endpoint.partition(" ")
        return free_row(method, path, object, body=record.body is not None, keyed=False)

    def again(self, record: Record) -> Call:
        """Make a recorded operation's call anew: the same bytes under the same key."""
        row, key = self.row_of(record), record.identity.key
        return Call(row, record.url, record.body, _headers(row, key, None), key, record.given)


def _body(row: Endpoint[Any, Any], request: object) -> bytes | None:
    if row.request is NoneType:
        if request is not None:
            raise InvalidArgumentError(f"{row.name}: takes no request object, got {type(request).__name__}")
        return None
    body = _encoded(row, request)
    if len(body) > LARGEST_BODY:
        raise InvalidArgumentError(f"{row.name}: request: {len(body)} bytes of JSON; {LARGEST_BODY} at most are sent")
    return body


def _encoded(row: Endpoint[Any, Any], request: object) -> bytes:
    if row.request is object and isinstance(request, Mapping):
        return dump(cast("Mapping[str, object]", request), f"{row.name}: request")
    if not isinstance(request, row.request) or not isinstance(request, Body):
        raise InvalidArgumentError(
            f"{row.name}: request: expected {row.request.__name__}, got {type(request).__name__}"
        )
    return encode(request)


def _headers(row: Endpoint[Any, Any], key: str | None, lookup_token: str | None) -> Mapping[str, str]:
    if row.method == "GET":
        if key is not None:
            raise InvalidArgumentError(f"{row.name}: a GET takes no idempotency key")
        headers = _GET_HEADERS
    else:
        headers = _POST_HEADERS
    if key is not None:
        check_takes_key(row)
        headers = {**headers, KEY_HEADER: key}
    if lookup_token is not None:
        if not row.lookup_token:
            raise InvalidArgumentError(f"{row.name}: takes no lookup_token")
        headers = {**headers, TOKEN_HEADER: Secret(check_token(lookup_token))}
    return headers


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~-]*")
"""What a URL takes as it is; by its first character it is neither ``.`` nor ``..``."""


def segment(name: str, value: object) -> str:
    """Encode one path argument as one segment.

    Raises:
        InvalidArgumentError: Not text, empty, ``.``, ``..``, or with control characters.
    """
    if type(value) is str and _PLAIN.fullmatch(value):
        return value
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name}: expected text, got {value!r:.80}")
    if value in {"", ".", ".."}:
        raise InvalidArgumentError(f"{name}: {value!r} would reach another URL; pass the id")
    if _CONTROL.search(value):
        raise InvalidArgumentError(f"{name}: {value!r:.80} holds control characters")
    return _quoted(name, value)


def _quoted(name: str, text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{name}: {text!r:.80} is no valid Unicode text") from None


def fill(endpoint: Endpoint[Any, Any], template: str, arguments: tuple[object, ...]) -> str:
    """Put the path arguments, given in the order of the row's placeholders, into a template."""
    names, pieces = _plan(endpoint.path, template)
    if len(arguments) != len(names):
        wanted = ", ".join(names) or "none"
        raise InvalidArgumentError(f"{endpoint.name}: expected path arguments: {wanted}; got {len(arguments)}")
    if not names:
        return template
    path = ""
    for text, index in pieces:
        path += text if index is None else text + segment(names[index], arguments[index])
    return path


@functools.lru_cache(maxsize=256)
def _plan(path: str, template: str) -> tuple[tuple[str, ...], tuple[tuple[str, int | None], ...]]:
    """Take a template apart: the arguments' names, and its texts, each with the number of the argument behind it."""
    names = placeholders(path)
    parts = string.Formatter().parse(template)
    return names, tuple((text, None if name is None else names.index(name)) for text, name, _, _ in parts)


def query_string(values: Mapping[str, object]) -> str:
    """Encode query values, leaving out those that are None.

    Raises:
        InvalidArgumentError: A value that is neither text nor a number.
    """
    if not isinstance(cast("object", values), Mapping):
        raise InvalidArgumentError(f"query: expected a mapping of names to values, got {values!r:.80}")
    parts: list[str] = []
    for name, value in values.items():
        if value is None:
            continue
        if not isinstance(cast("object", name), str) or not _sendable(value):
            raise InvalidArgumentError(f"{name}: expected text or a number, got {value!r:.80}")
        parts.append(f"{_quoted('query', name)}={_quoted(name, str(value))}")
    return "?" + "&".join(parts) if parts else ""


def _sendable(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    return not isinstance(value, float) or math.isfinite(value)
