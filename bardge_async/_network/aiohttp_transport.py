"""The aiohttp transport: one request per attempt; translates all exceptions and keeps the API key out of them."""

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
from bardge_async._network.attempt import (
    MAX_RESPONSE_SIZE,
    Attempt,
    ResponseTooLargeError,
    StaleConnectionError,
    WindowClosedError,
)
from bardge_async._network.direct import AiohttpInternals, is_unpatched
from bardge_async._network.sessions import Sessions, check_session
from bardge_async._runtime.clock import Clock
from bardge_async.errors import BardgeError, ConnectError, NoAnswerError, NotSentError

_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_NEVER_SENT: Final = (
    ClientConnectorError,
    ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)


class _ConnectionBrokenError(aiohttp.ClientError):
    """A connection broke after writing began. aiohttp does not resend on this class."""


_CURRENT_ATTEMPT: Final[contextvars.ContextVar[Attempt]] = contextvars.ContextVar("bardge_attempt")


class _TrackedRequest(ClientRequest):
    """A request that reports to its attempt when a connection is ready and writing begins."""

    async def send(self, conn: Connection) -> ClientResponse:
        if conn.protocol is None or conn.protocol.should_close:
            raise StaleConnectionError
        _CURRENT_ATTEMPT.get().start_writing(conn)
        return await super().send(conn)


async def send_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keep aiohttp from resending an idempotent request on its own.

    Middlewares of a user's session run outside of this one and may retry. Once one of their tries has started writing,
    the attempt stays marked as sent, even if the next try cannot connect.
    """
    attempt = _CURRENT_ATTEMPT.get()
    try:
        response = await handler(request)
    except _NEVER_SENT:
        raise
    except (ClientOSError, ServerDisconnectedError) as error:
        kind = type(error).__name__
    except BaseException:
        attempt.write_started = attempt.write_started or attempt.maybe_sent
        raise
    else:
        attempt.write_started = True
        return response
    attempt.write_started = attempt.write_started or attempt.maybe_sent
    raise _ConnectionBrokenError(kind)


class AiohttpTransport:
    """Send requests over aiohttp, with a connection pool per event loop."""

    def __init__(
        self,
        clock: Clock,
        *,
        ssl: _ssl.SSLContext | None = None,
        proxy: str | None = None,
        session: aiohttp.ClientSession | None = None,
        internals: AiohttpInternals | None = None,
    ) -> None:
        if session is not None:
            check_session(session)
        # A user's session has its own request class, which does not report writing: a failure may come after sending.
        self._assume_sent = session is not None
        self._sessions = Sessions(
            clock,
            request_class=_TrackedRequest,
            middleware=send_once,
            ssl=ssl,
            proxy=proxy,
            user_session=session,
            internals=internals,
        )

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        """Send a request once and return the complete response.

        Raises:
            ConnectError: It is certain that nothing reached the server.
            NotSentError: The key's replay window closed while connecting.
            NoAnswerError: The request was or may have been sent, and no complete response arrived.
        """
        session, direct, deadline_timer = self._sessions.get_current()
        failure: BardgeError | None = None
        attempt = Attempt(deadline_timer, limits, maybe_sent=self._assume_sent)
        try:
            origin = direct.find_origin(request.url) if direct is not None and is_unpatched() else None
            if direct is not None and origin is not None:
                return await direct.send_request(origin, request, attempt)
            return await self._send_over_session(session, request, attempt)
        except Exception as error:  # noqa: BLE001 - no exception of aiohttp escapes
            attempt.abort()
            # After expiry the error only reflects our own abort of the connection.
            failure = None if attempt.expired else _translate_error(error, attempt)
        except asyncio.CancelledError:
            attempt.abort()
            if not attempt.stop_timing():
                raise
        except BaseException:
            attempt.abort()
            raise
        finally:
            attempt.stop_timing()
        if attempt.expired:
            # A scope around the call may have been cancelled in the same loop iteration; its cancellation goes first.
            await anyio.lowlevel.checkpoint_if_cancelled()
        # Raised outside of any handler: aiohttp's exceptions and frames may hold the headers with the API key.
        raise failure or _timeout_error(sent=attempt.maybe_sent)

    async def _send_over_session(
        self, session: aiohttp.ClientSession, request: WireRequest, attempt: Attempt
    ) -> WireResponse:
        token = _CURRENT_ATTEMPT.set(attempt)
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
                middlewares=self._sessions.request_middlewares(),
            )
        finally:
            _CURRENT_ATTEMPT.reset(token)
        try:
            return WireResponse(response.status, response.headers, await _read_body(response))
        except BaseException:
            response.close()
            raise

    async def aclose(self) -> None:
        """Close the connections of all loops; a user's session stays open."""
        await self._sessions.aclose()


async def _read_body(response: ClientResponse) -> bytes:
    length = response.content_length
    if length is not None and length > MAX_RESPONSE_SIZE:
        raise ResponseTooLargeError
    if length is not None and "Content-Encoding" not in response.headers:
        return await response.read()
    chunks: list[bytes] = []
    size = 0
    # In chunks: read() would decompress a zip bomb completely before its size could be checked.
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > MAX_RESPONSE_SIZE:
            raise ResponseTooLargeError
        chunks.append(chunk)
    response.release()
    return b"".join(chunks)


def _translate_error(error: Exception, attempt: Attempt) -> BardgeError:
    if isinstance(error, BardgeError):
        return error
    if isinstance(error, ResponseTooLargeError):
        return NoAnswerError(f"the response is larger than {MAX_RESPONSE_SIZE // 2**20} MiB")
    if isinstance(error, WindowClosedError):
        return NotSentError("not sent: the replay window of the key closed while connecting")
    cause = _describe_error(error)
    if not attempt.maybe_sent or (isinstance(error, _NEVER_SENT) and not attempt.write_started):
        return ConnectError(f"cannot connect: {cause}; check the network, the base URL and any proxy")
    return NoAnswerError(f"the connection broke before a complete response arrived: {cause}")


def _describe_error(error: Exception) -> str:
    # Only texts that name host and cause: others quote received bytes, which may echo the request with the API key.
    if isinstance(error, _ConnectionBrokenError):
        return str(error)
    name = type(error).__name__
    if isinstance(error, ClientConnectorError):
        return f"{name}: {error!s:.200}"
    return f"{name} {error.status}" if isinstance(error, aiohttp.ClientHttpProxyError) else name


def _timeout_error(*, sent: bool) -> BardgeError:
    error: BardgeError
    if sent:
        error = NoAnswerError("timed out waiting for the response")
    else:
        error = ConnectError("timed out connecting; check the network, the base URL and any proxy")
    error.timed_out = True
    return error
