"""Hooks: what happens in a call, as frozen values without bodies or secrets."""

from __future__ import annotations

import datetime as dt
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import attrs

from bardge_async.errors import ConfigurationError

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "DoubtOpened",
    "DoubtResolved",
    "Event",
    "Hook",
    "RetryScheduled",
    "Throttled",
]

_LOG: Final = logging.getLogger("bardge_async")


@attrs.frozen(kw_only=True)
class Event:
    """Common to all events of one call.

    Attributes:
        endpoint: The row's name.
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
    """An attempt has come to an end.

    Attributes:
        status: The HTTP status, or None without an answer.
        outcome: ``"done"``, ``"not_sent"``, ``"no_answer"``, ``"refused"`` and the like.
        request_id: The answer's ``Bardge-Request-Id``, or None.
        seconds: How long it took.
        replayed: Whether the server returned a cached answer.
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
        seconds: How long it will wait.
    """

    seconds: float


@attrs.frozen(kw_only=True)
class Throttled(Event):
    """The call waits because the server asked all calls, or those of its row, to wait; or it had to wait for the limiter.

    Attributes:
        seconds: How long it will wait; for the limiter's turn, which nobody foresees, how long it has waited: a second
            or more.
    """

    seconds: float


@attrs.frozen(kw_only=True)
class DoubtOpened(Event):
    """A POST was sent and not usably answered: its outcome is unknown for now.

    Attributes:
        first_sent_at: When the key was first sent, aware UTC.
    """

    first_sent_at: dt.datetime


@attrs.frozen(kw_only=True)
class DoubtResolved(Event):
    """The outcome of a POST in doubt became known.

    Attributes:
        done: True when it was done, False when it was refused.
    """

    done: bool


Hook: TypeAlias = Callable[[Event], object]
"""A plain callable that is told every event; what it raises is logged, never passed on."""


class Hooks:
    """Tell events to the user's hooks."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        if not isinstance(hooks, Sequence):
            raise ConfigurationError(f"hooks: expected a list of callables, got {type(hooks).__name__}")
        for hook in hooks:
            if not _is_plain_callable(hook):
                raise ConfigurationError(f"hooks: expected plain callables, got {type(hook).__name__}")
        self._hooks = tuple(hooks)

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def emit(self, event: Event) -> None:
        """Call every hook."""
        for hook in self._hooks:
            try:
                hook(event)
            except Exception:  # noqa: BLE001 - whatever a hook raises
                _LOG.exception("a hook failed on %s", type(event).__name__)


def _is_plain_callable(hook: object) -> bool:
    """Tell whether something runs when it is called: a coroutine function would not."""
    return callable(hook) and not any(inspect.iscoroutinefunction(one) for one in (hook, type(hook).__call__))
