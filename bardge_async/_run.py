"""One call under way: its attempts, its entry in the journal, and what is told of it."""

from __future__ import annotations

import logging
from typing import Final

import anyio
import attrs

from bardge_async import _hooks as hooks
from bardge_async import _retry as retry
from bardge_async import _wire as wire
from bardge_async._clock import TimeLimit
from bardge_async._context import Context, Progress
from bardge_async._entries import Proceed, fingerprint
from bardge_async._http import REQUEST_ID_HEADER, Call, WireRequest, WireResponse
from bardge_async._record import Answer, EntryState, Identity, Record
from bardge_async._slots import Lane
from bardge_async._transport import AttemptLimits
from bardge_async._transport._echo import redacted
from bardge_async._window import LEAST_LEFT, History, Moment, left
from bardge_async._wire import Outcome, Verdict
from bardge_async.endpoints import Again
from bardge_async.errors import ConfigurationError, JournalError, NoAnswerError, NotSentError, PoolTimeoutError

_LOG: Final = logging.getLogger("bardge_async")
_SETTLING: Final = frozenset({Verdict.DONE, Verdict.UNREADABLE, Verdict.SETTLED})


class Run:
    """Make the attempts of one call, and keep its history and its record in step."""

    def __init__(self, context: Context, call: Call, progress: Progress, lane: Lane) -> None:
        self.call = call
        self.history = History()
        self.response: WireResponse | None = None
        self._context = context
        self._lane = lane
        self._clock = context.watch.clock
        self._progress = progress
        self._deadline = self._clock.elapsed() + context.settings.timeouts.total
        self._record: Record | None = None
        self._before: Record | None = None
        self._kept = False
        self.answered = False

    def open(self, identity: Identity, allowed: Proceed) -> None:
        """Go on from what is on record: the journal's bytes are what is sent again."""
        call = self.call
        self.history = allowed.history
        if allowed.body is not call.body:
            self.call = call = attrs.evolve(call, body=allowed.body)
        self._before = allowed.refused
        self._record = Record(
            identity=identity,
            endpoint=call.row.name,
            url=call.url,
            fingerprint=fingerprint(call),
            body=call.body,
            given=call.given,
            state=EntryState.SENT,
            first_sent=self.history.first_sent,
            answer=allowed.fault,
        )

    def refused(self) -> None:
        """Tell that the API refused the operation itself."""
        self._progress.refused = True

    def left(self) -> float:
        """Seconds until the call's deadline."""
        return self._deadline - self._clock.elapsed()

    def patience(self) -> float:
        """Seconds for which the call may wait before it sends, as its deadline and the window of a doubt allow."""
        if not self.history.in_doubt:
            return self.left()
        return retry.patience(self.case(Outcome(Verdict.NO_ANSWER), self._context.watch.now(), 0.0))

    def case(self, outcome: Outcome, now: Moment, roll: float) -> retry.Case:
        """Put together what the next decision rests on."""
        settings = self._context.settings
        return retry.Case(
            row=self.call.row,
            history=self.history,
            outcome=outcome,
            policy=settings.policy,
            window=settings.window,
            now=now,
            call_left=self._deadline - now.elapsed,
            roll=roll,
            key=self.call.key,
        )

    async def attempt(self, header: str) -> Outcome:
        """Send once, with one of the places for requests under way, and record what came of it."""
        lane = self._lane
        self.response = None
        if not lane.take():
            try:
                await lane.wait(min(self._context.settings.timeouts.pool, max(0.0, self.left())))
            except PoolTimeoutError as error:
                return self.recorded(Outcome(Verdict.NOT_SENT, error=error))
        try:
            unkept = None if self._record is None or self._kept else self._record
            failed = None if unkept is None else await self._intend(unkept)
            return failed or await self._send(header)
        finally:
            lane.release()

    async def _intend(self, record: Record) -> Outcome | None:
        """Put the intent on record before the call's first send; an outcome where that fails."""
        now = self._context.watch.now()
        first = self.history.first_sent if self.history.in_doubt else now
        record = record.at(record.state, first, now, record.answer)
        try:
            in_time = await self._written(record)
        except JournalError as error:
            return self.recorded(Outcome(Verdict.NOT_SENT, error=error))
        if not in_time:
            late = JournalError("the journal did not record the intent in time")
            late.timed_out = True
            await self._withdraw()
            return self.recorded(Outcome(Verdict.NOT_SENT, error=late))
        self._record, self._kept = record, True
        self.history.first_sent = first
        return None

    async def _written(self, record: Record) -> bool:
        """Put an intent on record before the deadline; False, or a cancellation, where that is too late."""
        journal = self._context.settings.journal
        if journal.instant:
            await journal.put(record)
            return True
        with TimeLimit(self._clock, max(0.0, self.left())) as scope:
            try:
                await journal.put(record)
            except anyio.get_cancelled_exc_class():
                if not scope.cancel_called:
                    # The caller goes away: what was never sent must not stand as sent.
                    with anyio.CancelScope(shield=True):
                        await self._withdraw()
                raise
        return not scope.cancelled_caught

    async def _send(self, header: str) -> Outcome:
        history, call = self.history, self.call
        now = self._context.watch.now()
        limits = self._limits(now)
        if limits is None:
            error = NotSentError("no time was left to send")
            error.timed_out = True
            await self._withdraw()
            return self.recorded(Outcome(Verdict.NOT_SENT, error=error))
        history.attempts += 1
        self._progress.attempts += 1
        if history.first_sent is None:
            history.first_sent = now
        self._tell(hooks.AttemptBegun)
        request = WireRequest(call.row.method, call.url, {**call.headers, "Authorization": header}, call.body)
        outcome = await self._exchange(request, limits, now, header)
        seconds = self._clock.elapsed() - now.elapsed
        if self._lane.pace.watched:
            self._lane.pace.saw(_strained(outcome, self.response), begun=now.elapsed, seconds=seconds)
        self._tell_ended(outcome, seconds)
        self.recorded(outcome)
        if self._record is not None:
            await self._keep(self._record, outcome, now, header)
        return outcome

    async def _exchange(self, request: WireRequest, limits: AttemptLimits, now: Moment, header: str) -> Outcome:
        try:
            self.response = await self._context.transport.send(request, limits)
        except NotSentError as error:
            return Outcome(Verdict.NOT_SENT, error=error)
        except NoAnswerError as error:
            return Outcome(Verdict.NO_ANSWER, error=error)
        except ConfigurationError as error:
            if self.history.in_doubt:
                return Outcome(Verdict.REFUSED, error=error)
            await self._withdraw()
            raise
        except Exception as error:  # noqa: BLE001 - a foreign transport: whatever it raises counts as sent
            return Outcome(Verdict.NO_ANSWER, error=NoAnswerError(f"the transport failed: {type(error).__name__}"))
        except BaseException:
            # Cancelled under way: what becomes of it nobody will be told.
            lost = Outcome(Verdict.NO_ANSWER)
            self._tell_ended(lost, self._clock.elapsed() - now.elapsed)
            self.recorded(lost)
            raise
        outcome = wire.read(self.call.row, self.response, now.wall, self._context.settings.base_url)
        if outcome.error is None:
            return outcome
        # Errors quote the answer, and some servers echo the key.
        self.response = redacted(self.response, header)
        return wire.read(self.call.row, self.response, now.wall, self._context.settings.base_url)

    def _limits(self, now: Moment) -> AttemptLimits | None:
        """Time limits of the next attempt; None where deadline or window leave no room for it."""
        settings = self._context.settings
        room = self._deadline - now.elapsed
        connect = min(settings.timeouts.connect, room)
        row, history = self.call.row, self.history
        if history.in_doubt and row.again is not Again.SAME:
            window_left = left(settings.window, history, now)
            if window_left is None or window_left < LEAST_LEFT:
                return None
            connect = min(connect, window_left)
        return AttemptLimits(connect, min(settings.timeouts.attempt, room)) if room > 0 else None

    def recorded(self, outcome: Outcome) -> Outcome:
        """Enter an outcome into the history, and tell of doubts."""
        history = self.history
        before = history.in_doubt
        retry.record(self.call.row, history, outcome)
        told = self._context.settings.hooks
        if told and history.in_doubt and not before and history.first_sent is not None:
            self._tell(hooks.DoubtOpened, first_sent_at=history.first_sent.at())
        elif told and before and not history.in_doubt:
            self._tell(hooks.DoubtSettled, done=outcome.verdict is not Verdict.SETTLED)
        return outcome

    async def _keep(self, record: Record, outcome: Outcome, now: Moment, header: str) -> None:
        """Bring the record in step with an attempt's outcome."""
        if self.history.in_doubt:
            if outcome.verdict is Verdict.FAULT and self.response is not None:
                await self._note_fault(record, self.response, now)
        elif outcome.verdict in _SETTLING:
            await self._finish(record, outcome, now, header)
        elif outcome.verdict is Verdict.NOT_SENT:
            await self._withdraw()
        else:
            # Answered and not executed: the server may hold the key to its body all the same.
            self._before = record.at(EntryState.REFUSED, record.first_sent, now, record.answer)
            await self._put(self._before)
            self._kept = False

    async def _note_fault(self, record: Record, response: WireResponse, now: Moment) -> None:
        """Put on record that the handler failed, so that the key may be forgotten: it stays in doubt."""
        answer = Answer(response.status, None, response.headers.get(REQUEST_ID_HEADER))
        self._record = record.at(record.state, record.first_sent, now, answer)
        await self._put(self._record)

    async def _finish(self, record: Record, outcome: Outcome, now: Moment, header: str) -> None:
        assert self.response is not None  # noqa: S101 - it settled the key
        shown = redacted(self.response, header)
        answer = Answer(shown.status, shown.body, shown.headers.get(REQUEST_ID_HEADER))
        refused = outcome.verdict is Verdict.SETTLED
        self.answered = not refused
        if refused:
            self.refused()
        state = EntryState.REFUSED if refused else EntryState.DONE
        await self._put(record.at(state, record.first_sent, now, answer))

    async def _put(self, record: Record) -> None:
        journal = self._context.settings.journal
        try:
            if journal.instant:
                await journal.put(record)
                return
            # A cancelled caller must not leave an answered call in doubt.
            with anyio.CancelScope(shield=True):
                await journal.put(record)
        except JournalError as error:
            # The server has answered: that is worth more than the record, which stays in doubt.
            self._progress.recorded = False
            _LOG.error("%s: the outcome of key %s is not on record: %s", record.endpoint, self.call.key, error)

    async def _withdraw(self) -> None:
        """Take back the intent of what never reached the server."""
        if self._record is None or self.history.in_doubt:
            return
        self._kept = False
        self.history.first_sent = None
        if self._before is not None:
            # An earlier refusal stands: the server may hold the key to its body.
            await self._put(self._before)
            return
        try:
            await self._context.settings.journal.remove(self._record.identity)
        except JournalError as error:
            # It stays on record as sent, which errs on the safe side.
            _LOG.warning("%s: the intent of key %s stays on record: %s", self.call.row.name, self.call.key, error)

    def _tell(self, kind: type[hooks.Event], **facts: object) -> None:
        told = self._context.settings.hooks
        if told:
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
        """Tell that the call waits because the server asked for it."""
        self._tell(hooks.HeldBack, seconds=seconds)

    def _tell_ended(self, outcome: Outcome, seconds: float) -> None:
        debugging = _LOG.isEnabledFor(logging.DEBUG)
        if not debugging and not self._context.settings.hooks:
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


def _strained(outcome: Outcome, response: WireResponse | None) -> bool:
    """Tell whether an attempt says that the server has too much to do."""
    if response is not None:
        return response.status in {429, 503}
    return outcome.error is not None and outcome.error.timed_out
