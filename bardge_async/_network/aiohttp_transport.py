"""The aiohttp transport: one request per attempt; translates all exceptions and keeps the API key out of them."""

from __future__ import annotations

import asyncio
import contextlib
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
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from bardge_async._core.http import WireRequest, WireResponse
from bardge_async._network import AttemptLimits
from bardge_async._network.attempt import MAX_RESPONSE_SIZE, Attempt, ResponseTooLargeError, WindowClosedError
from bardge_async._network.direct import AiohttpInternals, is_unpatched
from bardge_async._network.reuse import (
    ConnectionGuard,
    Host,
    KeptConnectionError,
    Usage,
    detach_parser,
    has_begun_message,
)
from bardge_async._network.sessions import Sessions, check_session
from bardge_async._network.unreadable import (
    MAX_HEADER_LINE,
    MAX_HEADERS,
    check_encoding,
    describe_unreadable,
    find_status,
)
from bardge_async._runtime.clock import Clock
from bardge_async.errors import BardgeError, ConnectError, NoAnswerError, NotSentError

_NO_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)
_MAX_KEPT_CONNECTIONS: Final = 100
"""Connections that one request may close and replace: in a user's session an unknown one may be new."""
_NEVER_SENT: Final = (
    ClientConnectorError,
    ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ServerFingerprintMismatch,
    aiohttp.InvalidURL,
)


class _ConnectionBrokenError(aiohttp.ClientError):
    """A connection broke after writing began. aiohttp does not resend on this class."""


class _SessionExchange:
    """One request over a session: its attempt, and the connection that it goes over."""

    __slots__ = ("_guard", "_max_idle", "_protocol", "_request_number", "_usage", "attempt", "host")

    def __init__(self, attempt: Attempt, guard: ConnectionGuard, host: Host, max_idle: float) -> None:
        self.attempt = attempt
        self.host = host
        self._guard = guard
        self._max_idle = max_idle
        self._protocol: ResponseHandler | None = None
        self._usage: Usage | None = None
        self._request_number = 0

    def check_connection(self, connection: Connection) -> None:
        """Raise if the connection must not carry the request."""
        self._usage = usage = self._guard.check_connection(connection, self.host, self._max_idle)
        self._protocol, self._request_number = connection.protocol, usage.requests
        # The session has given the protocol a new parser already.
        if self._protocol is not None and has_begun_message(self._protocol):
            raise KeptConnectionError

    def mark_idle(self) -> None:
        """Note that the response is complete; the session has released the connection."""
        protocol, usage = self._protocol, self._usage
        if protocol is None or usage is None:
            return
        self._guard.mark_idle(usage, self.host)
        # Another request may use it by now; one of the user's own is not counted.
        is_idle = usage.requests == self._request_number and not self._guard.is_shared
        if is_idle and not detach_parser(protocol):
            protocol.force_close()


_CURRENT_EXCHANGE: Final[contextvars.ContextVar[_SessionExchange]] = contextvars.ContextVar("bardge_exchange")


class _TrackedRequest(ClientRequest):
    """A request that reports to its attempt when a connection is ready and writing begins."""

    async def send(self, conn: Connection) -> ClientResponse:
        exchange = _CURRENT_EXCHANGE.get()
        if self.method != "GET":
            await exchange.attempt.check_cancellation()
        # From here on no await before the write: what arrives in between would be taken for the response.
        exchange.check_connection(conn)
        exchange.attempt.start_writing(conn)
        return await super().send(conn)


def _check_before_send(request: ClientRequest, exchange: _SessionExchange) -> None:
    """Check the connection before a request of another class than ours is written to it."""
    send = request.send

    async def send_checked(conn: Connection) -> ClientResponse:
        exchange.check_connection(conn)
        return await send(conn)

    # A class with slots does not allow it: then its connections are as aiohttp's pool returns them.
    with contextlib.suppress(AttributeError):
        request.send = send_checked  # type: ignore[method-assign]  # aiohttp has no hook between connecting and writing


async def send_once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keep aiohttp from resending an idempotent request on its own, and from using a connection that is not clean.

    Middlewares of a user's session run outside of this one and may retry. Once one of their tries has started writing,
    the attempt stays marked as sent, even if the next try cannot connect.
    """
    exchange = _CURRENT_EXCHANGE.get()
    attempt = exchange.attempt
    if not isinstance(request, _TrackedRequest):
        _check_before_send(request, exchange)
    try:
        response = await _send_over_clean_connection(request, handler)
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


async def _send_over_clean_connection(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    for _ in range(_MAX_KEPT_CONNECTIONS):
        with contextlib.suppress(KeptConnectionError):
            return await handler(request)
    return await handler(request)


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
        self._guard = ConnectionGuard(clock, is_shared=session is not None)
        self._sessions = Sessions(
            clock,
            self._guard,
            request_class=_TrackedRequest,
            middleware=send_once,
            ssl=ssl,
            proxy=proxy,
            user_session=session,
            internals=internals,
        )

    async def send(self, request: WireRequest, limits: AttemptLimits) -> WireResponse:
        """Send a request once and return the complete response.

        A cancellation before anything was sent has a ``ConnectError`` as its cause.

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
                response = await direct.send_request(origin, request, attempt, limits.max_idle)
            else:
                response = await self._send_over_session(session, request, attempt, limits.max_idle)
            if "Content-Encoding" in response.headers:
                authorization = request.headers.get("Authorization", "")
                check_encoding(response.status, response.headers, response.body, authorization)
            return response  # noqa: TRY300 - what is raised here is translated, too
        except Exception as error:  # noqa: BLE001 - no exception of aiohttp escapes
            attempt.abort()
            # After expiry the error only reflects our own abort of the connection.
            failure = None if attempt.expired else _translate_error(error, attempt)
        except asyncio.CancelledError as cancelled:
            attempt.abort()
            if not attempt.stop_timing():
                _mark_if_unsent(cancelled, attempt)
                raise
        except BaseException:
            attempt.abort()
            raise
        finally:
            attempt.stop_timing()
        if attempt.expired:
            # A scope around the call may have been cancelled in the same loop iteration; its cancellation goes first.
            try:
                await anyio.lowlevel.checkpoint_if_cancelled()
            except asyncio.CancelledError as cancelled:
                _mark_if_unsent(cancelled, attempt)
                raise
        # Raised outside of any handler: aiohttp's exceptions and frames may hold the headers with the API key.
        failure = failure or _timeout_error(sent=attempt.maybe_sent)
        if isinstance(failure, NoAnswerError) and attempt.status is not None:
            failure.status = attempt.status
        raise failure

    async def _send_over_session(
        self, session: aiohttp.ClientSession, request: WireRequest, attempt: Attempt, max_idle: float
    ) -> WireResponse:
        url = URL(request.url, encoded=True)
        exchange = _SessionExchange(attempt, self._guard, self._guard.get_host(str(url.origin())), max_idle)
        token = _CURRENT_EXCHANGE.set(exchange)
        try:
            return await self._read_over_session(session, request, url, exchange)
        except BaseException as error:
            if attempt.maybe_sent and (attempt.expired or isinstance(error, Exception)):
                # Whatever broke this connection may have broken those that are idle now.
                exchange.host.failures += 1
            raise
        finally:
            _CURRENT_EXCHANGE.reset(token)

    async def _read_over_session(
        self, session: aiohttp.ClientSession, request: WireRequest, url: URL, exchange: _SessionExchange
    ) -> WireResponse:
        response = await session.request(
            request.method,
            url,
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            timeout=_NO_TIMEOUT,
            middlewares=self._sessions.request_middlewares(),
            max_line_size=MAX_HEADER_LINE,
            max_field_size=MAX_HEADER_LINE,
            max_headers=MAX_HEADERS,
        )
        exchange.attempt.status = response.status
        try:
            body = await _read_body(response)
        except BaseException:
            response.close()
            raise
        exchange.mark_idle()
        return WireResponse(response.status, response.headers, body)

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


def _mark_if_unsent(cancelled: asyncio.CancelledError, attempt: Attempt) -> None:
    if not attempt.maybe_sent:
        cancelled.__cause__ = ConnectError("cancelled before anything was sent")


def _translate_error(error: Exception, attempt: Attempt) -> BardgeError:
    if isinstance(error, BardgeError):
        return error
    if isinstance(error, ResponseTooLargeError):
        return NoAnswerError(f"the response is larger than {MAX_RESPONSE_SIZE // 2**20} MiB")
    if isinstance(error, WindowClosedError):
        return NotSentError("not sent: the replay window of the key closed while connecting")
    unreadable = describe_unreadable(error) if attempt.maybe_sent else None
    if unreadable is not None:
        return _no_answer_error(f"the response cannot be read: {unreadable}", error)
    cause = _describe_error(error)
    if not attempt.maybe_sent or (isinstance(error, _NEVER_SENT) and not attempt.write_started):
        return ConnectError(f"cannot connect: {cause}; check the network, the base URL and any proxy")
    return _no_answer_error(f"the connection broke before a complete response arrived: {cause}", error)


def _no_answer_error(text: str, cause: Exception) -> NoAnswerError:
    error = NoAnswerError(text)
    error.status = find_status(cause)
    return error


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
