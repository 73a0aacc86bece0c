"""Faults on purpose: what can go wrong on the line, as values that are checked where they are made."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from bardge_async.endpoints import ENDPOINTS
from bardge_async.errors import InvalidArgumentError


class FaultKind(enum.StrEnum):
    """Tell what goes wrong."""

    CUT_BEFORE = "cut_before"
    """The connection is aborted before any work was done."""
    CUT_AFTER = "cut_after"
    """The connection is aborted after the work was committed."""
    LATENCY = "latency"
    """The request waits for ``seconds``, then all goes well; ``after`` lets the answer wait, not the work."""
    STATUS = "status"
    """Another answer with ``status``, in place of the work or ``after`` it; ``error`` False makes it a proxy's page."""
    TRUNCATE = "truncate"
    """The work is done, and the connection ends after ``keep`` bytes of the body."""
    DRIP = "drip"
    """The work is done, and its answer comes in pieces that take ``seconds`` in all."""
    MALFORMED = "malformed"
    """The work is done, and the body is no valid JSON."""
    LIMIT = "limit"
    """Beyond ``rate`` requests in one second, 429 in place of the work; a turn is used up by each of these."""


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
    if value is not None and value not in ENDPOINTS:
        raise InvalidArgumentError(f"Fault.endpoint: no endpoint is named {value!r}; see ENDPOINTS for the names")


def _int_between(low: int, high: float = math.inf) -> Any:  # noqa: ANN401 - an attrs validator
    def check_int(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high):
            wanted = f"{low} or more" if high == math.inf else f"{low} to {high}"
            raise InvalidArgumentError(f"Fault.{field.name}: expected a whole number, {wanted}, got {value!r}")

    return check_int


def _check_seconds(_: object, field: attrs.Attribute[Any], value: object) -> None:
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
    """Plan one fault, for the next ``times`` requests to ``endpoint`` (a row's name; None: to any).

    Attributes:
        kind: What goes wrong; it decides which of the fields below it takes.
        endpoint: The name of a row, such as ``"credits.purchase"``.
        times: How many requests it hits; None: until it is cleared. By default one, and None for a limit.
        seconds: How long it takes, by the sandbox's clock.
        status: The HTTP status, 200 to 599.
        retry_after: The header of that name: seconds, or text as it is (a date). A limit's is 1 by default.
        error: Whether the answer bears the API's error object; without it, it is a page as from a proxy in between.
        after: Whether it comes after the work.
        keep: How many bytes of the body arrive; by default half of it.
        rate: How many requests one second of the sandbox's clock may hold.

    Raises:
        InvalidArgumentError: An unknown kind or endpoint, a value out of its range, or a field that the kind does not
            take or lacks.
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
                raise InvalidArgumentError(f"Fault.{name}: a fault of kind {self.kind} takes none")
            if not given and name in takes & _REQUIRED:
                raise InvalidArgumentError(f"Fault.{name}: a fault of kind {self.kind} needs it")

    @property
    def replaces_work(self) -> bool:
        """Whether the work is not done at all."""
        plain = self.kind is FaultKind.STATUS and not self.after
        return plain or self.kind in {FaultKind.CUT_BEFORE, FaultKind.LIMIT}


_NAMES: Final = frozenset(field.name for field in attrs.fields(Fault))


def fault_from_json(values: object) -> Fault:
    """Read a fault from JSON.

    Raises:
        InvalidArgumentError: It is no object, or one that :class:`Fault` refuses.
    """
    if not isinstance(values, dict):
        raise InvalidArgumentError(f"Fault: expected an object, got {values!r:.80}")
    fields = cast("dict[str, Any]", values)
    unknown = sorted(fields.keys() - _NAMES)
    if unknown:
        raise InvalidArgumentError(f"Fault: unknown fields {', '.join(unknown)}")
    if "kind" not in fields:
        raise InvalidArgumentError("Fault.kind: it is missing")
    return Fault(**fields)


def fault_to_json(fault: Fault) -> dict[str, Any]:
    """Make JSON of a fault, without what it leaves at the default."""
    given = {f.name: getattr(fault, f.name) for f in attrs.fields(Fault) if getattr(fault, f.name) != f.default}
    return {**given, "times": fault.times}
