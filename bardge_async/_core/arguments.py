"""Argument checks: those of methods raise ``InvalidArgumentError``, those of constructors ``ConfigurationError``."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

from bardge_async.errors import BardgeError, ConfigurationError, InvalidArgumentError

_MAX_SCHEMA_LENGTH: Final = 63
"""PostgreSQL cuts longer identifiers off."""


def check_int(
    name: str,
    value: object,
    minimum: int,
    maximum: int | None,
    error: type[BardgeError] = InvalidArgumentError,
) -> None:
    """Reject anything but a whole number within the bounds; ``maximum`` None means no upper bound.

    Raises:
        BardgeError: The given ``error``; the message gives the allowed range.
    """
    if (
        isinstance(value, int)
        and not isinstance(value, bool)
        and value >= minimum
        and (maximum is None or value <= maximum)
    ):
        return
    allowed = f"{minimum} to {maximum}" if maximum is not None else f"{minimum} or more"
    raise error(f"{name}: expected a whole number, {allowed}, got {value!r:.40}")


def check_number(
    name: str,
    value: object,
    minimum: float = 0,
    maximum: float = math.inf,
    error: type[BardgeError] = InvalidArgumentError,
) -> None:
    """Reject anything but a finite number within the bounds.

    Raises:
        BardgeError: The given ``error``; the message gives the allowed range.
    """
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and minimum <= value <= maximum
        and value < math.inf
    ):
        return
    allowed = f"of at least {minimum:g}" if maximum == math.inf else f"from {minimum:g} to {maximum:g}"
    raise error(f"{name}: expected a number {allowed}, got {value!r:.40}")


def check_bool(name: str, value: object, error: type[BardgeError] = InvalidArgumentError) -> None:
    """Reject anything but ``True`` and ``False``: ``"no"`` and ``None`` would pass for one of them.

    Raises:
        BardgeError: The given ``error``.
    """
    if not isinstance(value, bool):
        raise error(f"{name}: expected True or False, got {value!r:.40}")


def check_text(name: str, value: object, error: type[BardgeError] = InvalidArgumentError) -> None:
    """Reject anything but text that is not empty.

    Raises:
        BardgeError: The given ``error``.
    """
    if not isinstance(value, str) or not value:
        raise error(f"{name}: expected text, got {value!r:.80}")


def check_seconds(name: str, value: object, minimum: float) -> None:
    """Reject a setting that is not a number of seconds from ``minimum``.

    Raises:
        ConfigurationError: The message names the setting and the minimum.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= minimum:
        raise ConfigurationError(f"{name}: expected a number of seconds from {minimum:g}, got {value!r:.40}")


def check_path(name: str, value: object) -> Path:
    """Return the path of a file that is to be opened.

    Raises:
        ConfigurationError: It is not text or a path object, or no file can have this name.
    """
    path: object = os.fspath(value) if isinstance(value, os.PathLike) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if not isinstance(path, str) or not path:
        raise ConfigurationError(f"{name}: expected the path of a file, got {value!r:.80}")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{name}: {path!r:.80} is not valid Unicode text; give the file another name"
        ) from None
    if "\0" in path:
        raise ConfigurationError(f"{name}: {path!r:.80} contains NUL, which no file name can")
    return Path(path)


def check_schema(schema: object) -> None:
    """Reject a name of a PostgreSQL schema that people would have to quote (keywords are quoted for them).

    Raises:
        ConfigurationError: The message says what is allowed.
    """
    if (
        not isinstance(schema, str)
        or not (schema.isidentifier() and schema.isascii() and schema.islower())
        or len(schema) > _MAX_SCHEMA_LENGTH
    ):
        raise ConfigurationError(f"schema: expected lower-case letters, digits, underscores, got {schema!r:.40}")
