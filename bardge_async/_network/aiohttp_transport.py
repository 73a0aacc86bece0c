"""The aiohttp transport: one request per attempt, every exception turned into ours, nothing of the key in either."""

from __future__ import annotations

import asyncio
import contextvars
import ssl as _ssl
from typing import Final

import aiohttp
import anyio.lowlevel
from aiohttp import (
    ClientConnectorError,
    ClientHandlerType,
    ClientOSError,
    ClientRequest,
    ClientResponse,
    ConnectionTimeoutError,
    ServerDisconnectedError,
)
from aiohttp.connector import Connection
from yarl import URL

from bardge_async._core.http import WireRequest, WireResponse
from bardge_async._network import AttemptLimits
from bardge_async._network.attempt import LARGEST_ANSWER, Attempt, StaleError, TooLargeError
from bardge_async._network.direct import Parts, genuine
from bardge_async._network.sessions import Sessions, check_session
from bardge_async._runtime.clock import Clock
from bardge_async.errors import BardgeError, ConnectError, NoAnswerError

_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_NEVER_SENT: Final = (
    ClientConnectorError,
    ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)


class _BrokenError(aiohttp.ClientError):
    """A connection broke after the request began: of a class that aiohttp does not resend on."""


_CURRENT: Final[contextvars.ContextVar[Attempt]] = contextvars.ContextVar("bardge_attempt")


class _Request(ClientRequest):
    """A request that tells its attempt when the connection is there and writing begins."""

    async def send(self, conn: Connection) -> ClientResponse:
        if conn.protocol is None or conn.protocol.should_close:
            raise StaleError
        _CURRENT.get().begin(conn)
        return await super().send(conn)


async def send_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keep aiohttp from sending an idempotent request a second time by itself.

    A user's session may have other middlewares outside of this one, which do repeat: what one of their tries did
    must not be forgotten when the next one cannot connect.
    """
    attempt = _CURRENT.get()
    try:
        response = await handler(request)
    except _NEVER_SENT:
        raise
    except (ClientOSError, ServerDisconnectedError) as error:
        kind = type(error).__name__
    except BaseException:
        attempt.begun = attempt.begun or attempt.sent
        raise
    else:
        attempt.begun = True
        return response
    attempt.begun = attempt.begun or attempt.sent
    raise _BrokenError(kind)


class AiohttpTransport:
    """Send requests over aiohttp; connections are kept per event loop."""

    def __init__(
        self,
        clock: Clock,
        *,
        ssl: _ssl.SSLContext | None = None,
        proxy: str | None = None,
        session: aiohttp.ClientSession | None = None,
        parts: Parts | None = None,
    ) -> None:
        if session is not None:
            check_session(session)
        # A user's session makes requests of its own class: then every failure after connecting counts as sent.
        self._blind = session is not None
        self._sessions = Sessions(
            clock, request_class=_Request, middleware=send_once, ssl=ssl, proxy=proxy, given=session, parts=parts
        )

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        """Send a request once and return the whole answer.

        Raises:
            ConnectError: It is proved that nothing reached the server.
            NoAnswerError: It was sent, or may have been, and no whole answer came.
        """
        session, lean, alarms = self._sessions.get()
        failure: BardgeError | None = None
        attempt = Attempt(alarms, limits, sent=self._blind)
        try:
            origin = lean.origin(request.url) if lean is not None and genuine() else None
            if lean is not None and origin is not None:
                return await lean.exchange(origin, request, attempt)
            return await self._exchange(session, request, attempt)
        except Exception as error:  # noqa: BLE001 - nothing of aiohttp escapes
            attempt.abort()
            # Once expired, it is our own abort that broke the connection.
            failure = None if attempt.expired else _translate(error, attempt)
        except asyncio.CancelledError:
            attempt.abort()
            if not attempt.end():
                raise
        except BaseException:
            attempt.abort()
            raise
        finally:
            attempt.end()
        if attempt.expired:
            # A scope around the call that was cancelled in the same turn has not told this task yet.
            await anyio.lowlevel.checkpoint_if_cancelled()
        # Raised here, outside of any handler: aiohttp's exceptions and frames may hold the headers.
        raise failure or _timeout(sent=attempt.sent)

    async def _exchange(self, session: aiohttp.ClientSession, request: WireRequest, attempt: Attempt) -> WireResponse:
        token = _CURRENT.set(attempt)
        try:
            response = await session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=True,
                timeout=_NO_TIMEOUT,
                middlewares=self._sessions.middlewares(),
            )
        finally:
            _CURRENT.reset(token)
        try:
            return WireResponse(response.status, response.headers, await _body(response))
        except BaseException:
            response.close()
            raise

    async def aclose(self) -> None:
        """Close the connections of all loops; a user's session stays open."""
        await self._sessions.aclose()


async def _body(response: ClientResponse) -> bytes:
    length = response.content_length
    if length is not None and length > LARGEST_ANSWER:
        raise TooLargeError
    if length is not None and "Content-Encoding" not in response.headers:
        return await response.read()
    chunks: list[bytes] = []
    size = 0
    # By chunks: read() would unpack a compressed bomb whole before anyone could count it.
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > LARGEST_ANSWER:
            raise TooLargeError
        chunks.append(chunk)
    response.release()
    return b"".join(chunks)


def _translate(error: Exception, attempt: Attempt) -> BardgeError:
    if isinstance(error, BardgeError):
        return error
    if isinstance(error, TooLargeError):
        return NoAnswerError(f"the answer is larger than {LARGEST_ANSWER // 2**20} MiB")
    what = _words(error)
    if not attempt.sent or (isinstance(error, _NEVER_SENT) and not attempt.begun):
        return ConnectError(f"no connection: {what}; check the network, the base URL and any proxy")
    return NoAnswerError(f"the connection broke before a whole answer came: {what}")


def _words(error: Exception) -> str:
    # Only what names host and cause: other texts quote what came over the wire, which may echo the request.
    if isinstance(error, _BrokenError):
        return str(error)
    name = type(error).__name__
    if isinstance(error, ClientConnectorError):
        return f"{name}: {error!s:.200}"
    return f"{name} {error.status}" if isinstance(error, aiohttp.ClientHttpProxyError) else name


def _timeout(*, sent: bool) -> BardgeError:
    error: BardgeError
    if sent:
        error = NoAnswerError("no whole answer came in time")
    else:
        error = ConnectError("no connection in time; check the network, the base URL and any proxy")
    error.timed_out = True
    return error
