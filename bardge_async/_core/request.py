"""Build a request from an endpoint and its arguments, once, so that every attempt sends the same bytes."""

from __future__ import annotations

import functools
import math
import platform
import re
import string
from collections.abc import Mapping
from types import MappingProxyType, NoneType
from typing import Any, Final, cast
from urllib.parse import quote

from bardge_async._core.converter import check_response_class, dump_body, dump_json
from bardge_async._core.custom_endpoints import apply_key_overrides, apply_path_overrides, custom_endpoint
from bardge_async._core.destination import check_destination
from bardge_async._core.entry import JournalEntry
from bardge_async._core.http import (
    KEY_HEADER,
    TOKEN_HEADER,
    PreparedRequest,
    check_token,
    make_prepared_request,
)
from bardge_async._core.keys import check_takes_key
from bardge_async._core.secret import Secret
from bardge_async._version import __version__
from bardge_async.endpoints import ENDPOINTS, Endpoint, parse_placeholders
from bardge_async.errors import InvalidArgumentError
from bardge_async.models import Body, Unset

MAX_BODY_BYTES: Final = 1024 * 1024
"""Far above any request body of the API."""
_JSON: Final = "application/json"
_GET_HEADERS: Final[Mapping[str, str]] = {
    "Accept": _JSON,
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": f"bardge-async/{__version__} Python/{platform.python_version()}",
}
_POST_HEADERS: Final[Mapping[str, str]] = {**_GET_HEADERS, "Content-Type": _JSON}


class RequestBuilder:
    """Build requests for one base URL, with the user's overrides: paths, and endpoints whose key the user corrects."""

    def __init__(
        self,
        base_url: str,
        paths: Mapping[str, str] = MappingProxyType({}),
        key_overrides: Mapping[str, Endpoint[Any, Any]] = MappingProxyType({}),
    ) -> None:
        self.base_url = base_url
        self.paths = paths
        self._key_overrides = key_overrides

    def with_overrides(
        self, paths: Mapping[str, str] | Unset | None, keyed: Mapping[str, bool] | Unset | None
    ) -> RequestBuilder:
        """Return a builder with other overrides; those not given stay.

        Raises:
            ConfigurationError: An override is invalid.
        """
        return RequestBuilder(
            self.base_url,
            self.paths if isinstance(paths, Unset) else apply_path_overrides(paths),
            self._key_overrides if isinstance(keyed, Unset) else apply_key_overrides(keyed),
        )

    def build(
        self,
        endpoint: Endpoint[Any, Any],
        arguments: tuple[object, ...],
        *,
        request: object = None,
        query: Mapping[str, object] | None = None,
        key: str | None = None,
        lookup_token: str | None = None,
        given: bool = False,
    ) -> PreparedRequest:
        """Build a request; ``given`` says that the caller chose the key.

        Raises:
            InvalidArgumentError: An argument that the endpoint does not take, or that cannot be sent.
            IdempotencyMisuseError: A key for an endpoint that takes none.
        """
        url = self.base_url + fill_path(endpoint, self.paths.get(endpoint.name, endpoint.path), arguments)
        is_custom = ENDPOINTS.get(endpoint.name) is not endpoint
        if self._key_overrides and not is_custom:
            endpoint = self._key_overrides.get(endpoint.name, endpoint)
        if query:
            url += encode_query(query)
        headers = _build_headers(endpoint, key, lookup_token)
        if is_custom:
            check_response_class(endpoint.response)
        return make_prepared_request(
            endpoint, url, _encode_body(endpoint, request), headers, key, given, key is not None and not given
        )

    def endpoint_of(self, entry: JournalEntry) -> Endpoint[Any, Any]:
        """Return the endpoint of a journal entry."""
        endpoint = self._key_overrides.get(entry.endpoint) or ENDPOINTS.get(entry.endpoint)
        if endpoint is not None:
            return endpoint
        method, _, path = entry.endpoint.partition(" ")
        return custom_endpoint(method, path, object, body=entry.body is not None, keyed=entry.key_honoured is True)

    def rebuild(self, entry: JournalEntry) -> PreparedRequest:
        """Rebuild the request of a journal entry: the same bytes under the same key.

        Raises:
            JournalError: The entry's URL is not below the base URL.
        """
        check_destination(entry, self.base_url)
        endpoint, key = self.endpoint_of(entry), entry.identity.key
        return PreparedRequest(endpoint, entry.url, entry.body, _build_headers(endpoint, key, None), key, entry.given)


def _encode_body(endpoint: Endpoint[Any, Any], request: object) -> bytes | None:
    if endpoint.request is NoneType:
        if request is not None:
            raise InvalidArgumentError(f"{endpoint.name}: takes no request object, got {type(request).__name__}")
        return None
    body = _encode_request(endpoint, request)
    if len(body) > MAX_BODY_BYTES:
        raise InvalidArgumentError(
            f"{endpoint.name}: request: {len(body)} bytes of JSON, more than the limit of {MAX_BODY_BYTES}; send less"
        )
    return body


def _encode_request(endpoint: Endpoint[Any, Any], request: object) -> bytes:
    if endpoint.request is object and isinstance(request, Mapping):
        return dump_json(cast("Mapping[str, object]", request), f"{endpoint.name}: request")
    if not isinstance(request, endpoint.request) or not isinstance(request, Body):
        raise InvalidArgumentError(
            f"{endpoint.name}: request: expected {endpoint.request.__name__}, got {type(request).__name__}"
        )
    return dump_body(request)


def _build_headers(endpoint: Endpoint[Any, Any], key: str | None, lookup_token: str | None) -> Mapping[str, str]:
    if endpoint.method == "GET":
        if key is not None:
            raise InvalidArgumentError(f"{endpoint.name}: a GET takes no idempotency key")
        headers = _GET_HEADERS
    else:
        headers = _POST_HEADERS
    if key is not None:
        check_takes_key(endpoint)
        headers = {**headers, KEY_HEADER: key}
    if lookup_token is not None:
        if not endpoint.lookup_token:
            raise InvalidArgumentError(f"{endpoint.name}: takes no lookup_token")
        headers = {**headers, TOKEN_HEADER: Secret(check_token(lookup_token))}
    return headers


_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


_PLAIN_SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~-]*")
"""Needs no encoding. The first character excludes ``.`` and ``..``, which would reach another URL."""


def encode_segment(name: str, value: object) -> str:
    """Encode a path argument as one segment.

    Raises:
        InvalidArgumentError: It is not text, is empty, ``.`` or ``..``, or contains control characters.
    """
    if type(value) is str and _PLAIN_SEGMENT.fullmatch(value):
        return value
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name}: expected text, got {value!r:.80}")
    if value in {"", ".", ".."}:
        raise InvalidArgumentError(f"{name}: {value!r} would reach another URL; pass the id")
    if _CONTROL_CHARACTER.search(value):
        raise InvalidArgumentError(f"{name}: {value!r:.80} contains control characters")
    return _quote_text(name, value)


def _quote_text(name: str, text: str) -> str:
    if _PLAIN_SEGMENT.fullmatch(text):
        return text
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{name}: {text!r:.80} is not valid Unicode text") from None


def fill_path(endpoint: Endpoint[Any, Any], template: str, arguments: tuple[object, ...]) -> str:
    """Fill a path template with the arguments, in the order of the endpoint's placeholders."""
    names, pieces = _parse_template(endpoint.path, template)
    if len(arguments) != len(names):
        wanted = ", ".join(names) or "none"
        raise InvalidArgumentError(f"{endpoint.name}: expected path arguments: {wanted}; got {len(arguments)}")
    if not names:
        return template
    path = ""
    for text, index in pieces:
        path += text if index is None else text + encode_segment(names[index], arguments[index])
    return path


@functools.lru_cache(maxsize=256)
def _parse_template(path: str, template: str) -> tuple[tuple[str, ...], tuple[tuple[str, int | None], ...]]:
    """Return the argument names, and the template as pieces: text, and the index of the argument that follows it."""
    names = parse_placeholders(path)
    parts = string.Formatter().parse(template)
    return names, tuple((text, None if name is None else names.index(name)) for text, name, _, _ in parts)


def encode_query(values: Mapping[str, object]) -> str:
    """Encode query parameters, leaving out those that are None.

    Raises:
        InvalidArgumentError: A value is neither text nor a finite number.
    """
    if not isinstance(cast("object", values), Mapping):
        raise InvalidArgumentError(f"query: expected a mapping of names to values, got {values!r:.80}")
    parts: list[str] = []
    for name, value in values.items():
        if value is None:
            continue
        if not isinstance(cast("object", name), str) or not _is_sendable(value):
            raise InvalidArgumentError(f"{name}: expected text or a number, got {value!r:.80}")
        parts.append(f"{_quote_text('query', name)}={_quote_text(name, str(value))}")
    return "?" + "&".join(parts) if parts else ""


def _is_sendable(value: object) -> bool:
    # bool is an int, but would be sent as "True".
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    return not isinstance(value, float) or math.isfinite(value)
