"""One call under way: its attempts, its entry in the journal, and what is told of it."""

from __future__ import annotations

import logging
from typing import Final

import anyio
import attrs

from bardge_async._calls import events as hooks
from bardge_async._calls.context import Context, Progress
from bardge_async._calls.told import Told
from bardge_async._core import response as wire
from bardge_async._core import retry
from bardge_async._core.entry import Answer, EntryState, Identity, Record
from bardge_async._core.http import REQUEST_ID_HEADER, Call, WireRequest, WireResponse
from bardge_async._core.redaction import plain_id, redacted
from bardge_async._core.replay import Proceed, fingerprint
from bardge_async._core.response import Outcome, Verdict
from bardge_async._core.window import LEAST_LEFT, Moment, left
from bardge_async._limits.connections import Lane
from bardge_async._network import AttemptLimits
from bardge_async._runtime.clock import TimeLimit
from bardge_async.endpoints import Again
from bardge_async.errors import (
    ConfigurationError,
    HeldBackError,
    JournalError,
    NoAnswerError,
    NotSentError,
    PoolTimeoutError,
)

_LOG: Final = logging.getLogger("bardge_async")
_SETTLING: Final = frozenset({Verdict.DONE, Verdict.UNREADABLE, Verdict.SETTLED})
_LONG: Final = 1.0
"""Seconds; who had to wait so long for the limiter's turn tells of it."""


class Run(Told):
    """Make the attempts of one call, and keep its history and its record in step."""

    __slots__ = (
        "_before",
        "_clock",
        "_deadline",
        "_fault",
        "_kept",
        "_progress",
        "_record",
        "answered",
        "begun",
        "identity",
        "lane",
    )

    def __init__(self, context: Context, call: Call, progress: Progress, lane: Lane) -> None:
        super().__init__(context, call)
        self.identity: Identity | None = None
        self.lane = lane
        self._clock = context.watch.clock
        self._progress = progress
        self.begun = self._clock.elapsed()
        self._deadline = self.begun + context.settings.timeouts.total
        self._record: Record | None = None
        self._before: Record | None = None
        self._fault: Answer | None = None
        self._kept = False
        self.answered = False

    def open(self, allowed: Proceed) -> None:
        """Go on from what is on record: the journal's bytes are what is sent again."""
        self.history = allowed.history
        if allowed.body is not self.call.body:
            self.call = attrs.evolve(self.call, body=allowed.body)
        self._before = allowed.refused
        self._fault = allowed.fault

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
        self.response = None
        waited = not self.lane.take()
        if waited and not await self.lane.wait(self._pool_patience()):
            return self._crowded()
        try:
            late = await self.turn() if waited and self._context.settings.limiter is not None else None
            if late is not None:
                return late
            now = self._context.watch.now()
            if self.identity is not None and not self._kept and not self._noted(self.identity, now):
                failed = await self._intend(self._intent(self.identity, now))
                if failed is not None:
                    return failed
                now = self._context.watch.now()
            limits = self._limits(now)
            if limits is None:
                return await self._too_late()
            request = self._begin(header, now)
            try:
                self.response = response = await self._context.transport.send(request, limits)
            except BaseException as error:  # noqa: BLE001 - raised on where it is not the call's
                outcome = await self._failed(error, now)
            else:
                outcome = self._read(response, now, header)
            self._ended(outcome, now)
            self.recorded(outcome)
            if self._record is not None:
                await self._keep(self._record, outcome, now, header)
            return outcome
        finally:
            self.lane.release()

    async def turn(self) -> Outcome | None:
        """Wait for the limiter's turn; an outcome where none comes before deadline or window ends."""
        limiter = self._context.settings.limiter
        if limiter is None:
            return None
        begun = self._clock.elapsed()
        try:
            await limiter.turn(self.patience())
        except HeldBackError as error:
            late = error
        except Exception as error:  # noqa: BLE001 - the user's own limiter
            late = HeldBackError(f"the limiter failed: {type(error).__name__}")
            late.__cause__ = error
        else:
            waited = self._clock.elapsed() - begun
            if waited >= _LONG:
                self.tell_held_back(waited)
            return None
        return self.recorded(Outcome(Verdict.NOT_SENT, error=late, retry_after=late.retry_after))

    def _pool_patience(self) -> float:
        return min(self._context.settings.timeouts.pool, max(0.0, self.left()))

    def _crowded(self) -> Outcome:
        error = PoolTimeoutError("no connection came free in time; raise max_connections or timeout.pool, or send less")
        error.timed_out = True
        return self.recorded(Outcome(Verdict.NOT_SENT, error=error))

    async def _too_late(self) -> Outcome:
        error = NotSentError("no time was left to send")
        error.timed_out = True
        await self._withdraw()
        return self.recorded(Outcome(Verdict.NOT_SENT, error=error))

    def _intent(self, identity: Identity, now: Moment) -> Record:
        """Make the record of what is about to be sent."""
        call, known = self.call, self._record
        first = self.history.first_sent if self.history.in_doubt else now
        if known is not None:
            return known.at(EntryState.SENT, first, now, known.answer)
        return Record(
            identity,
            call.row.name,
            call.url,
            fingerprint(call),
            call.body,
            call.given,
            EntryState.SENT,
            first,
            now,
            self._fault,
        )

    def _noted(self, identity: Identity, now: Moment) -> bool:
        """Put the intent on record at once, where the journal is in memory."""
        memory = self._context.memory
        if memory is None:
            return False
        self._record = record = self._intent(identity, now)
        memory.begin(record)
        self._kept = True
        self.history.first_sent = record.first_sent
        return True

    async def _intend(self, record: Record) -> Outcome | None:
        """Put the intent on record before the call's first send; an outcome where that fails."""
        self._record = record
        try:
            in_time = await self._written(record)
        except JournalError as error:
            return self.recorded(Outcome(Verdict.NOT_SENT, error=error))
        if not in_time:
            late = JournalError("the journal did not record the intent in time")
            late.timed_out = True
            await self._withdraw()
            return self.recorded(Outcome(Verdict.NOT_SENT, error=late))
        self._kept = True
        self.history.first_sent = record.first_sent
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

    def _begin(self, header: str, now: Moment) -> WireRequest:
        history, call = self.history, self.call
        history.attempts += 1
        self._progress.attempts += 1
        if history.first_sent is None:
            history.first_sent = now
        if self._context.hooks is not None:
            self._tell(hooks.AttemptBegun)
        return WireRequest(call.row.method, call.url, {**call.headers, "Authorization": header}, call.body)

    async def _failed(self, error: BaseException, now: Moment) -> Outcome:
        """Tell what a send came to that raised; raise on what is not the call's to tell."""
        if isinstance(error, NotSentError):
            return Outcome(Verdict.NOT_SENT, error=error)
        if isinstance(error, NoAnswerError):
            return Outcome(Verdict.NO_ANSWER, error=error)
        if isinstance(error, ConfigurationError):
            if self.history.in_doubt:
                return Outcome(Verdict.REFUSED, error=error)
            await self._withdraw()
            raise error
        if isinstance(error, Exception):
            # A foreign transport: whatever it raises counts as sent.
            return Outcome(Verdict.NO_ANSWER, error=NoAnswerError(f"the transport failed: {type(error).__name__}"))
        # Cancelled under way: what becomes of it nobody will be told.
        lost = Outcome(Verdict.NO_ANSWER)
        self._tell_ended(lost, self._clock.elapsed() - now.elapsed)
        self.recorded(lost)
        raise error

    def _read(self, response: WireResponse, now: Moment, header: str) -> Outcome:
        origin = self._context.settings.base_url
        outcome = wire.read(self.call.row, response, now.wall, origin)
        if outcome.error is None:
            return outcome
        # Errors quote the answer, and some servers echo the key.
        self.response = response = redacted(response, header)
        return wire.read(self.call.row, response, now.wall, origin)

    def _ended(self, outcome: Outcome, now: Moment) -> None:
        """Tell of an attempt's end, where anybody listens."""
        pace = self.lane.pace
        if not pace.watched and self._context.hooks is None and not _LOG.isEnabledFor(logging.DEBUG):
            return
        seconds = self._clock.elapsed() - now.elapsed
        if pace.watched:
            pace.saw(_strained(outcome, self.response), begun=now.elapsed, seconds=seconds)
        self._tell_ended(outcome, seconds)

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
        if self._context.hooks is not None and before is not history.in_doubt:
            self._tell_doubt(outcome)
        return outcome

    async def _keep(self, record: Record, outcome: Outcome, now: Moment, header: str) -> None:
        """Bring the record in step with an attempt's outcome."""
        if self.history.in_doubt:
            if outcome.verdict is Verdict.FAULT and self.response is not None:
                await self._note_fault(record, self.response, now)
        elif self.response is not None and (outcome.verdict is Verdict.DONE or outcome.verdict in _SETTLING):
            ended = self._finished(record, outcome, self.response, now, header)
            if ended is not None:
                await self._put(ended)
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

    def _finished(
        self, record: Record, outcome: Outcome, response: WireResponse, now: Moment, header: str
    ) -> Record | None:
        """Make the record of an operation that has its outcome; None where it is in the journal already."""
        refused = outcome.verdict is Verdict.SETTLED
        self.answered = not refused
        if refused:
            self.refused()
        # Nobody can know a fresh key before, so nobody asks for its answer again.
        body = redacted(response, header).body if record.given else None
        answer = Answer(response.status, body, plain_id(response, header))
        state = EntryState.REFUSED if refused else EntryState.DONE
        memory = self._context.memory
        if memory is None:
            return record.at(state, record.first_sent, now, answer)
        memory.end(record, state, now, answer)
        return None

    async def _put(self, record: Record) -> None:
        journal = self._context.settings.journal
        try:
            await journal.put(record)
        except anyio.get_cancelled_exc_class():
            # A cancelled caller must not leave an answered call in doubt: to put a record twice changes nothing.
            with anyio.CancelScope(shield=True):
                await self._put(record)
            raise
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


def _strained(outcome: Outcome, response: WireResponse | None) -> bool:
    """Tell whether an attempt says that the server has too much to do."""
    if response is not None:
        return response.status in {429, 503}
    return outcome.error is not None and outcome.error.timed_out
