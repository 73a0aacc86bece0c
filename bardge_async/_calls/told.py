"""What the user's hooks, and the log, are told of a call."""

from __future__ import annotations

import logging
from typing import Final

from bardge_async._calls import events as hooks
from bardge_async._calls.context import Context
from bardge_async._core.http import REQUEST_ID_HEADER, Call, WireResponse
from bardge_async._core.response import Outcome, Verdict
from bardge_async._core.window import History

_LOG: Final = logging.getLogger("bardge_async")


class Told:
    """A call that tells what happens to it, where anybody listens."""

    __slots__ = ("_context", "call", "history", "response")

    def __init__(self, context: Context, call: Call) -> None:
        self._context = context
        self.call = call
        self.history = History()
        self.response: WireResponse | None = None

    def _tell_doubt(self, outcome: Outcome) -> None:
        history = self.history
        if not history.in_doubt:
            self._tell(hooks.DoubtSettled, done=outcome.verdict is not Verdict.SETTLED)
        elif history.first_sent is not None:
            self._tell(hooks.DoubtOpened, first_sent_at=history.first_sent.at())

    def _tell(self, kind: type[hooks.Event], **facts: object) -> None:
        told = self._context.hooks
        if told is not None:
            event = kind(
                endpoint=self.call.row.name,
                idempotency_key=self.call.key,
                attempt=self.history.attempts,
                **facts,
            )
            told.tell(event)

    def tell_wait(self, seconds: float) -> None:
        """Tell that the call waits before its next attempt."""
        self._tell(hooks.WaitBegun, seconds=seconds)

    def tell_held_back(self, seconds: float) -> None:
        """Tell that the call waits because the server asked for it, or has waited for the limiter."""
        self._tell(hooks.HeldBack, seconds=seconds)

    def _tell_ended(self, outcome: Outcome, seconds: float) -> None:
        debugging = _LOG.isEnabledFor(logging.DEBUG)
        if not debugging and self._context.hooks is None:
            return
        response = self.response
        status = response.status if response is not None else None
        request_id = response.headers.get(REQUEST_ID_HEADER) if response is not None else None
        if debugging:
            said = status if status is not None else outcome.verdict.name.lower()
            _LOG.debug(
                "%s attempt %d: %s in %.0f ms (request id %s)",
                self.call.row.name,
                self.history.attempts,
                said,
                seconds * 1000,
                request_id,
            )
        self._tell(
            hooks.AttemptEnded,
            status=status,
            outcome=outcome.verdict.name.lower(),
            request_id=request_id,
            seconds=seconds,
            replayed=outcome.replayed,
        )
