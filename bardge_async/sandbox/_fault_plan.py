"""Choose the fault for each request: scripted ones in order, limits by the clock, others at random."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, cast

import attrs

from bardge_async._core.arguments import check_int, check_number
from bardge_async.errors import InvalidArgumentError
from bardge_async.sandbox._faults import Fault, FaultKind

DEFAULT_RANDOM_FAULTS: Final = (
    Fault(kind="cut_before"),
    Fault(kind="cut_after"),
    Fault(kind="truncate"),
    Fault(kind="status", status=502, error=False),
    Fault(kind="status", status=503, error=False),
    Fault(kind="status", status=504, error=False, after=True),
)
"""What :meth:`FaultPlan.random` chooses from by default: network failures that a good client survives."""


# Compared by identity: remove() must find this very fault and not an equal one.
@attrs.define(eq=False)
class _PlannedFault:
    """A scripted fault; ``recent`` holds the times of the requests that a limit let through in the last second."""

    fault: Fault
    recent: deque[float] = attrs.field(factory=deque[float])

    def applies_to(self, endpoint: str | None, now: float) -> bool:
        """Return whether the fault applies to a request; a limit counts the request as well."""
        if self.fault.endpoint not in {None, endpoint}:
            return False
        if self.fault.rate is None:
            return True
        # A sliding window of one second.
        while self.recent and self.recent[0] <= now - 1:
            self.recent.popleft()
        if len(self.recent) < self.fault.rate:
            self.recent.append(now)
            return False
        return True


@attrs.frozen
class RandomFaults:
    """The arguments of :meth:`FaultPlan.random`."""

    rate: float
    seed: int
    faults: Sequence[Fault]
    endpoint: str | None


class FaultPlan:
    """Plan faults: a request gets the first scripted fault that applies to it, otherwise perhaps a random one."""

    def __init__(self) -> None:
        self._planned: list[_PlannedFault] = []
        self._random_faults: RandomFaults | None = None
        self._random = random.Random()  # noqa: S311 - seeded, to be reproducible

    def script(self, faults: Iterable[Fault]) -> None:
        """Add faults after those still pending.

        Raises:
            InvalidArgumentError: Something else than faults.
        """
        self._planned.extend([_PlannedFault(fault) for fault in _check_faults(faults)])

    def random(
        self, rate: float, seed: int, faults: Sequence[Fault] = DEFAULT_RANDOM_FAULTS, *, endpoint: str | None = None
    ) -> None:
        """Fail a share of the requests at random, the same ones for the same seed; a rate of 0 turns it off.

        ``faults`` are the choices, by default network failures: cut connections, truncated bodies, a proxy's error
        pages. Their ``times`` is ignored. ``endpoint`` restricts the faults to one endpoint.

        Raises:
            InvalidArgumentError: A rate outside of 0 to 1, an unknown endpoint, no faults, or a limit among them.
        """
        check_number("rate", rate, 0, 1)
        check_int("seed", seed, -(2**63), 2**63)
        faults = _check_faults(faults)
        if not faults or any(fault.kind is FaultKind.LIMIT for fault in faults):
            raise InvalidArgumentError("faults: expected at least one, and none of kind limit; add a limit by script()")
        # Created for its check of the endpoint's name only.
        Fault(kind="cut_before", endpoint=endpoint)
        self._random_faults = RandomFaults(rate, seed, faults, endpoint) if rate else None
        self._random.seed(seed)

    def clear(self) -> None:
        """Remove all pending faults, and turn random ones off."""
        self._planned.clear()
        self._random_faults = None

    @property
    def pending(self) -> tuple[Fault, ...]:
        """The scripted faults still pending, in order."""
        return tuple(planned.fault for planned in self._planned)

    @property
    def random_faults(self) -> RandomFaults | None:
        """The settings of random faults; None if they are off."""
        return self._random_faults

    def take_fault(self, endpoint: str | None, now: float) -> Fault | None:
        """Return the fault for a request at a time, if any, and count it against the fault's ``times``."""
        for planned in self._planned:
            if planned.applies_to(endpoint, now):
                self._use_once(planned)
                return planned.fault
        return self._draw_fault(endpoint)

    def _use_once(self, planned: _PlannedFault) -> None:
        times = planned.fault.times
        if times == 1:
            self._planned.remove(planned)
        elif times is not None:
            planned.fault = attrs.evolve(planned.fault, times=times - 1)

    def _draw_fault(self, endpoint: str | None) -> Fault | None:
        settings = self._random_faults
        if settings is None or settings.endpoint not in {None, endpoint}:
            return None
        # A fault is drawn for every request, hit or not, so that a changed rate does not change which fault comes when.
        hit, drawn = self._random.random() < settings.rate, self._random.choice(settings.faults)
        return drawn if hit else None


def _check_faults(faults: object) -> tuple[Fault, ...]:
    found = tuple(cast("Iterable[object]", faults)) if isinstance(faults, Iterable) else (faults,)
    for fault in found:
        if not isinstance(fault, Fault):
            raise InvalidArgumentError(f"faults: expected a list of Fault(...), got {fault!r:.40}")
    return cast("tuple[Fault, ...]", found)
