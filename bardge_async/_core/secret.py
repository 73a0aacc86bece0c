"""Text that must not be printed: the API key and the headers that contain it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, cast

import attrs

from bardge_async.errors import ConfigurationError

_HIDDEN: Final = "***"


class Secret(str):
    """Hold a secret as text with a redacted ``repr`` and ``format``.

    ``str`` is not redacted: the request needs the text itself.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_HIDDEN)

    def __format__(self, spec: str) -> str:
        return _HIDDEN


class SecretBytes(bytes):
    """Hold bytes that contain a secret, with a redacted ``repr``, ``str`` and ``format``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"b{_HIDDEN!r}"

    __str__ = __repr__


ApiKeySource: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""The API key, or a callable that returns it, sync or async."""


@attrs.frozen
class UnusableApiKey:
    """Stand in for a key or token of a wrong type. The value is not kept: bytes would show in tracebacks with locals."""

    kind: str


def hide_api_key(key: object) -> ApiKeySource | UnusableApiKey | None:
    """Wrap a key in :class:`Secret` before anything can raise with it among the locals; never raises."""
    if isinstance(key, str):
        return Secret(key)
    if key is None or callable(key):
        return cast("ApiKeySource | None", key)
    return UnusableApiKey(type(key).__name__)


def hide_token(token: str | None) -> str | None:
    """Wrap a lookup token in :class:`Secret`, first of all, so that no frame of a traceback holds it; never raises."""
    if token is None or isinstance(token, Secret):
        return token
    if isinstance(cast("object", token), str):
        return Secret(token)
    # Refused where the request is built, as a wrong type.
    return cast("str", UnusableApiKey(type(token).__name__))


def hide_given_key(key: object) -> ApiKeySource | UnusableApiKey:
    """Wrap a key that must be given: None, from an unset variable perhaps, must not stand for another account's key."""
    hidden = hide_api_key(key)
    return UnusableApiKey("None") if hidden is None else hidden


def require_usable(key: ApiKeySource | UnusableApiKey) -> ApiKeySource:
    """Return the key or its callable.

    Raises:
        ConfigurationError: It is neither text nor a callable.
    """
    if isinstance(key, UnusableApiKey):
        raise ConfigurationError(f"api_key: expected text or a callable, got {key.kind}")
    return key
