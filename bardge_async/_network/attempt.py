"""One attempt in flight: whether its request may have been sent, and its deadline."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import socket
import struct
from typing import Final

import aiohttp
from aiohttp.connector import Connection

from bardge_async._network import AttemptLimits
from bardge_async._runtime.clock import Clock, Timer
from bardge_async._runtime.loops import run_due_timers

_LOG: Final = logging.getLogger("bardge_async")
MAX_RESPONSE_SIZE: Final = 16 * 1024 * 1024

# SO_LINGER on, 0 seconds: closing discards unsent data in the kernel and sends a reset.
_NO_LINGER: Final = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class ResponseTooLargeError(Exception):
    """The response exceeds the size limit."""


class StaleConnectionError(aiohttp.ClientConnectionError):
    """The connection is closing, or has unread bytes that would be taken for the response."""


class ConnectDeadlineError(aiohttp.ClientConnectionError):
    """The connect deadline passed before writing began, and its timer has not fired yet."""


class WindowClosedError(aiohttp.ClientConnectionError):
    """The request may no longer be written: its key's replay window closed while it was being connected."""


class DeadlineTimer:
    """Expire the attempts of one event loop with a single timer: few attempts ever reach their deadline."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._attempts: dict[Attempt, None] = {}
        self._timer: Timer | None = None
        self._next_deadline = math.inf

    def add_attempt(self, attempt: Attempt) -> None:
        """Call an attempt's ``on_deadline`` at its deadline."""
        self._attempts[attempt] = None
        if attempt.deadline < self._next_deadline:
            self._start_timer(attempt.deadline)

    def remove_attempt(self, attempt: Attempt) -> None:
        """Remove an attempt; the timer stays as long as others are in flight."""
        self._attempts.pop(attempt, None)
        if not self._attempts and self._timer is not None:
            self._timer.cancel()
            self._timer, self._next_deadline = None, math.inf

    def _start_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next_deadline = deadline
        self._timer = self.clock.timer(max(0.0, deadline - self.clock.elapsed()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._next_deadline, now = None, math.inf, self.clock.elapsed()
        for attempt in [one for one in self._attempts if one.deadline <= now]:
            self._expire_attempt(attempt)
        deadline = min((attempt.deadline for attempt in self._attempts), default=math.inf)
        if deadline < math.inf:
            self._start_timer(deadline)

    @staticmethod
    def _expire_attempt(attempt: Attempt) -> None:
        try:
            attempt.on_deadline()
        except Exception:  # noqa: BLE001 - logged; the others go on
            # The others still end at their deadlines, and the timer is started again for the rest.
            _LOG.exception("cannot end an attempt at its deadline")


class Attempt:
    """How far an attempt's request got, and its time limits; create it in the task that sends.

    ``maybe_sent`` is True if bytes may have been sent, ``write_started`` if writing has certainly begun. The task is
    cancelled at ``deadline`` as by :func:`asyncio.timeout`: a cancellation from elsewhere takes precedence.
    """

    __slots__ = (
        "_cancelling_before",
        "_connection",
        "_deadline_timer",
        "_limits",
        "_task",
        "_total_deadline",
        "_transport",
        "_uncancel_pending",
        "deadline",
        "expired",
        "maybe_sent",
        "status",
        "write_started",
    )

    def __init__(self, deadline_timer: DeadlineTimer, limits: AttemptLimits, *, maybe_sent: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling_before = task.cancelling()
        self._deadline_timer = deadline_timer
        self._limits = limits
        self._connection: Connection | None = None
        self._transport: asyncio.Transport | None = None
        now = deadline_timer.clock.elapsed()
        self._total_deadline = now + limits.answer
        self.maybe_sent = maybe_sent
        self.status: int | None = None
        self.write_started = self.expired = self._uncancel_pending = False
        self.deadline = self._total_deadline if maybe_sent else min(now + limits.connect, self._total_deadline)
        deadline_timer.add_attempt(self)

    async def check_cancellation(self) -> None:
        """Raise a cancellation that is due before the first byte: a POST that is cancelled later is in doubt."""
        if not self.maybe_sent:
            await run_due_timers(self._task)

    def start_writing(self, connection: Connection) -> None:
        """Mark the request as sent: it is now written to a connection.

        Raises:
            ConnectDeadlineError: The deadline has passed, but a stall of the process kept the timer from firing.
            WindowClosedError: The key's replay window has closed.
        """
        if not self.maybe_sent and self._deadline_timer.clock.elapsed() > self.deadline:
            raise ConnectDeadlineError
        if self._limits.check_window is not None and not self._limits.check_window():
            raise WindowClosedError
        self.maybe_sent = self.write_started = True
        self._connection, self._transport = connection, connection.transport

    def stop_timing(self) -> bool:
        """Stop timing; return True, once, if the deadline cancelled the task and nothing else did."""
        self._deadline_timer.remove_attempt(self)
        uncancel_pending, self._uncancel_pending = self._uncancel_pending, False
        return uncancel_pending and self._task.uncancel() <= self._cancelling_before

    def abort(self) -> None:
        """Reset the connection and discard undelivered data, so that nothing arrives late.

        Without the reset the kernel would keep sending for minutes, past the replay window of the request's key.
        It never raises: it runs where another exception is on its way.
        """
        transport, connection = self._transport, self._connection
        if transport is None or connection is None or (connection.transport is None and not transport.is_closing()):
            # None yet, or released already: another attempt may be using it by now.
            return
        self._transport = None
        # uvloop raises errors of several classes for a transport whose handle is closed; asyncio ignores such calls.
        with contextlib.suppress(Exception):
            sock = transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        with contextlib.suppress(Exception):
            transport.abort()

    def on_deadline(self) -> None:
        """Expire the attempt or, if writing has begun, extend the connect limit to the total one."""
        if self.write_started and self.deadline < self._total_deadline:
            self.deadline = self._total_deadline
            return
        self.deadline = math.inf
        self.expired = self._uncancel_pending = True
        try:
            self.abort()
        finally:
            self._task.cancel()
