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

LARGEST_ANSWER: Final = 16 * 1024 * 1024

# (on, 0 seconds): closing discards what the kernel still holds, and sends a reset.
_NO_LINGER: Final = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class TooLargeError(Exception):
    """The answer is larger than any of the API's."""


class StaleError(aiohttp.ClientConnectionError):
    """The connection is closing, or holds bytes that nobody asked for and that would be taken for an answer."""


class LateError(aiohttp.ClientConnectionError):
    """The time to connect was over before the request was begun, and nobody had been told yet."""


class Alarms:
    """Tell the attempts of one event loop that their time is up, with one timer for all: few ever wait so long."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._under_way: dict[Attempt, None] = {}
        self._timer: Timer | None = None
        self._next = math.inf

    def add(self, attempt: Attempt) -> None:
        """Wake an attempt when its time is up."""
        self._under_way[attempt] = None
        if attempt.until < self._next:
            self._arm(attempt.until)

    def drop(self, attempt: Attempt) -> None:
        """Let an attempt end undisturbed; the timer stays while any other is under way."""
        self._under_way.pop(attempt, None)
        if not self._under_way and self._timer is not None:
            self._timer.cancel()
            self._timer, self._next = None, math.inf

    def _arm(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = until
        self._timer = self.clock.timer(max(0.0, until - self.clock.elapsed()), self._ring)

    def _ring(self) -> None:
        self._timer, self._next, now = None, math.inf, self.clock.elapsed()
        for attempt in [one for one in self._under_way if one.until <= now]:
            attempt.due()
        until = min((attempt.until for attempt in self._under_way), default=math.inf)
        if until < math.inf:
            self._arm(until)


class Attempt:
    """Whether an attempt's request was begun to be written, and its time limits; to be made in the task that sends.

    ``sent`` is True when the request may be out, ``begun`` when it surely was begun to be written. At ``until`` the task
    is cancelled as :func:`asyncio.timeout` does it: a cancellation from elsewhere goes first.
    """

    __slots__ = (
        "_alarms",
        "_before",
        "_connection",
        "_end",
        "_owed",
        "_task",
        "_wire",
        "begun",
        "expired",
        "sent",
        "until",
    )

    def __init__(self, alarms: Alarms, limits: AttemptLimits, *, sent: bool) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio's own streams need one too
        self._task = task
        self._before = task.cancelling()
        self._alarms = alarms
        self._connection: Connection | None = None
        self._wire: asyncio.Transport | None = None
        now = alarms.clock.elapsed()
        self._end = now + limits.answer
        self.sent = sent
        self.begun = self.expired = self._owed = False
        self.until = self._end if sent else min(now + limits.connect, self._end)
        alarms.add(self)

    def begin(self, connection: Connection) -> None:
        """Note that the request is now written on a connection.

        Raises:
            LateError: The time to connect is over: after a stall of the process a ready socket comes before a due timer.
        """
        if not self.sent and self._alarms.clock.elapsed() > self.until:
            raise LateError
        self.sent = self.begun = True
        self._connection, self._wire = connection, connection.transport

    def end(self) -> bool:
        """Stop the clock; tell, once, whether the time was up and nobody else has cancelled the task."""
        self._alarms.drop(self)
        owed, self._owed = self._owed, False
        return owed and self._task.uncancel() <= self._before

    def abort(self) -> None:
        """Throw the connection away with what is not yet delivered, so that nothing arrives late.

        Without the reset the kernel would go on sending for minutes, past the window of the request's key.
        """
        wire, connection = self._wire, self._connection
        if wire is None or connection is None or (connection.transport is None and not wire.is_closing()):
            # Never had one, or gave it back: it may be another attempt's by now.
            return
        self._wire = None
        plug = wire.get_extra_info("socket")
        if plug is not None:
            with contextlib.suppress(OSError):
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        wire.abort()

    def due(self) -> None:
        """End the attempt; or, once its request was begun, let it wait for the rest of its time."""
        if self.begun and self.until < self._end:
            self.until = self._end
            return
        self.until = math.inf
        self.expired = self._owed = True
        self.abort()
        self._task.cancel()
