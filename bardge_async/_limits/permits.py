"""Permits of one event loop: the queue of waiters, the slots in hand, and when to request more.

The store holds one series of evenly spaced slots for all processes. A loop takes several of them in one round trip,
before it needs them, and sends no request before its slot. A missed slot lapses: otherwise late requests would burst.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeAlias

import attrs

from bardge_async._runtime.clock import Clock, Timer
from bardge_async._runtime.tasks import end_task
from bardge_async.errors import ThrottledError

_LOG: Final = logging.getLogger("bardge_async")
_SLOT_TOLERANCE: Final = 0.015
"""Seconds by which a slot may be used late. The rate may be exceeded by 3 %; half of that covers delays after a permit."""
_LOOKAHEAD: Final = 0.04
"""Seconds' worth of slots that a loop keeps in hand."""
_MAX_ROUND_TRIP: Final = 0.5
_CROWDED_BACKLOG: Final = 0.25
"""Backlog in seconds above which each loop asks for fewer slots at a time."""
_CLOCK_DRIFT: Final = 0.001
_MIN_BACKOFF: Final = 0.05
_MAX_BACKOFF: Final = 1.0


class StoreUnavailableError(Exception):
    """The store cannot be reached; retrying later may help."""


@attrs.frozen
class PermitGrant:
    """The store's reply, in seconds on its own clock, which read ``now``.

    ``first_slot`` is when the first slot is due, ``is_taken`` whether the slots are now this loop's; no process may send
    before ``held_until``.
    """

    first_slot: float
    is_taken: bool
    held_until: float
    now: float


@attrs.frozen
class PermitRequest:
    """A request for ``count`` slots, the first one due between ``lead`` and ``timeout`` seconds from now.

    ``hold`` is the number of seconds for which all processes are to be throttled first.
    """

    count: int
    lead: float
    timeout: float
    hold: float


TakeSlots: TypeAlias = Callable[[PermitRequest], Awaitable[PermitGrant]]
"""Take slots from the store. Raises StoreUnavailableError if retrying may help, ThrottledError if not."""


class ClockOffset:
    """Convert the server's time to this process's clock: the server read its clock between request and reply."""

    def __init__(self) -> None:
        self._low = self._high = 0.0
        self._sampled_at: float | None = None

    def add_sample(self, sent_at: float, received_at: float, server_time: float) -> None:
        """Add a sample, assuming a drift of at most 0.1 %; one that contradicts it means that the clock was set."""
        low, high = server_time - received_at, server_time - sent_at
        if self._sampled_at is not None:
            drift = _CLOCK_DRIFT * (received_at - self._sampled_at)
            kept_low, kept_high = max(low, self._low - drift), min(high, self._high + drift)
            if kept_low <= kept_high:
                low, high = kept_low, kept_high
        self._low, self._high, self._sampled_at = low, high, received_at

    @property
    def uncertainty(self) -> float:
        """Half of the range of possible offsets, in seconds: no converted time is further off."""
        return (self._high - self._low) / 2

    def to_local(self, server_time: float) -> float:
        """Convert a time on the server's clock to this process's clock."""
        return server_time - (self._low + self._high) / 2


class _Slot(NamedTuple):
    """When a slot may be used, on this process's clock."""

    starts: float
    ends: float


@attrs.define(eq=False)
class _PermitWaiter:
    """A call queued for a permit; ``slot`` is the one it was granted."""

    granted: asyncio.Future[None]
    deadline: float
    slot: _Slot | None = None

    def set_error(self, error: ThrottledError) -> None:
        """Fail the waiting call."""
        if not self.granted.done():
            error.timed_out = True
            self.granted.set_exception(error)


class PermitScheduler:
    """Grant permits to the tasks of one event loop, FIFO. No background task runs while no one waits."""

    def __init__(self, take_slots: TakeSlots, per_second: float, clock: Clock) -> None:
        self._take_slots = take_slots
        self._rate = per_second
        self._clock = clock
        self._tolerance = max(_SLOT_TOLERANCE, 1 / per_second)
        self._queue: OrderedDict[_PermitWaiter, None] = OrderedDict()
        self._slots: deque[_Slot] = deque()
        self._clock_offset = ClockOffset()
        self._round_trip = 0.0
        self._backlog = 0.0
        self._held_until = self._hold_to_report = 0.0
        self._outage: str | None = None
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self._task: asyncio.Task[None] | None = None

    async def acquire(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds for a permit.

        Raises:
            ThrottledError: No permit was available in time.
        """
        now = self._clock.elapsed()
        if self._held_until >= now + timeout:
            raise _hold_error(self._held_until - now)
        waiter = _PermitWaiter(asyncio.get_running_loop().create_future(), now + timeout)
        self._queue[waiter] = None
        timer = self._clock.timer(max(0.0, timeout), functools.partial(self._expire_waiter, waiter))
        self._grant_permits()
        try:
            await waiter.granted
        except asyncio.CancelledError:
            self._queue.pop(waiter, None)
            if waiter.slot is not None:
                self._slots.appendleft(waiter.slot)
                self._grant_permits()
            raise
        finally:
            timer.cancel()

    def hold(self, seconds: float) -> None:
        """Grant no permits for ``seconds``: here immediately, in other loops once they next request slots."""
        until = self._clock.elapsed() + seconds
        if until > self._held_until:
            self._hold_to_report = until
            self._hold_until(until)
            self._start_requesting()

    def _hold_until(self, until: float) -> None:
        self._held_until = max(self._held_until, until)
        now = self._clock.elapsed()
        for waiter in [waiter for waiter in self._queue if waiter.deadline <= self._held_until]:
            del self._queue[waiter]
            waiter.set_error(_hold_error(self._held_until - now))

    def _expire_waiter(self, waiter: _PermitWaiter) -> None:
        if waiter in self._queue:
            del self._queue[waiter]
            reason = (
                f"the rate of {self._rate:g} per second is exhausted; send less or raise it"
                if self._outage is None
                else self._outage
            )
            waiter.set_error(ThrottledError(f"timed out waiting for a permit to send: {reason}"))

    def _grant_permits(self) -> None:
        """Grant the slots that are due, and request more if needed."""
        now, slots = self._clock.elapsed(), self._slots
        while slots and (slots[0].ends < now or slots[0].starts < self._held_until):
            slots.popleft()
        while slots and slots[0].starts <= now and self._queue:
            waiter, _ = self._queue.popitem(last=False)
            if not waiter.granted.done():
                waiter.slot = slots.popleft()
                waiter.granted.set_result(None)
        if self._queue:
            if slots:
                self._schedule_wake_up(slots[0].starts, now)
            self._start_requesting()

    def _schedule_wake_up(self, due: float, now: float) -> None:
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        self._timer = self._clock.timer(max(0.0, due - now), self._wake_up)

    def _wake_up(self) -> None:
        self._timer = None
        self._grant_permits()

    def _slots_to_request(self, now: float) -> int:
        """Return how many slots to request: 0 while those in hand suffice."""
        ahead = max(_LOOKAHEAD, 2 * self._round_trip)
        if self._slots and self._slots[-1].starts - now >= ahead:
            return 0
        share = min(1.0, _CROWDED_BACKLOG / self._backlog) if self._backlog > 0 else 1.0
        return min(max(0, len(self._queue) - len(self._slots)), max(1, round(ahead * self._rate * share)))

    def _start_requesting(self) -> None:
        """Start requesting slots, unless a request is in flight or none is needed."""
        if self._task is not None and not self._task.done():
            return
        now = self._clock.elapsed()
        if self._hold_to_report > now or self._slots_to_request(now):
            # A context of its own: the task serves all callers, not just the one that happens to start it.
            self._task = asyncio.get_running_loop().create_task(
                self._request_while_needed(), context=contextvars.Context()
            )

    async def _request_while_needed(self) -> None:
        failures = 0
        while (count := self._slots_to_request(now := self._clock.elapsed())) or self._hold_to_report > now:
            try:
                await self._request_slots(count, now)
            except StoreUnavailableError as error:
                self._record_outage(str(error))
                await self._clock.sleep(min(_MAX_BACKOFF, _MIN_BACKOFF * 2 ** min(failures, 10)))
                failures += 1
            except ThrottledError as error:
                self._fail_waiters(error)
                return
            else:
                self._outage, failures = None, 0

    async def _request_slots(self, count: int, started_at: float) -> None:
        hold_reported = self._hold_to_report
        timeout = max((waiter.deadline for waiter in self._queue), default=started_at) - started_at
        # A slot that is due before the reply arrives would be missed.
        lead = max(0.0, self._round_trip - self._tolerance / 2)
        grant = await self._take_slots(PermitRequest(count, lead, timeout, max(0.0, hold_reported - started_at)))
        ended_at = self._clock.elapsed()
        # A longer hold that came up while the request was in flight is reported by the next one.
        if self._hold_to_report == hold_reported:
            self._hold_to_report = 0.0
        # A decaying maximum: one fast reply must not make the next slots arrive too late.
        self._round_trip = min(_MAX_ROUND_TRIP, max(0.9 * self._round_trip, ended_at - started_at))
        self._clock_offset.add_sample(started_at, ended_at, grant.now)
        self._accept_grant(grant, count)

    def _accept_grant(self, grant: PermitGrant, count: int) -> None:
        self._backlog = grant.first_slot - max(grant.now, grant.held_until)
        self._hold_until(self._clock_offset.to_local(grant.held_until))
        first = self._clock_offset.to_local(grant.first_slot)
        if grant.is_taken:
            self._slots.extend(self._make_slot(first + number / self._rate) for number in range(count))
        elif count:
            for waiter in list(self._queue)[len(self._slots) :]:
                if waiter.deadline < first:
                    self._expire_waiter(waiter)
        self._grant_permits()

    def _make_slot(self, due: float) -> _Slot:
        # Two loops that misjudge the store's clock in opposite directions would crowd their slots: each stays clear of
        # both ends by what it may be wrong. Never to less than the usual tolerance, or a far store could not be used.
        margin = min(self._clock_offset.uncertainty, (self._tolerance - _SLOT_TOLERANCE) / 2)
        return _Slot(due + margin, due + self._tolerance - margin)

    def _record_outage(self, reason: str) -> None:
        if self._outage is None:
            _LOG.warning("the limiter's database cannot be reached; nothing is sent until it is back: %s", reason)
        self._outage = f"the limiter's database cannot be reached, start it or check dsn=: {reason}"

    def _fail_waiters(self, error: ThrottledError) -> None:
        self._hold_to_report = 0.0
        queue, self._queue = self._queue, OrderedDict()
        for waiter in queue:
            waiter.set_error(ThrottledError(*error.args))

    async def aclose(self) -> None:
        """Fail the queued calls, and stop requesting slots."""
        if self._timer is not None:
            self._timer.cancel()
        self._fail_waiters(ThrottledError("the limiter is closed; create a new one"))
        task = self._task
        if task is not None:
            await end_task(task)


def _hold_error(seconds: float) -> ThrottledError:
    error = ThrottledError(
        f"the limiter throttles all processes for another {seconds:.1f} s after a 429; retry after that"
    )
    error.timed_out, error.retry_after = True, seconds
    return error
