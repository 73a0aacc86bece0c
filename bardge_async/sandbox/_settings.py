"""The sandbox's settings: what the vendor's pages leave open can be set either way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias, cast

import attrs

from bardge_async.endpoints import ENDPOINTS
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


def _check_drift(_: object, __: object, value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(cast("object", value), int)):
        raise InvalidArgumentError(f"drift: expected a whole number as seed, or None, got {value!r:.80}")


def _read_keyed(value: Mapping[str, bool] | Iterable[str]) -> Mapping[str, bool]:
    """Return whether endpoints honour keys, by name; names alone mean that they do."""
    if isinstance(value, str):
        raise InvalidArgumentError(
            f"keyed: expected endpoint names, or a mapping of them to True or False, got {value!r:.80}"
        )
    keyed = dict(cast("Mapping[str, bool]", value)) if isinstance(value, Mapping) else dict.fromkeys(value, True)
    for name, is_honoured in keyed.items():
        endpoint = ENDPOINTS.get(name)
        if endpoint is None or not endpoint.takes_key:
            raise InvalidArgumentError(f"keyed: {name!r:.80} is no endpoint that is sent with a key; see ENDPOINTS")
        if not isinstance(is_honoured, bool):
            raise InvalidArgumentError(f"keyed[{name!r}]: expected True or False, got {is_honoured!r:.40}")
    return MappingProxyType(keyed)


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
    drift: int | None = attrs.field(default=None, validator=_check_drift)
    keyed: Mapping[str, bool] = attrs.field(factory=dict[str, bool], converter=_read_keyed)

    def honours_key(self, name: str) -> bool:
        """Return whether an endpoint honours idempotency keys here."""
        return self.keyed.get(name, ENDPOINTS[name].key_is_honoured)
