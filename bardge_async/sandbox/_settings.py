"""The sandbox's settings: what the vendor's pages leave open can be set either way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from bardge_async._core.arguments import check_bool, check_int, check_number, check_path, check_text
from bardge_async.endpoints import ENDPOINTS
from bardge_async.errors import ConfigurationError

WindowFrom: TypeAlias = Literal["received", "completed"]

_MAX_PORT: Final = 65_535
_MAX_RESELLERS: Final = 1000


def _check_host(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_text(field.name, value, ConfigurationError)


def _check_port(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_int(field.name, value, 0, _MAX_PORT, ConfigurationError)


def _check_seed(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"{field.name}: expected a whole number, got {value!r:.40}")


def _check_resellers(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_int(field.name, value, 1, _MAX_RESELLERS, ConfigurationError)


def _check_seconds(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_number(field.name, value, error=ConfigurationError)


def _check_flag(_: object, field: attrs.Attribute[Any], value: object) -> None:
    check_bool(field.name, value, ConfigurationError)


def _check_window_from(_: object, __: object, value: object) -> None:
    if value not in ("received", "completed"):
        raise ConfigurationError(f'window_from: expected "received" or "completed", got {value!r:.40}')


def _to_path(value: object) -> Path:
    return check_path("db", value)


def _read_keyed(value: Mapping[str, bool] | Iterable[str]) -> Mapping[str, bool]:
    """Return whether endpoints honour keys, by name; names alone mean that they do."""
    given: object = value
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise ConfigurationError(
            f"keyed: expected endpoint names, or a mapping of them to True or False, got {value!r:.80}"
        )
    keyed = dict(cast("Mapping[str, bool]", value)) if isinstance(value, Mapping) else dict.fromkeys(value, True)
    for name, is_honoured in keyed.items():
        endpoint = ENDPOINTS.get(f"{name}")
        if endpoint is None or not endpoint.takes_key:
            raise ConfigurationError(f"keyed: {name!r:.80} is no endpoint that is sent with a key; see ENDPOINTS")
        if not isinstance(is_honoured, bool):
            raise ConfigurationError(f"keyed[{name!r}]: expected True or False, got {is_honoured!r:.40}")
    return MappingProxyType(keyed)


@attrs.frozen(kw_only=True)
class SandboxSettings:
    """Hold a sandbox's settings; ``latency`` and ``window`` are in seconds."""

    host: str = attrs.field(default="127.0.0.1", validator=_check_host)
    port: int = attrs.field(default=0, validator=_check_port)
    db: Path | None = attrs.field(default=None, converter=attrs.converters.optional(_to_path))
    seed: int = attrs.field(default=1, validator=_check_seed)
    resellers: int = attrs.field(default=3, validator=_check_resellers)
    latency: float = attrs.field(default=0.0, validator=_check_seconds)
    window: float = attrs.field(default=90.0, validator=_check_seconds)
    window_from: WindowFrom = attrs.field(default="received", validator=_check_window_from)
    cache_errors: bool = attrs.field(default=False, validator=_check_flag)
    drift: int | None = attrs.field(default=None, validator=attrs.validators.optional(_check_seed))
    keyed: Mapping[str, bool] = attrs.field(factory=dict[str, bool], converter=_read_keyed)

    def honours_key(self, name: str) -> bool:
        """Return whether an endpoint honours idempotency keys here."""
        return self.keyed.get(name, ENDPOINTS[name].key_is_honoured)
