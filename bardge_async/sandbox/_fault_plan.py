"""Which fault hits which request: scripted ones in order, limits by the clock, others by dice."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

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
"""What :meth:`Faults.random` draws from by default: what a network does, and a good client survives."""


@attrs.define(eq=False)
class _PlannedFault:
    """A fault that is still to come; ``seen`` holds the times of a limit's latest requests."""

    fault: Fault
    recent: deque[float] = attrs.field(factory=deque[float])

    def applies_to(self, endpoint: str | None, now: float) -> bool:
        """Tell whether it hits a request, and let a limit count it."""
        if self.fault.endpoint not in {None, endpoint}:
            return False
        if self.fault.rate is None:
            return True
        while self.recent and self.recent[0] <= now - 1:
            self.recent.popleft()
        if len(self.recent) < self.fault.rate:
            self.recent.append(now)
            return False
        return True


@attrs.frozen
class RandomFaults:
    """How :meth:`Faults.random` was set."""

    rate: float
    seed: int
    faults: Sequence[Fault]
    endpoint: str | None


class FaultPlan:
    """Hold what is to go wrong; the first scripted fault that fits a request is taken, else the dice are thrown."""

    def __init__(self) -> None:
        self._planned: list[_PlannedFault] = []
        self._random_faults: RandomFaults | None = None
        self._random = random.Random()  # noqa: S311 - seeded: the same every time is the point

    def script(self, faults: Iterable[Fault]) -> None:
        """Add faults behind those that are still to come."""
        self._planned.extend([_PlannedFault(fault) for fault in faults])

    def random(
        self, rate: float, seed: int, faults: Sequence[Fault] = DEFAULT_RANDOM_FAULTS, *, endpoint: str | None = None
    ) -> None:
        """Let a share of the requests fail at random, the same ones for a seed; rate 0 ends it.

        ``faults`` is what to draw from, by default what a network does: cuts, half an answer, a proxy's pages. Their
        ``times`` does not count. ``endpoint`` spares all other rows.

        Raises:
            InvalidArgumentError: A rate beyond 0 to 1, no faults, or a limit among them.
        """
        if not 0 <= rate <= 1:
            raise InvalidArgumentError(f"rate: expected a number from 0 to 1, got {rate!r}")
        if not faults or any(fault.kind is FaultKind.LIMIT for fault in faults):
            raise InvalidArgumentError("faults: expected at least one, and no limit: script that")
        Fault(kind="cut_before", endpoint=endpoint)
        self._random_faults = RandomFaults(rate, seed, tuple(faults), endpoint) if rate else None
        self._random.seed(seed)

    def clear(self) -> None:
        """Forget what is still to come, random faults too."""
        self._planned.clear()
        self._random_faults = None

    @property
    def pending(self) -> tuple[Fault, ...]:
        """What is scripted and still to come, in order."""
        return tuple(planned.fault for planned in self._planned)

    @property
    def random_faults(self) -> RandomFaults | None:
        """How faults come at random; None if they do not."""
        return self._random_faults

    def take_fault(self, endpoint: str | None, now: float) -> Fault | None:
        """Use up one turn of the fault that hits a request at a time, if there is one."""
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
        # Two throws for each request, so that which ones fail does not depend on what there is to draw from.
        hit, drawn = self._random.random() < settings.rate, self._random.choice(settings.faults)
        return drawn if hit else None
