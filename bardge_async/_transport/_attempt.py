"""One attempt under way: what is known of its request, and its one timer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import Final

import aiohttp
from aiohttp.connector import Connection

from bardge_async._clock import Clock, Timer
from bardge_async._transport import AttemptLimits

LARGEST_ANSWER: Final = 16 * 1024 * 1024

# (on, 0 seconds): closing discards what the kernel still holds, and sends a reset.
_NO_LINGER: Final = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class TooLargeError(Exception):
    """The answer is larger than any of the API's."""


class StaleError(aiohttp.ClientConnectionError):
    """The connection is closing, or holds bytes that nobody asked for and that would be taken for an answer."""


class Attempt:
    """Whether an attempt's request was begun to be written, and its time limits; to be made in the task that sends.

    ``sent`` is True when the request may be out, ``begun`` when it surely was begun to be written. When its time is up
    the task is cancelled as :func:`asyncio.timeout` does it: a cancellation from elsewhere goes first.
    """

    __slots__ = (
        "_before",
        "_clock",
        "_connection",
        "_end",
        "_owed",
        "_task",
        "_timer",
        "_wire",
        "begun",
        "expired",
        "sent",
    )

    def __init__(self, clock: Clock, limits: AttemptLimits, *, sent: bool) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio's own streams need one too
        self._task = task
        self._before = task.cancelling()
        self._clock = clock
        self._connection: Connection | None = None
        self._wire: asyncio.Transport | None = None
        self._end = clock.elapsed() + limits.answer
        self.sent = sent
        self.begun = self.expired = self._owed = False
        seconds = limits.answer if sent else min(limits.connect, limits.answer)
        self._timer: Timer = clock.timer(seconds, self._due)

    def begin(self, connection: Connection) -> None:
        """Note that the request is now written on a connection."""
        self.sent = self.begun = True
        self._connection, self._wire = connection, connection.transport

    def end(self) -> bool:
        """Stop the clock; tell, once, whether the time was up and nobody else has cancelled the task."""
        self._timer.cancel()
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

    def _due(self) -> None:
        """End the attempt; or, once its request was begun, wait for the rest of its time on the same timer."""
        left = self._end - self._clock.elapsed() if self.begun else 0.0
        if left > 0:
            self._timer = self._clock.timer(left, self._due)
            return
        self.expired = self._owed = True
        self.abort()
        self._task.cancel()
