"""Faults on purpose: what goes wrong on the line, scripted per endpoint."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import attrs

from bardge_async.endpoints import ENDPOINTS
from bardge_async.errors import InvalidArgumentError


class FaultKind(enum.StrEnum):
    """Tell what goes wrong."""

    CUT_BEFORE = "cut_before"
    """The connection is aborted before any work was done."""
    CUT_AFTER = "cut_after"
    """The connection is aborted after the work was committed."""


def _known_row(_: object, __: object, value: str | None) -> None:
    if value is not None and value not in ENDPOINTS:
        raise InvalidArgumentError(f"Fault.endpoint: no endpoint is named {value!r}; see ENDPOINTS for the names")


def _at_least_once(_: object, __: object, value: int) -> None:
    if value < 1:
        raise InvalidArgumentError(f"Fault.times: expected one or more, got {value!r}")


def _kind(value: FaultKind | str) -> FaultKind:
    try:
        return FaultKind(value)
    except ValueError:
        kinds = ", ".join(FaultKind)
        raise InvalidArgumentError(f"Fault.kind: expected one of {kinds}, got {value!r}") from None


@attrs.frozen(kw_only=True)
class Fault:
    """Plan one fault: for the next ``times`` requests to ``endpoint`` (a row's name; None: to any).

    Raises:
        InvalidArgumentError: An unknown kind or endpoint, or ``times`` below one.
    """

    kind: FaultKind = attrs.field(converter=_kind)
    endpoint: str | None = attrs.field(default=None, validator=_known_row)
    times: int = attrs.field(default=1, validator=_at_least_once)


class Faults:
    """Hold the scripted faults; the first that fits a request is taken."""

    def __init__(self) -> None:
        self._script: list[Fault] = []

    def script(self, faults: Iterable[Fault]) -> None:
        """Add faults behind those that are still to come."""
        self._script.extend(faults)

    def clear(self) -> None:
        """Forget what is still to come."""
        self._script.clear()

    @property
    def pending(self) -> tuple[Fault, ...]:
        """What is still to come, in order."""
        return tuple(self._script)

    def take(self, endpoint: str | None) -> Fault | None:
        """Use up one turn of the first fault that fits the row, if there is one."""
        for place, fault in enumerate(self._script):
            if fault.endpoint in (None, endpoint):
                rest = [attrs.evolve(fault, times=fault.times - 1)] if fault.times > 1 else []
                self._script[place : place + 1] = rest
                return fault
        return None
