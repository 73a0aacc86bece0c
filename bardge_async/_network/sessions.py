"""aiohttp sessions: one per event loop, with safe settings, closed when their loop ends."""

from __future__ import annotations

import asyncio
import ssl as _ssl
from collections.abc import Sequence
from typing import Final

import aiohttp
from aiohttp import ClientRequest
from aiohttp.client_middlewares import ClientMiddlewareType

from bardge_async._network.attempt import DeadlineTimer
from bardge_async._network.direct import AiohttpInternals, DirectExchange, is_supported
from bardge_async._network.reuse import ConnectionGuard
from bardge_async._runtime.clock import Clock
from bardge_async._runtime.loops import PerLoop
from bardge_async.errors import ConfigurationError, NotSentError

RESERVED_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "authorization",
        "bardge-lookup-token",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "transfer-encoding",
        "user-agent",
    }
)
_CLOSE_TIMEOUT: Final = 5.0


def check_session(session: aiohttp.ClientSession) -> None:
    """Reject a user's session whose settings would change what is sent or raised.

    Raises:
        ConfigurationError: It is closed, has ``raise_for_status``, a base URL, auth or headers that collide, or does
            not verify certificates.
    """
    faults = {
        "it is closed": session.closed,
        "it has raise_for_status": bool(session.raise_for_status),
        "it has a base_url": session._base_url is not None,  # noqa: SLF001 - not public in aiohttp
        "it has auth": session.auth is not None,
        "it trusts the environment (trust_env), which can add auth": session.trust_env,
        "its connector has ssl=False": getattr(session.connector, "_ssl", None) is False,
    }
    colliding = sorted(name for name in session.headers if name.lower() in RESERVED_HEADERS)
    faults[f"its default headers collide with the client's: {', '.join(colliding)}"] = bool(colliding)
    for what, present in faults.items():
        if present:
            raise ConfigurationError(f"session: {what}; pass a session without that")


class LoopSession:
    """A session of ours, with what its requests need in its loop."""

    def __init__(
        self, session: aiohttp.ClientSession, clock: Clock, guard: ConnectionGuard, *, use_direct: bool
    ) -> None:
        self.session = session
        self.deadline_timer = DeadlineTimer(clock)
        self.direct = DirectExchange(session, guard) if use_direct else None

    async def aclose(self) -> None:
        await self.session.close()


class Sessions:
    """Provide the running loop's session, created on first use; a user's session is used as it is."""

    def __init__(
        self,
        clock: Clock,
        guard: ConnectionGuard,
        *,
        request_class: type[ClientRequest],
        middleware: ClientMiddlewareType,
        ssl: _ssl.SSLContext | None = None,
        proxy: str | None = None,
        user_session: aiohttp.ClientSession | None = None,
        internals: AiohttpInternals | None = None,
    ) -> None:
        self._clock = clock
        self._guard = guard
        self._deadline_timer = DeadlineTimer(clock)
        self._request_class = request_class
        self._middleware = middleware
        self._ssl = ssl
        self._proxy = proxy
        self._user_session = user_session
        self._use_direct = user_session is None and proxy is None and is_supported(internals or AiohttpInternals())
        self._closed = False
        self._per_loop = PerLoop(self._open_session, LoopSession.aclose)

    def get_current(self) -> tuple[aiohttp.ClientSession, DirectExchange | None, DeadlineTimer]:
        """Return the running loop's session, its direct exchange if supported, and its deadline timer.

        Raises:
            NotSentError: The transport is closed.
            ConfigurationError: A user's session is closed, or is used in another loop than its own.
        """
        if self._closed:
            raise NotSentError("the client is closed; create a new one")
        if self._user_session is None:
            one = self._per_loop.get()
            return one.session, one.direct, one.deadline_timer
        if self._user_session.closed:
            raise ConfigurationError("session: it was closed; keep it open as long as the client")
        if self._user_session._loop is not asyncio.get_running_loop():  # noqa: SLF001 - the property is deprecated
            raise ConfigurationError("session: it belongs to another event loop; omit session= to use several loops")
        return self._user_session, None, self._deadline_timer

    def request_middlewares(self) -> Sequence[ClientMiddlewareType] | None:
        """Return the middlewares to pass with each request of a user's session; None for our own sessions."""
        return None if self._user_session is None else (*self._user_session._middlewares, self._middleware)  # noqa: SLF001 - not public

    def _open_session(self) -> LoopSession:
        connector = aiohttp.TCPConnector(limit=0, ssl=True if self._ssl is None else self._ssl)
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            trust_env=False,
            request_class=self._request_class,
            middlewares=(self._middleware,),
            proxy=self._proxy,
        )
        # Instrumentations add trace configs to every session and expect to see every request.
        use_direct = self._use_direct and not session.trace_configs
        return LoopSession(session, self._clock, self._guard, use_direct=use_direct)

    async def aclose(self) -> None:
        """Close the sessions of all running loops; those of stopped loops close when the loop does."""
        self._closed = True
        await self._per_loop.aclose(_CLOSE_TIMEOUT)
