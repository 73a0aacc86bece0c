"""Emit a call's events to the user's hooks and the debug log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from bardge_async._calls import events as hooks
from bardge_async._calls.context import CallContext
from bardge_async._core.http import REQUEST_ID_HEADER, PreparedRequest, WireResponse
from bardge_async._core.response import Outcome, Verdict
from bardge_async._core.window import History

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
"""The values of ``AttemptEnded.outcome``. Users' dashboards know them: they stay when a member is renamed."""


class Notifier:
    """Emit a call's events, if there are hooks or the debug log is on."""

    __slots__ = ("_context", "history", "request", "response")

    def __init__(self, context: CallContext, request: PreparedRequest) -> None:
        self._context = context
        self.request = request
        self.history = History()
        self.response: WireResponse | None = None

    def _emit_doubt_change(self, outcome: Outcome) -> None:
        history = self.history
        if not history.in_doubt:
            self._emit(hooks.DoubtResolved, done=outcome.verdict is not Verdict.REFUSED)
        elif history.first_sent is not None:
            self._emit(hooks.DoubtOpened, first_sent_at=history.first_sent.to_datetime())

    def _emit(self, event_type: type[hooks.Event], **facts: object) -> None:
        user_hooks = self._context.hooks
        if user_hooks is not None:
            event = event_type(
                endpoint=self.request.endpoint.name,
                idempotency_key=self.request.key,
                attempt=self.history.attempts,
                **facts,
            )
            user_hooks.emit(event)

    def emit_wait(self, seconds: float) -> None:
        """Emit that the call waits before its next attempt."""
        self._emit(hooks.RetryScheduled, seconds=seconds)

    def emit_throttled(self, seconds: float) -> None:
        """Emit that ``Retry-After`` delays the call, or that the limiter did."""
        self._emit(hooks.Throttled, seconds=seconds)

    def _emit_attempt_ended(self, outcome: Outcome, seconds: float) -> None:
        debugging = _LOG.isEnabledFor(logging.DEBUG)
        if not debugging and self._context.hooks is None:
            return
        response = self.response
        status = response.status if response is not None else None
        request_id = response.headers.get(REQUEST_ID_HEADER) if response is not None else None
        if debugging:
            result = status if status is not None else OUTCOME_WORDS[outcome.verdict]
            _LOG.debug(
                "%s attempt %d: %s in %.0f ms (request id %s)",
                self.request.endpoint.name,
                self.history.attempts,
                result,
                seconds * 1000,
                request_id,
            )
        self._emit(
            hooks.AttemptEnded,
            status=status,
            outcome=OUTCOME_WORDS[outcome.verdict],
            request_id=request_id,
            seconds=seconds,
            replayed=outcome.replayed,
        )
