"""The sandbox's settings: what the vendor's pages leave open can be set either way."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import attrs

from bardge_async.errors import InvalidArgumentError

WindowFrom: TypeAlias = Literal["received", "completed"]


def _check_not_negative(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    # Not ``value < 0``, which would accept NaN.
    if not value >= 0:
        raise InvalidArgumentError(f"{attribute.name}: expected zero or more, got {value!r}")


def _check_window_from(_: object, __: object, value: str) -> None:
    if value not in ("received", "completed"):
        raise InvalidArgumentError(f'window_from: expected "received" or "completed", got {value!r}')


def _check_resellers(_: object, __: object, value: int) -> None:
    if value < 1:
        raise InvalidArgumentError(f"resellers: expected one or more, got {value!r}")


@attrs.frozen(kw_only=True)
class SandboxSettings:
    """Hold a sandbox's settings; ``latency`` and ``window`` are in seconds."""

    host: str = "127.0.0.1"
    port: int = 0
    db: Path | None = attrs.field(default=None, converter=attrs.converters.optional(Path))
    seed: int = 1
    resellers: int = attrs.field(default=3, validator=_check_resellers)
    latency: float = attrs.field(default=0.0, validator=_check_not_negative)
    window: float = attrs.field(default=90.0, validator=_check_not_negative)
    window_from: WindowFrom = attrs.field(default="received", validator=_check_window_from)
    cache_errors: bool = False
    unproven_keys: bool = False
