"""Find an endpoint by name, apply the user's overrides, or build one for ``client.request()``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import NoneType
from typing import Any, Final, TypeVar
from urllib.parse import quote, unquote

import attrs

from bardge_async._core.arguments import check_bool
from bardge_async.endpoints import ENDPOINTS, Endpoint, KeySupport, RepeatEffect, parse_placeholders
from bardge_async.errors import BardgeError, ConfigurationError, InvalidArgumentError
from bardge_async.models import Mark

Q = TypeVar("Q")
R = TypeVar("R")

# Rejects "." and ".." segments, which would reach another URL.
_TEMPLATE: Final = re.compile(r"(/(?!\.\.?(/|$))([A-Za-z0-9._~-]|\{\w+\})+)+")


def find_endpoint(
    endpoint: Endpoint[Any, Any] | str, error: type[BardgeError] = InvalidArgumentError
) -> Endpoint[Any, Any]:
    """Return an endpoint, given as itself or by name.

    Raises:
        BardgeError: The given ``error``: no endpoint has that name.
    """
    if isinstance(endpoint, Endpoint):
        return endpoint
    name: object = endpoint
    found = ENDPOINTS.get(name) if isinstance(name, str) else None
    if found is not None:
        return found
    raise error(f"endpoint: no endpoint is named {endpoint!r:.80}; see ENDPOINTS for the names")


def apply_path_overrides(paths: Mapping[str, str] | None) -> dict[str, str]:
    """Check the user's path overrides and return every endpoint's path by name.

    Raises:
        ConfigurationError: An unknown endpoint, a path without a leading slash, or placeholders that differ from the
            endpoint's.
    """
    table = {name: endpoint.path for name, endpoint in ENDPOINTS.items()}
    if paths is not None and not isinstance(paths, Mapping):
        raise ConfigurationError(f"paths: expected a mapping of endpoint names to paths, got {paths!r:.40}")
    for name, path in (paths or {}).items():
        if name not in table:
            msg = f"paths: no endpoint is named {name!r}; see ENDPOINTS for the names"
            raise ConfigurationError(msg)
        _check_path(name, path, table[name])
        table[name] = path
    return table


def apply_key_overrides(keyed: Mapping[str, bool] | None) -> dict[str, Endpoint[Any, Any]]:
    """Check what the user knows of keys and return the endpoints that differ from the table, by name.

    Raises:
        ConfigurationError: An unknown endpoint, one that is sent without a key, or a value that is not a bool.
    """
    if keyed is not None and not isinstance(keyed, Mapping):
        raise ConfigurationError(f"keyed: expected a mapping of endpoint names to True or False, got {keyed!r:.40}")
    corrected: dict[str, Endpoint[Any, Any]] = {}
    for name, is_honoured in (keyed or {}).items():
        endpoint = ENDPOINTS.get(name)
        if endpoint is None:
            raise ConfigurationError(f"keyed: no endpoint is named {name!r:.80}; see ENDPOINTS for the names")
        if not endpoint.takes_key:
            raise ConfigurationError(f"keyed[{name!r}]: a call of this endpoint carries no idempotency key; remove it")
        if not isinstance(is_honoured, bool):
            raise ConfigurationError(f"keyed[{name!r}]: expected True or False, got {is_honoured!r:.40}")
        if is_honoured is not endpoint.key_is_honoured:
            corrected[name] = attrs.evolve(endpoint, key=KeySupport.YES if is_honoured else KeySupport.UNPROVEN)
    return corrected


def distrust_key(endpoint: Endpoint[Q, R]) -> Endpoint[Q, R]:
    """Return an endpoint of which it is not known whether the server honours its key."""
    return attrs.evolve(endpoint, key=KeySupport.UNPROVEN) if endpoint.key_is_honoured else endpoint


def _check_path(name: str, path: str, original: str) -> None:
    try:
        found = parse_placeholders(path)
    except (ValueError, TypeError) as error:
        msg = f"paths[{name!r}]: {path!r} is not a path template: {error}"
        raise ConfigurationError(msg) from None
    wanted = parse_placeholders(original)
    if sorted(found) != sorted(wanted):
        need = ", ".join(f"{{{p}}}" for p in wanted) or "none"
        msg = f"paths[{name!r}]: {path!r} must contain the placeholders of {original!r}: {need}"
        raise ConfigurationError(msg)
    if not _TEMPLATE.fullmatch(path):
        msg = (
            f"paths[{name!r}]: {path!r} must start with / and consist of plain URL segments, without query or fragment"
        )
        raise ConfigurationError(msg)


_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
# The characters of a path segment besides letters and digits (RFC 3986, 3.3); % as escapes are already checked.
_SEGMENT_SAFE: Final = "-._~%!$&'()*+,;=:@"
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def custom_endpoint(method: str, path: str, response: type[R], *, body: bool, keyed: bool) -> Endpoint[Any, R]:
    """Build an endpoint for a request that is not in the table.

    Every method but GET is taken to charge, and its key to be unproven unless ``keyed``.

    Raises:
        InvalidArgumentError: An unknown method, or a path that could reach a different URL.
    """
    if method not in _METHODS:
        raise InvalidArgumentError(f"method: expected one of {', '.join(_METHODS)}, got {method!r:.40}")
    check_bool("keyed", keyed)
    is_get = method == "GET"
    return Endpoint(
        name=f"{method} {path}",
        method=method,
        path=_encode_custom_path(path),
        request=object if body else NoneType,
        response=response,
        mark=Mark.INFERRED,
        key=KeySupport.NO if is_get else KeySupport.YES if keyed else KeySupport.UNPROVEN,
        repeat_effect=None if is_get else RepeatEffect.DUPLICATES,
        lookup_token_mark=Mark.INFERRED,
    )


def _encode_custom_path(path: object) -> str:
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidArgumentError(f"path: expected text that starts with /, got {path!r:.80}")
    if any(c in path for c in "?#\\") or not path.isprintable() or _ESCAPE.search(path):
        raise InvalidArgumentError(f"path: {path!r:.80} contains ?, #, a backslash, a control character or a stray %")
    segments = path[1:].split("/")
    # Compare unquoted: a proxy may decode %2e%2e into a dot segment.
    if any(unquote(segment) in {"", ".", ".."} for segment in segments):
        raise InvalidArgumentError(f"path: {path!r:.80} contains an empty, . or .. segment and would reach another URL")
    return "/" + "/".join(quote(segment, safe=_SEGMENT_SAFE) for segment in segments)
