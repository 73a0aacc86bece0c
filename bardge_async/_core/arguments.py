"""Checks of arguments, one of each kind."""

from __future__ import annotations

from bardge_async.errors import InvalidArgumentError


def check_whole(name: str, value: object, least: int, most: int | None) -> None:
    """Refuse anything but a whole number within its bounds.

    Raises:
        InvalidArgumentError: With the allowed range.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= least and (most is None or value <= most):
        return
    allowed = f"{least} to {most}" if most is not None else f"{least} or more"
    raise InvalidArgumentError(f"{name}: expected a whole number, {allowed}, got {value!r:.40}")
