"""Argument checks."""

from __future__ import annotations

from bardge_async.errors import InvalidArgumentError


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
