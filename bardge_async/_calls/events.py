"""Events of a call, for the user's hooks: frozen values without bodies or secrets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TypeAlias

import attrs

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "DoubtOpened",
    "DoubtResolved",
    "DriftFound",
    "Event",
    "Hook",
    "RetryScheduled",
    "Throttled",
]


@attrs.frozen(kw_only=True)
class Event:
    """Base of all events of a call.

    Attributes:
        endpoint: The endpoint's name.
        idempotency_key: The POST's key, or None.
        attempt: The attempt's number, from 1; 0 before the first.
    """

    endpoint: str
    idempotency_key: str | None
    attempt: int


@attrs.frozen(kw_only=True)
class AttemptStarted(Event):
    """A request is about to be sent."""


@attrs.frozen(kw_only=True)
class AttemptEnded(Event):
    """An attempt has ended.

    Attributes:
        status: The HTTP status, or None without a response.
        outcome: ``"done"``, ``"not_sent"``, ``"no_answer"``, ``"refused"`` and the like.
        request_id: The response's ``Bardge-Request-Id``, or None.
        seconds: The attempt's duration.
        replayed: Whether the server returned a cached response.
    """

    status: int | None
    outcome: str
    request_id: str | None
    seconds: float
    replayed: bool


@attrs.frozen(kw_only=True)
class RetryScheduled(Event):
    """The call waits before its next attempt.

    Attributes:
        seconds: The wait until then.
    """

    seconds: float


@attrs.frozen(kw_only=True)
class Throttled(Event):
    """The call is delayed by the server's ``Retry-After`` (all calls or this endpoint's) or was by the limiter.

    Attributes:
        seconds: The wait ahead; for the limiter, whose delay is not known beforehand, the time waited, if 1 s or more.
    """

    seconds: float


@attrs.frozen(kw_only=True)
class DoubtOpened(Event):
    """A POST was sent and got no usable response: its outcome is unknown for now.

    Attributes:
        first_sent_at: When the key was first sent, aware UTC.
    """

    first_sent_at: dt.datetime


@attrs.frozen(kw_only=True)
class DoubtResolved(Event):
    """The outcome of a POST in doubt became known.

    Attributes:
        done: True if it was executed, False if it was refused.
    """

    done: bool


@attrs.frozen(kw_only=True)
class DriftFound(Event):
    """A response has a field that this version does not expect; emitted once per endpoint and field in a process.

    The value is in ``.extra`` of the object that has it. ``bardge doctor`` examines all endpoints.

    Attributes:
        field: Class and field, such as ``"Provider.rating"``.
        kind: ``"new"``: the class has no such field; ``"contradicted"``: it has another type than was inferred.
    """

    field: str
    kind: str


Hook: TypeAlias = Callable[[Event], object]
"""A synchronous callable that receives every event, outcomes once they are recorded.

What it raises is logged, never propagated, except for ``KeyboardInterrupt`` and ``SystemExit``.
"""
