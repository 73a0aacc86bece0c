"""The exception tree: whose fault it was, and whether anything reached the server.

BardgeError
 ├── ConfigurationError (also ValueError)       the client was set up wrongly
 ├── InvalidArgumentError (also ValueError)     a call was made wrongly
 ├── IdempotencyMisuseError                     one key, two different operations
 ├── AlreadyDoneError                           the key's operation was done long ago
 ├── NotSentError                               nothing reached the server
 │    ├── ConnectError                          DNS, TCP, TLS or proxy
 │    ├── PoolTimeoutError                      no free connection in time
 │    ├── ThrottledError                         the server or the limiter makes it wait longer than the deadline
 │    ├── KeyInUseError                         another process works on the key
 │    └── JournalError                          the journal could not record the intent
 ├── NoAnswerError                              a GET was sent, no usable answer
 ├── OutcomeUnknownError                        a POST was sent, no usable answer
 ├── DecodeError                                an answer of another shape than documented
 ├── PaginationError                            a list that cannot be walked on
 └── APIError                                   the server answered with an error
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
    """Catch everything that this library raises.

    Every error survives ``pickle`` and ``copy``, and never contains the API key.

    Attributes:
        endpoint: The row's name, such as ``"credits.purchase"``; None before a call began.
        idempotency_key: The key that the POST was sent with, or would have been; None without one.
        attempts: How many requests were begun.
        sent: True when any attempt may have reached the server.
        timed_out: True when a time limit ended the call.
        retryable: True when the same call under the same key may be tried later without harm.
        retry_after: Seconds that the server asked to wait, or None.
        request_id: ``Bardge-Request-Id`` of the last answer, for the vendor's support.
        budget_empty: True when the call was not repeated because the retry budget was used up.
        cursor: Where the walk stood that raised this, or None outside a walk.
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
    """Correct how the client is made: no key, a plain-HTTP base URL, wrong ``paths``."""


class InvalidArgumentError(BardgeError, ValueError):
    """Correct an argument: the message names it and the fix; nothing was sent."""


class IdempotencyMisuseError(BardgeError):
    """Use one key for one operation: a different POST under a key was refused before it was sent."""


class AlreadyDoneError(BardgeError):
    """Stop: the key's operation was done so long ago that only its outcome is on record."""


class NotSentError(BardgeError):
    """Try again at any time: it is proved that nothing reached the server."""

    retryable: bool = True


class ConnectError(NotSentError):
    """Check network, base URL and proxy: DNS, TCP, TLS or the proxy refused or timed out."""


class PoolTimeoutError(NotSentError):
    """Raise ``max_connections`` or send less at once: no connection came free in time."""


class ThrottledError(NotSentError):
    """Come back later: the server asked all calls to wait beyond this call's deadline, or the limiter gave no turn."""


class KeyInUseError(NotSentError):
    """Wait for the other holder: another task or process works on this idempotency key."""


class JournalError(NotSentError):
    """Mend the journal: the intent could not be recorded, so nothing was sent."""


class NoAnswerError(BardgeError):
    """Ask again: a GET was sent and no usable answer came back; nothing was changed."""


class OutcomeUnknownError(BardgeError):
    """Find out before repeating: a POST was sent and no usable answer came back.

    The message says in words how to find out.

    Attributes:
        first_sent_at: When the key was first sent, aware UTC.
        window_closes_at: When the server forgets the key (90 s after the first send, without any
            margin; page: Idempotent Requests), aware UTC; None where no key protects the row.
        may_repeat: True when repeating the call is harmless: inside the window under the same key,
            or because the row sets an absolute state.
        last_error: What the last attempt ended with, or None.
    """

    first_sent_at: dt.datetime | None = None
    window_closes_at: dt.datetime | None = None
    may_repeat: bool = False
    last_error: BardgeError | None = None


class DecodeError(BardgeError):
    """Report the answer's shape: it contradicts the vendor's page, so it was not guessed at.

    Attributes:
        problems: One text per fault, with its path, such as
            ``$.transactions[0].amount: expected a number, got "abc"``.
        executed: True when a 2xx to a POST could not be read: the server did the work.
        status: The HTTP status.
        body: The raw answer.
    """

    executed: bool = False
    status: int | None = None
    body: bytes = b""

    def __init__(self, message: str = "", problems: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)


class PaginationError(BardgeError):
    """Go on from a cursor, or start anew: the list cannot be walked further as it is.

    Attributes:
        cursors: Places behind the last delivered items, latest first, for when the item of ``cursor`` was deleted;
            what was delivered after such a place is not delivered again.
    """

    cursors: tuple[str, ...] = ()


class APIError(BardgeError):
    """Read ``code`` and ``message``: the server answered with an error (page: Errors).

    Attributes:
        status: The HTTP status.
        message: ``error.message``, in the server's words; empty without an error object.
        type: ``error.type``, such as ``"invalid_request_error"``; None without an error object.
        code: ``error.code``, such as ``"pass_not_found"``; None without one.
        replayed: True when the answer carried ``X-Idempotent-Replayed: true``.
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
    """Look at the resource's state: 409."""


class IdempotencyKeyReusedError(ConflictError):
    """Use a new key: the server has seen this one with another body within 90 seconds."""


class ResourceConflictError(ConflictError):
    """Look at the resource: the slot is taken, the class full, the booking cancelled already.

    Attributes:
        sent_before: True when an earlier attempt may have caused the conflict itself.
    """

    sent_before: bool = False


class RateLimitError(APIError):
    """Wait ``retry_after`` seconds: 429, the request was not executed."""


class ServerError(APIError):
    """Try later, or ask the vendor with ``request_id``: 5xx with the API's own error object."""
