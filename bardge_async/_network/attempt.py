"""One attempt under way: what is known of its request, and when its time is up."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import socket
import struct
from typing import Final

import aiohttp
from aiohttp.connector import Connection

from bardge_async._network import AttemptLimits
from bardge_async._runtime.clock import Clock, Timer

MAX_RESPONSE_SIZE: Final = 16 * 1024 * 1024

# (on, 0 seconds): closing discards what the kernel still holds, and sends a reset.
_NO_LINGER: Final = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class ResponseTooLargeError(Exception):
    """The answer is larger than any of the API's."""


class StaleConnectionError(aiohttp.ClientConnectionError):
    """The connection is closing, or holds bytes that nobody asked for and that would be taken for an answer."""


class ConnectDeadlineError(aiohttp.ClientConnectionError):
    """The time to connect was over before the request was begun, and nobody had been told yet."""


class DeadlineTimer:
    """Tell the attempts of one event loop that their time is up, with one timer for all: few ever wait so long."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._attempts: dict[Attempt, None] = {}
        self._timer: Timer | None = None
        self._next_deadline = math.inf

    def add_attempt(self, attempt: Attempt) -> None:
        """Wake an attempt when its time is up."""
        self._attempts[attempt] = None
        if attempt.deadline < self._next_deadline:
            self._start_timer(attempt.deadline)

    def remove_attempt(self, attempt: Attempt) -> None:
        """Let an attempt end undisturbed; the timer stays while any other is under way."""
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
            attempt.on_deadline()
        deadline = min((attempt.deadline for attempt in self._attempts), default=math.inf)
        if deadline < math.inf:
            self._start_timer(deadline)


class Attempt:
    """Whether an attempt's request was begun to be written, and its time limits; to be made in the task that sends.

    ``sent`` is True when the request may be out, ``begun`` when it surely was begun to be written. At ``until`` the task
    is cancelled as :func:`asyncio.timeout` does it: a cancellation from elsewhere goes first.
    """

    __slots__ = (
        "_cancelling_before",
        "_connection",
        "_deadline_timer",
        "_task",
        "_total_deadline",
        "_transport",
        "_uncancel_pending",
        "deadline",
        "expired",
        "maybe_sent",
        "write_started",
    )

    def __init__(self, deadline_timer: DeadlineTimer, limits: AttemptLimits, *, maybe_sent: bool) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio's own streams need one too
        self._task = task
        self._cancelling_before = task.cancelling()
        self._deadline_timer = deadline_timer
        self._connection: Connection | None = None
        self._transport: asyncio.Transport | None = None
        now = deadline_timer.clock.elapsed()
        self._total_deadline = now + limits.answer
        self.maybe_sent = maybe_sent
        self.write_started = self.expired = self._uncancel_pending = False
        self.deadline = self._total_deadline if maybe_sent else min(now + limits.connect, self._total_deadline)
        deadline_timer.add_attempt(self)

    def start_writing(self, connection: Connection) -> None:
        """Note that the request is now written on a connection.

        Raises:
            LateError: The time to connect is over: after a stall of the process a ready socket comes before a due timer.
        """
        if not self.maybe_sent and self._deadline_timer.clock.elapsed() > self.deadline:
            raise ConnectDeadlineError
        self.maybe_sent = self.write_started = True
        self._connection, self._transport = connection, connection.transport

    def stop_timing(self) -> bool:
        """Stop the clock; tell, once, whether the time was up and nobody else has cancelled the task."""
        self._deadline_timer.remove_attempt(self)
        uncancel_pending, self._uncancel_pending = self._uncancel_pending, False
        return uncancel_pending and self._task.uncancel() <= self._cancelling_before

    def abort(self) -> None:
        """Throw the connection away with what is not yet delivered, so that nothing arrives late.

        Without the reset the kernel would go on sending for minutes, past the window of the request's key.
        """
        transport, connection = self._transport, self._connection
        if transport is None or connection is None or (connection.transport is None and not transport.is_closing()):
            # Never had one, or gave it back: it may be another attempt's by now.
            return
        self._transport = None
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport.abort()

    def on_deadline(self) -> None:
        """End the attempt; or, once its request was begun, let it wait for the rest of its time."""
        if self.write_started and self.deadline < self._total_deadline:
            self.deadline = self._total_deadline
            return
        self.deadline = math.inf
        self.expired = self._uncancel_pending = True
        self.abort()
        self._task.cancel()
