"""Turns of one event loop: who waits for one, the slots in hand, and when more are asked for.

The store has one row of slots, evenly spaced, for all processes. A loop takes a few of them in one round trip, before it
needs them, and sends no request before its slot. A slot that was missed lapses, or late ones would come in a bunch.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import attrs

from bardge_async._runtime.clock import Clock, Timer
from bardge_async.errors import HeldBackError

_LOG: Final = logging.getLogger("bardge_async")
_SLACK: Final = 0.015
"""Seconds for which a slot may be late. In any second 3 % too many may be sent; half of that is for what follows a turn."""
_AHEAD: Final = 0.04
"""Seconds for which a loop has slots in hand when it asks for more."""
_FARTHEST: Final = 0.5
_CROWD: Final = 0.25
"""Seconds to the next free slot, all others before it: with more, everyone asks for less at a time."""
_DRIFT: Final = 0.001
_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 1.0


class AwayError(Exception):
    """The store cannot be reached: ask again later."""


@attrs.frozen
class Grant:
    """What the store answered, in seconds of its own clock, which said ``now``.

    ``first`` is when the first slot is due, ``taken`` whether they are the asker's; nobody gets a turn before ``held``.
    """

    first: float
    taken: bool
    held: float
    now: float


@attrs.frozen
class Question:
    """What the store is asked for: ``count`` slots, the first one in ``lead`` seconds or later, ``patience`` at most.

    ``hold`` is for how many seconds everyone is to be held back first.
    """

    count: int
    lead: float
    patience: float
    hold: float


Ask: TypeAlias = Callable[[Question], Awaitable[Grant]]
"""Ask the store; it raises AwayError where asking again may help, HeldBackError where it does not."""


class Offset:
    """Tell a server's time by this process's clock: the server read its own between the question and its answer."""

    def __init__(self) -> None:
        self._low = self._high = 0.0
        self._at: float | None = None

    def learn(self, asked: float, answered: float, server: float) -> None:
        """Take a reading; the clocks may drift by a thousandth, and the server's may have been set."""
        low, high = server - answered, server - asked
        if self._at is not None:
            drift = _DRIFT * (answered - self._at)
            kept_low, kept_high = max(low, self._low - drift), min(high, self._high + drift)
            if kept_low <= kept_high:
                low, high = kept_low, kept_high
        self._low, self._high, self._at = low, high, answered

    def local(self, server: float) -> float:
        """Return when the server's clock shows a time, by this process's."""
        return server - (self._low + self._high) / 2


@attrs.define(eq=False)
class _Waiter:
    """A call that waits for its turn; ``slot`` is when that was due."""

    granted: asyncio.Future[None]
    until: float
    slot: float | None = None

    def fail(self, error: HeldBackError) -> None:
        """Send it away."""
        if not self.granted.done():
            error.timed_out = True
            self.granted.set_exception(error)


class Turns:
    """Give turns to the tasks of one event loop, first come, first served. No task is left when nobody waits."""

    def __init__(self, ask: Ask, per_second: float, clock: Clock) -> None:
        self._ask = ask
        self._rate = per_second
        self._clock = clock
        self._slack = max(_SLACK, 1 / per_second)
        self._line: OrderedDict[_Waiter, None] = OrderedDict()
        self._slots: deque[float] = deque()
        self._offset = Offset()
        self._trip = 0.0
        self._distance = 0.0
        self._held = self._to_tell = 0.0
        self._away: str | None = None
        self._timer: Timer | None = None
        self._due = 0.0
        self._task: asyncio.Task[None] | None = None

    async def wait(self, patience: float) -> None:
        """Wait for a turn, for at most ``patience`` seconds.

        Raises:
            HeldBackError: None came in time.
        """
        now = self._clock.elapsed()
        if self._held >= now + patience:
            raise _held(self._held - now)
        waiter = _Waiter(asyncio.get_running_loop().create_future(), now + patience)
        self._line[waiter] = None
        timer = self._clock.timer(max(0.0, patience), functools.partial(self._expire, waiter))
        self._serve()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            self._line.pop(waiter, None)
            if waiter.slot is not None:
                self._slots.appendleft(waiter.slot)
                self._serve()
            raise
        finally:
            timer.cancel()

    def hold(self, seconds: float) -> None:
        """Give nobody a turn for so long, here at once and elsewhere as soon as they ask for slots."""
        until = self._clock.elapsed() + seconds
        if until > self._held:
            self._to_tell = until
            self._hold_until(until)
            self._begin()

    def _hold_until(self, until: float) -> None:
        self._held = max(self._held, until)
        now = self._clock.elapsed()
        for waiter in [waiter for waiter in self._line if waiter.until <= self._held]:
            del self._line[waiter]
            waiter.fail(_held(self._held - now))

    def _expire(self, waiter: _Waiter) -> None:
        if waiter in self._line:
            del self._line[waiter]
            why = f"the rate of {self._rate:g} a second is used up" if self._away is None else self._away
            waiter.fail(HeldBackError(f"no turn to send came in time: {why}"))

    def _serve(self) -> None:
        """Hand out the slots that are due, and see to it that more come."""
        now, slots = self._clock.elapsed(), self._slots
        earliest = max(now - self._slack, self._held)
        while slots and slots[0] < earliest:
            slots.popleft()
        while slots and slots[0] <= now and self._line:
            waiter, _ = self._line.popitem(last=False)
            if not waiter.granted.done():
                waiter.slot = slots.popleft()
                waiter.granted.set_result(None)
        if self._line:
            if slots:
                self._wake(slots[0], now)
            self._begin()

    def _wake(self, due: float, now: float) -> None:
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._due = due
        self._timer = self._clock.timer(max(0.0, due - now), self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._serve()

    def _wanted(self, now: float) -> int:
        """Tell how many slots to ask for: none while those in hand will do for a while."""
        ahead = max(_AHEAD, 2 * self._trip)
        if self._slots and self._slots[-1] - now >= ahead:
            return 0
        share = min(1.0, _CROWD / self._distance) if self._distance > 0 else 1.0
        return min(max(0, len(self._line) - len(self._slots)), max(1, round(ahead * self._rate * share)))

    def _begin(self) -> None:
        """Ask the store, unless it is being asked or there is no need."""
        if self._task is not None and not self._task.done():
            return
        now = self._clock.elapsed()
        if self._to_tell > now or self._wanted(now):
            # Not in the caller's context: whoever comes first is not whose work this is.
            self._task = asyncio.get_running_loop().create_task(self._work(), context=contextvars.Context())

    async def _work(self) -> None:
        waits = 0
        while (count := self._wanted(now := self._clock.elapsed())) or self._to_tell > now:
            try:
                await self._asked(count, now)
            except AwayError as error:
                self._lost(str(error))
                await self._clock.sleep(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** min(waits, 10)))
                waits += 1
            except HeldBackError as error:
                self._refused(error)
                return
            else:
                self._away, waits = None, 0

    async def _asked(self, count: int, begun: float) -> None:
        told = self._to_tell
        patience = max((waiter.until for waiter in self._line), default=begun) - begun
        # A slot that is due before its answer is here would be missed.
        lead = max(0.0, self._trip - self._slack / 2)
        grant = await self._ask(Question(count, lead, patience, max(0.0, told - begun)))
        ended = self._clock.elapsed()
        if self._to_tell == told:
            self._to_tell = 0.0
        self._trip = min(_FARTHEST, max(0.9 * self._trip, ended - begun))
        self._offset.learn(begun, ended, grant.now)
        self._take(grant, count)

    def _take(self, grant: Grant, count: int) -> None:
        self._distance = grant.first - max(grant.now, grant.held)
        self._hold_until(self._offset.local(grant.held))
        first = self._offset.local(grant.first)
        if grant.taken:
            self._slots.extend(first + number / self._rate for number in range(count))
        elif count:
            for waiter in list(self._line)[len(self._slots) :]:
                if waiter.until < first:
                    self._expire(waiter)
        self._serve()

    def _lost(self, why: str) -> None:
        if self._away is None:
            _LOG.warning("nothing is sent until the limiter's database is back: %s", why)
        self._away = f"the limiter's database cannot be reached, start it or check dsn=: {why}"

    def _refused(self, error: HeldBackError) -> None:
        self._to_tell = 0.0
        line, self._line = self._line, OrderedDict()
        for waiter in line:
            waiter.fail(HeldBackError(*error.args))

    async def aclose(self) -> None:
        """Send away who waits, and ask no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._refused(HeldBackError("the limiter is closed; make a new one"))
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


def _held(seconds: float) -> HeldBackError:
    error = HeldBackError(f"the limiter holds all calls of all processes back for {seconds:.1f} s longer, after a 429")
    error.timed_out, error.retry_after = True, seconds
    return error
