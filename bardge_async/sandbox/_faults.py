"""Injected faults: what can go wrong on the network, as values that are validated on creation."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from bardge_async.endpoints import ENDPOINTS
from bardge_async.errors import InvalidArgumentError


class FaultKind(enum.StrEnum):
    """Name what goes wrong."""

    CUT_BEFORE = "cut_before"
    """The connection is aborted before any work is done."""
    CUT_AFTER = "cut_after"
    """The connection is aborted after the work is committed."""
    LATENCY = "latency"
    """The request is delayed by ``seconds``, then succeeds; ``after`` delays the response instead of the work."""
    STATUS = "status"
    """A response with ``status``, in place of the work or ``after`` it; ``error=False`` makes it a proxy's page."""
    TRUNCATE = "truncate"
    """The work is done, and the connection is closed after ``keep`` bytes of the body."""
    DRIP = "drip"
    """The work is done, and the body arrives in pieces over ``seconds`` in total."""
    MALFORMED = "malformed"
    """The work is done, and the body is not valid JSON."""
    LIMIT = "limit"
    """Beyond ``rate`` requests in one second, 429 in place of the work; only these count towards ``times``."""


_FIELDS: Final[Mapping[FaultKind, frozenset[str]]] = {
    FaultKind.CUT_BEFORE: frozenset(),
    FaultKind.CUT_AFTER: frozenset(),
    FaultKind.LATENCY: frozenset({"seconds", "after"}),
    FaultKind.STATUS: frozenset({"status", "retry_after", "error", "after"}),
    FaultKind.TRUNCATE: frozenset({"keep"}),
    FaultKind.DRIP: frozenset({"seconds"}),
    FaultKind.MALFORMED: frozenset(),
    FaultKind.LIMIT: frozenset({"rate", "retry_after", "error"}),
}
_REQUIRED: Final = frozenset({"seconds", "status", "rate"})


def _check_endpoint(_: object, __: object, value: str | None) -> None:
    # A tuple, since the value may be of any type, hashable or not.
    if value is not None and value not in tuple(ENDPOINTS):
        raise InvalidArgumentError(f"Fault.endpoint: no endpoint is named {value!r}; see ENDPOINTS for the names")


def _int_between(low: int, high: float = math.inf) -> Any:  # noqa: ANN401 - an attrs validator
    def check_int(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high):
            wanted = f"{low} or more" if high == math.inf else f"{low} to {high}"
            raise InvalidArgumentError(f"Fault.{field.name}: expected a whole number, {wanted}, got {value!r}")

    return check_int


def _check_seconds(_: object, field: attrs.Attribute[Any], value: object) -> None:
    # Printable: a line break would start another header.
    if value is None or (isinstance(value, str) and field.name == "retry_after" and value.isprintable()):
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise InvalidArgumentError(f"Fault.{field.name}: expected seconds, zero or more, got {value!r}")


def _check_bool(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"Fault.{field.name}: expected true or false, got {value!r}")


def _to_kind(value: FaultKind | str) -> FaultKind:
    try:
        return FaultKind(value)
    except ValueError:
        kinds = ", ".join(FaultKind)
        raise InvalidArgumentError(f"Fault.kind: expected one of {kinds}, got {value!r}") from None


def _default_times(fault: Fault) -> int | None:
    return None if fault.kind is FaultKind.LIMIT else 1


@attrs.frozen(kw_only=True)
class Fault:
    """Plan one fault for the next ``times`` requests to ``endpoint`` (its name; None: any endpoint).

    Attributes:
        kind: What goes wrong; it decides which of the fields below apply.
        endpoint: An endpoint's name, such as ``"credits.purchase"``.
        times: How many requests it affects; None: all until it is cleared. Default: 1, for a limit None.
        seconds: Duration by the sandbox's clock.
        status: HTTP status, 200 to 599.
        retry_after: The ``Retry-After`` header: seconds, or text sent as it is (a date). Default for a limit: 1.
        error: Whether the response carries the API's error object; otherwise it is an HTML page, as from a proxy.
        after: Whether it happens after the work.
        keep: How many bytes of the body are sent; default: half of it.
        rate: How many requests are allowed in one second of the sandbox's clock.

    Raises:
        InvalidArgumentError: An unknown kind or endpoint, a value out of range, a field that does not apply to the
            kind, or a missing one that it requires.
    """

    kind: FaultKind = attrs.field(converter=_to_kind)
    endpoint: str | None = attrs.field(default=None, validator=_check_endpoint)
    times: int | None = attrs.field(default=attrs.Factory(_default_times, takes_self=True), validator=_int_between(1))
    seconds: float | None = attrs.field(default=None, validator=_check_seconds)
    status: int | None = attrs.field(default=None, validator=_int_between(200, 599))
    retry_after: float | str | None = attrs.field(default=None, validator=_check_seconds)
    error: bool = attrs.field(default=True, validator=_check_bool)
    after: bool = attrs.field(default=False, validator=_check_bool)
    keep: int | None = attrs.field(default=None, validator=_int_between(0))
    rate: int | None = attrs.field(default=None, validator=_int_between(1))

    def __attrs_post_init__(self) -> None:
        takes = _FIELDS[self.kind]
        for field in attrs.fields(Fault):
            name = field.name
            if name in {"kind", "endpoint", "times"}:
                continue
            given = getattr(self, name) != field.default
            if given and name not in takes:
                raise InvalidArgumentError(f"Fault.{name}: does not apply to a fault of kind {self.kind}; leave it out")
            if not given and name in takes & _REQUIRED:
                raise InvalidArgumentError(f"Fault.{name}: required for a fault of kind {self.kind}")

    @property
    def replaces_work(self) -> bool:
        """Whether the work is skipped."""
        plain = self.kind is FaultKind.STATUS and not self.after
        return plain or self.kind in {FaultKind.CUT_BEFORE, FaultKind.LIMIT}


_NAMES: Final = frozenset(field.name for field in attrs.fields(Fault))


def fault_from_json(values: object) -> Fault:
    """Read a fault from JSON.

    Raises:
        InvalidArgumentError: It is not an object, or :class:`Fault` rejects its fields.
    """
    if not isinstance(values, dict):
        raise InvalidArgumentError(f"Fault: expected an object, got {values!r:.80}")
    fields = cast("dict[str, Any]", values)
    unknown = sorted(fields.keys() - _NAMES)
    if unknown:
        raise InvalidArgumentError(f"Fault: unknown fields {', '.join(unknown)}")
    if "kind" not in fields:
        raise InvalidArgumentError(f"Fault.kind: required; expected one of {', '.join(FaultKind)}")
    return Fault(**fields)


def fault_to_json(fault: Fault) -> dict[str, Any]:
    """Return a fault as JSON, without fields at their defaults."""
    given = {f.name: getattr(fault, f.name) for f in attrs.fields(Fault) if getattr(fault, f.name) != f.default}
    return {**given, "times": fault.times}
