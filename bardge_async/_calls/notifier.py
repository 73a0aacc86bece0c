"""Emit the events of calls to the user's hooks, and attempts to the debug log.

Apart from the events themselves, which the package root exports: this brings the converter, and so cattrs.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from bardge_async._calls.events import AttemptEnded, DoubtOpened, DoubtResolved, DriftFound, Event, Hook
from bardge_async._core.http import REQUEST_ID_HEADER, PreparedRequest, WireResponse
from bardge_async._core.response import Outcome, Verdict
from bardge_async._core.window import History
from bardge_async.errors import ConfigurationError

_LOG: Final = logging.getLogger("bardge_async")

OUTCOME_WORDS: Final[Mapping[Verdict, str]] = {
    Verdict.DONE: "done",
    Verdict.UNREADABLE: "unreadable",
    Verdict.NOT_SENT: "not_sent",
    Verdict.NO_ANSWER: "no_answer",
    Verdict.REFUSED: "settled",
    Verdict.REFUSED_UNSETTLED: "refused",
    Verdict.BUSY: "busy",
    Verdict.FAULT: "fault",
    Verdict.CACHED_FAULT: "cached_fault",
    Verdict.STILL_RUNNING: "still_running",
}
"""The values of ``AttemptEnded.outcome``. Users' dashboards match on them: they stay when a verdict is renamed."""


_TOLD_DRIFT: Final[set[tuple[str, str, str]]] = set()
"""Endpoint, field and kind of the drift that hooks of this process know of."""
_MAX_TOLD: Final = 10_000
"""Beyond it, drift is no news: objects that have ids for names would fill the memory."""


class Notifier:
    """Emit events to a client's hooks; ``has_hooks`` is False if it has none, so that calls need not build events."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        if not isinstance(hooks, Sequence):
            raise ConfigurationError(f"hooks: expected a list of callables, got {type(hooks).__name__}")
        for hook in hooks:
            if not _is_plain_callable(hook):
                raise ConfigurationError(f"hooks: expected synchronous callables, got {type(hook).__name__}")
        self._hooks = tuple(hooks)
        self.has_hooks = bool(self._hooks)

    def emit(self, event_type: type[Event], request: PreparedRequest, attempt: int, **facts: object) -> None:
        """Call every hook with an event of a request's attempt."""
        if not self.has_hooks:
            return
        event = event_type(endpoint=request.endpoint.name, idempotency_key=request.key, attempt=attempt, **facts)
        for hook in self._hooks:
            try:
                hook(event)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:  # noqa: BLE001 - a hook's CancelledError or GeneratorExit is not the call's
                _LOG.exception("a hook failed on %s", type(event).__name__)

    def _emit_doubt_change(self, request: PreparedRequest, history: History, outcome: Outcome) -> None:
        """Emit that an outcome opened or resolved the doubt about a POST."""
        if not history.in_doubt:
            self.emit(DoubtResolved, request, history.attempts, done=outcome.verdict is not Verdict.REFUSED)
        elif history.first_sent is not None:
            self.emit(DoubtOpened, request, history.attempts, first_sent_at=history.first_sent.to_datetime())

    def emit_attempt_ended(
        self,
        request: PreparedRequest,
        history: History,
        response: WireResponse | None,
        outcome: Outcome,
        seconds: float,
        *,
        doubt_changed: bool,
    ) -> None:
        """Emit an attempt's outcome and a doubt that it opened or resolved, and log the outcome at DEBUG."""
        status = None if response is None else response.status
        request_id = None if response is None else response.headers.get(REQUEST_ID_HEADER)
        _LOG.debug(
            "%s attempt %d: %s in %.0f ms (request id %s)",
            request.endpoint.name,
            history.attempts,
            OUTCOME_WORDS[outcome.verdict] if status is None else status,
            seconds * 1000,
            request_id,
        )
        self.emit(
            AttemptEnded,
            request,
            history.attempts,
            status=status,
            outcome=OUTCOME_WORDS[outcome.verdict],
            request_id=request_id,
            seconds=seconds,
            replayed=outcome.replayed,
        )
        if doubt_changed:
            self._emit_doubt_change(request, history, outcome)
        if outcome.drift and self.has_hooks:
            self._emit_drift(request, history, outcome)

    def _emit_drift(self, request: PreparedRequest, history: History, outcome: Outcome) -> None:
        """Emit what hooks of this process do not know yet of an endpoint's drift."""
        for field, kind in outcome.drift:
            drift = request.endpoint.name, field, kind
            if drift not in _TOLD_DRIFT and len(_TOLD_DRIFT) < _MAX_TOLD:
                _TOLD_DRIFT.add(drift)
                self.emit(DriftFound, request, history.attempts, field=field, kind=kind)


def _is_plain_callable(hook: object) -> bool:
    """Return whether calling a hook runs it; a coroutine function would only return a coroutine."""
    return callable(hook) and not any(inspect.iscoroutinefunction(one) for one in (hook, type(hook).__call__))
