"""The exception tree: who was at fault, and whether anything reached the server.

BardgeError
 ├── ConfigurationError (also ValueError)       the client is configured wrongly
 ├── InvalidArgumentError (also ValueError)     a call has a wrong argument
 ├── IdempotencyMisuseError                     one key for two different operations
 ├── AlreadyDoneError                           the operation is done; its response was not kept
 ├── NotSentError                               nothing reached the server
 │    ├── ConnectError                          DNS, TCP, TLS or proxy failed
 │    ├── PoolTimeoutError                      timed out waiting for a free connection
 │    ├── ThrottledError                         Retry-After or the limiter would delay it past its deadline
 │    ├── KeyInUseError                         another task or process holds the key
 │    └── JournalError                          the journal could not record the intent to send
 ├── NoAnswerError                              a GET got no usable response
 ├── OutcomeUnknownError                        a POST got no usable response
 ├── DecodeError                                a response contradicts the documentation
 ├── PaginationError                            a walk cannot continue
 └── APIError                                   the server returned an error
      ├── InvalidRequestError 400
      ├── AuthenticationError 401
      ├── PermissionDeniedError 403
      ├── NotFoundError 404
      ├── ConflictError 409
      │    ├── IdempotencyKeyReusedError
      │    └── ResourceConflictError
      ├── RateLimitError 429
      └── ServerError 5xx
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

__all__ = [
    "APIError",
    "AlreadyDoneError",
    "AuthenticationError",
    "BardgeError",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "DecodeError",
    "IdempotencyKeyReusedError",
    "IdempotencyMisuseError",
    "InvalidArgumentError",
    "InvalidRequestError",
    "JournalError",
    "KeyInUseError",
    "NoAnswerError",
    "NotFoundError",
    "NotSentError",
    "OutcomeUnknownError",
    "PaginationError",
    "PermissionDeniedError",
    "PoolTimeoutError",
    "RateLimitError",
    "ResourceConflictError",
    "ServerError",
    "ThrottledError",
]


class BardgeError(Exception):
    """Catch every error that this library raises.

    Errors can be pickled and copied, and never contain the API key.

    Attributes:
        endpoint: The endpoint's name, such as ``"credits.purchase"``; None outside a call.
        idempotency_key: The key the POST was, or would have been, sent with; None without one.
        attempts: The number of attempts started.
        sent: True if any attempt may have reached the server.
        timed_out: True if a time limit ended the call.
        retryable: True if the same call under the same key may safely be retried later.
        retry_after: Seconds that the server asked the client to wait, or None.
        request_id: ``Bardge-Request-Id`` of the last response, for the vendor's support.
        budget_empty: True if the call was not retried because the retry budget was used up.
        cursor: The position of the walk that raised this, to resume from; None outside a walk.
    """

    endpoint: str | None = None
    idempotency_key: str | None = None
    attempts: int = 0
    sent: bool = False
    timed_out: bool = False
    retryable: bool = False
    retry_after: float | None = None
    request_id: str | None = None
    budget_empty: bool = False
    cursor: str | None = None


class ConfigurationError(BardgeError, ValueError):
    """Correct the client's configuration: a missing key, a plain-HTTP base URL, wrong ``paths``."""


class InvalidArgumentError(BardgeError, ValueError):
    """Correct the argument that the message names; nothing was sent."""


class IdempotencyMisuseError(BardgeError):
    """Use each key for one operation only: a different POST under this key was rejected before it was sent."""


class AlreadyDoneError(BardgeError):
    """Do not repeat: the key's operation is done, but its response was not kept or has been removed."""


class NotSentError(BardgeError):
    """Retry at any time: nothing reached the server."""

    retryable: bool = True


class ConnectError(NotSentError):
    """Check network, base URL and proxy: DNS, TCP, TLS or the proxy refused or timed out."""


class PoolTimeoutError(NotSentError):
    """Raise ``max_connections`` or send fewer concurrent requests: timed out waiting for a free connection."""


class ThrottledError(NotSentError):
    """Retry later: ``Retry-After`` or the rate limiter would delay this call past its deadline."""


class KeyInUseError(NotSentError):
    """Wait for the other holder: another task or process is using this idempotency key."""


class JournalError(NotSentError):
    """Repair the journal: the intent to send could not be recorded, so nothing was sent."""


class NoAnswerError(BardgeError):
    """Retry: a GET was sent but no usable response came back; nothing was changed.

    Attributes:
        status: The HTTP status, if one arrived before the response broke off; else None.
    """

    status: int | None = None


class OutcomeUnknownError(BardgeError):
    """Find out the outcome before repeating: a POST was sent but no usable response came back.

    The message says how to find out.

    Attributes:
        first_sent_at: When the key was first sent, aware UTC.
        window_closes_at: When the server forgets the key (90 s after the first send, without any
            margin; page: Idempotent Requests), aware UTC; None if no key protects the endpoint.
        may_repeat: True if repeating the call is harmless: within the window under the same key,
            or because the endpoint sets an absolute state.
        last_error: The last attempt's error, or None.
    """

    first_sent_at: dt.datetime | None = None
    window_closes_at: dt.datetime | None = None
    may_repeat: bool = False
    last_error: BardgeError | None = None


class DecodeError(BardgeError):
    """Report the response: it contradicts the vendor's page, so it was not guessed at.

    Attributes:
        problems: One text per mismatch, with its path, such as
            ``$.transactions[0].amount: expected a number, got "abc"``.
        executed: True if the response was a 2xx to a POST: the server executed it.
        status: The HTTP status.
        body: The raw response body.
    """

    executed: bool = False
    status: int | None = None
    body: bytes = b""

    def __init__(self, message: str = "", problems: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)


class PaginationError(BardgeError):
    """Resume from a cursor, or start over: the walk cannot continue from its position.

    Attributes:
        cursors: Cursors after the last delivered items, latest first, for use if the item of ``cursor`` was deleted.
            Items already delivered after such a cursor are not delivered again.
    """

    cursors: tuple[str, ...] = ()


class APIError(BardgeError):
    """Check ``code`` and ``message``: the server returned an error (page: Errors).

    Attributes:
        status: The HTTP status.
        message: ``error.message``, as the server sent it; empty without an error object.
        type: ``error.type``, such as ``"invalid_request_error"``; None without an error object.
        code: ``error.code``, such as ``"pass_not_found"``; None without one.
        replayed: True if the response had the header ``X-Idempotent-Replayed: true``.
    """

    status: int = 0
    type: str | None = None
    code: str | None = None
    message: str = ""
    replayed: bool = False


class InvalidRequestError(APIError):
    """Correct the request: 400."""


class AuthenticationError(APIError):
    """Check the API key: 401."""


class PermissionDeniedError(APIError):
    """Ask the vendor: 403, the account is disabled or lacks the permission."""


class NotFoundError(APIError):
    """Check the id, or the base URL if the message says so: 404."""


class ConflictError(APIError):
    """Check the resource's state: 409."""


class IdempotencyKeyReusedError(ConflictError):
    """Use a new key: the server received this one with a different body within the last 90 seconds."""


class ResourceConflictError(ConflictError):
    """Check the resource: the slot is taken, the class is full, or the booking is already cancelled.

    Attributes:
        sent_before: True if an earlier attempt of this operation may have caused the conflict.
    """

    sent_before: bool = False


class RateLimitError(APIError):
    """Wait ``retry_after`` seconds: 429, the request was not executed."""


class ServerError(APIError):
    """Retry later, or ask the vendor, quoting ``request_id``: 5xx, except what proxies in between send."""
