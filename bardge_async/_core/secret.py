"""Text that must not show: the API key and what holds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, cast

import attrs

from bardge_async.errors import ConfigurationError

_HIDDEN: Final = "***"


class Secret(str):
    """Hold a secret as text whose ``repr`` and ``format`` are redacted.

    ``str`` stays as it is, since the wire needs the text itself.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_HIDDEN)

    def __format__(self, spec: str) -> str:
        return _HIDDEN


class SecretBytes(bytes):
    """Hold bytes with a secret in them; neither ``repr`` nor ``str`` nor ``format`` shows them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"b{_HIDDEN!r}"

    __str__ = __repr__


ApiKeySource: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""The API key, or a callable that returns it or an awaitable of it."""


@attrs.frozen
class UnusableApiKey:
    """Stand for a key of a wrong type, which nobody keeps: bytes would show in every frame."""

    kind: str


def hide_api_key(key: object) -> ApiKeySource | UnusableApiKey | None:
    """Redact a key before anything can raise with it among the locals; this never raises."""
    if isinstance(key, str):
        return Secret(key)
    if key is None or callable(key):
        return cast("ApiKeySource | None", key)
    return UnusableApiKey(type(key).__name__)


def require_usable(key: ApiKeySource | UnusableApiKey) -> ApiKeySource:
    """Return what is a key or gives one.

    Raises:
        ConfigurationError: It was neither text nor a callable.
    """
    if isinstance(key, UnusableApiKey):
        raise ConfigurationError(f"api_key: expected text or a callable, got {key.kind}")
    return key
