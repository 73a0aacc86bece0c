"""Whether a connection may carry a request: nothing to read before we write, no failure since, not idle too long.

An answer that lies on a connection before its request is written belongs to another one. HTTP/1.1 has no other way to
tell: an answer does not name its request.
"""

from __future__ import annotations

import functools
import select
import sys
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_parser import HttpParser

from bardge_async._network.attempt import StaleConnectionError
from bardge_async._runtime.clock import Clock


class KeptConnectionError(StaleConnectionError):
    """A connection that was used before must not carry another request; nothing was written to it."""


class Host:
    """A server, by how often a connection to it has failed after writing began."""

    __slots__ = ("failures",)

    def __init__(self) -> None:
        self.failures = 0


class Usage:
    """How a connection was used: how often, when it became idle, and its host's failures until then."""

    __slots__ = ("failures", "idle_since", "is_readable", "requests")

    def __init__(self, is_readable: Callable[[], object], host: Host, now: float) -> None:
        self.is_readable = is_readable
        self.failures = host.failures
        self.idle_since = now
        self.requests = 1


class ConnectionGuard:
    """Check each connection of a transport immediately before a request is written to it."""

    def __init__(self, clock: Clock, *, is_shared: bool) -> None:
        """Create a guard; ``is_shared``: others use the connections, too, so that an unknown one may be a kept one."""
        self._elapsed = clock.elapsed
        self._hosts: dict[str, Host] = {}
        self._usages: WeakKeyDictionary[ResponseHandler, Usage] = WeakKeyDictionary()
        self.is_shared = is_shared
        self._unknown_error = KeptConnectionError if is_shared else StaleConnectionError

    def get_host(self, origin: str) -> Host:
        """Return the record of a server, by scheme, host and port."""
        return self._hosts.setdefault(origin, Host())

    def check_connection(self, connection: Connection, host: Host, max_idle: float) -> Usage:
        """Return a connection's usage if a request may be written to it now; do not await in between.

        Raises:
            KeptConnectionError: It was used before and must be closed; another one may do.
            StaleConnectionError: It is new and must be closed.
        """
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None:
            # It ended while the call waited for what was due before the first byte.
            raise KeptConnectionError
        usage = self._usages.get(protocol)
        if usage is None:
            return self._check_unknown(protocol, host)
        if (
            transport.is_closing()
            or protocol.should_close
            or usage.failures != host.failures
            or (max_idle < _ANY_TIME and self._elapsed() - usage.idle_since >= max_idle)
            or usage.is_readable()
        ):
            raise KeptConnectionError
        usage.requests += 1
        return usage

    def _check_unknown(self, protocol: ResponseHandler, host: Host) -> Usage:
        transport = protocol.transport
        if transport is None or transport.is_closing() or protocol.should_close:
            raise self._unknown_error
        is_readable = _make_readable_check(transport.get_extra_info("socket"))
        # TLS servers send session tickets unasked, after the handshake.
        if transport.get_extra_info("sslcontext") is None and is_readable():
            raise self._unknown_error
        usage = self._usages[protocol] = Usage(is_readable, host, self._elapsed())
        return usage

    def mark_idle(self, usage: Usage, host: Host) -> None:
        """Note that a connection's response is complete and that it is kept."""
        usage.idle_since = self._elapsed()
        usage.failures = host.failures


_ANY_TIME: Final = float("inf")


def _make_readable_check(sock: object) -> Callable[[], object]:
    """Return a function that says without waiting whether a socket has something to read, its end included."""
    fileno = getattr(sock, "fileno", None)
    if fileno is None:
        return bool
    descriptor: int = fileno()
    if descriptor < 0:
        raise StaleConnectionError
    if sys.platform != "win32" and hasattr(select, "poll"):
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return functools.partial(poller.poll, 0)
    return functools.partial(_select_descriptor, descriptor)


def _select_descriptor(descriptor: int) -> bool:
    try:
        return bool(select.select([descriptor], [], [], 0)[0])
    except (ValueError, OSError):
        # Closed, or beyond what select can watch: not known to be empty.
        return True


def detach_parser(protocol: ResponseHandler) -> bool:
    """Return whether nothing came behind a complete response; all that comes later makes ``should_close`` True."""
    # Without a parser, aiohttp collects bytes in a buffer of which ``should_close`` knows; a parser would swallow the
    # begin of another response silently.
    parser, protocol._parser = protocol._parser, None  # noqa: SLF001 - listed in AiohttpInternals
    return parser is not None and not protocol.should_close and not _has_begun_message(parser)


def has_begun_message(protocol: ResponseHandler) -> bool:
    """Return whether the begin of a response has arrived, before a request is written."""
    parser = protocol._parser  # noqa: SLF001 - listed in AiohttpInternals
    return parser is not None and _has_begun_message(parser)


def _has_begun_message(parser: HttpParser[Any]) -> bool:
    try:
        # Between two messages the end changes nothing; within one it ends it.
        return parser.feed_eof() is not None
    except Exception:  # noqa: BLE001 - half of a message that is no HTTP
        return True
