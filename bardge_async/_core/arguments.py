"""Argument checks."""

from __future__ import annotations

from typing import Final

from bardge_async.errors import ConfigurationError, InvalidArgumentError

_MAX_SCHEMA_LENGTH: Final = 63
"""PostgreSQL cuts longer identifiers off."""


def check_int(name: str, value: object, minimum: int, maximum: int | None) -> None:
    """Reject anything but a whole number within the bounds; ``maximum`` None means no upper bound.

    Raises:
        InvalidArgumentError: The message gives the allowed range.
    """
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and value >= minimum
        and (maximum is None or value <= maximum)
    ):
        return
    allowed = f"{minimum} to {maximum}" if maximum is not None else f"{minimum} or more"
    raise InvalidArgumentError(f"{name}: expected a whole number, {allowed}, got {value!r:.40}")


def check_seconds(name: str, value: object, minimum: float) -> None:
    """Reject a setting that is not a number of seconds from ``minimum``.

    Raises:
        ConfigurationError: The message names the setting and the minimum.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= minimum:
        raise ConfigurationError(f"{name}: expected a number of seconds from {minimum:g}, got {value!r:.40}")


def check_schema(schema: str) -> None:
    """Reject a name of a PostgreSQL schema that people would have to quote (keywords are quoted for them).

    Raises:
        ConfigurationError: The message says what is allowed.
    """
    if not (schema.isidentifier() and schema.isascii() and schema.islower()) or len(schema) > _MAX_SCHEMA_LENGTH:
        raise ConfigurationError(f"schema: expected lower-case letters, digits, underscores, got {schema!r:.40}")
