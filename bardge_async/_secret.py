"""Text that must not show: the API key and what holds it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, cast

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


KeySource: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""The API key, or a callable that returns it or an awaitable of it."""


def hidden(key: object) -> KeySource | None:
    """Redact a key before anything can raise with it among the locals."""
    if isinstance(key, str):
        return Secret(key)
    if key is None or callable(key):
        return cast("KeySource | None", key)
    kind = type(key).__name__
    del key
    raise ConfigurationError(f"api_key: expected text or a callable, got {kind}")
