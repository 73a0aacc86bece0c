"""The state of one call: its attempts, its history and its journal entry."""

from __future__ import annotations

import logging
from typing import Final

import anyio
import attrs

from bardge_async._calls.context import CallContext, OperationProgress
from bardge_async._calls.events import AttemptStarted, Event, Throttled
from bardge_async._calls.limits import compute_limits
from bardge_async._calls.probe import probe_window
from bardge_async._core import response as wire
from bardge_async._core import retry
from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity, RecordedResponse
from bardge_async._core.http import REQUEST_ID_HEADER, PreparedRequest, WireRequest, WireResponse
from bardge_async._core.redaction import redact_api_key, redact_request_id
from bardge_async._core.replay import SendAllowed, build_sent_entry
from bardge_async._core.response import Outcome, Verdict
from bardge_async._core.window import ClockReading, History
from bardge_async._limits.connections import LoopSemaphore
from bardge_async._limits.pacing import is_overload
from bardge_async._runtime.clock import TimeLimit
from bardge_async.errors import (
    BardgeError,
    ConfigurationError,
    JournalError,
    NoAnswerError,
    NotSentError,
    PoolTimeoutError,
    ThrottledError,
)

_LOG: Final = logging.getLogger("bardge_async")
_LONG_WAIT: Final = 1.0
"""Seconds of waiting for the limiter from which a ``Throttled`` event is emitted."""


class CallState:
    """Send the attempts of one call, keeping its history and its journal entry in step."""

    __slots__ = (
        "_clock",
        "_context",
        "_deadline",
        "_entry",
        "_fault",
        "_intent_recorded",
        "_progress",
        "_refused_entry",
        "answered",
        "history",
        "identity",
        "request",
        "response",
        "semaphore",
        "started_at",
    )

    def __init__(
        self, context: CallContext, request: PreparedRequest, progress: OperationProgress, semaphore: LoopSemaphore
    ) -> None:
        self._context = context
        self.request = request
        self.history = History()
        self.response: WireResponse | None = None
        self.identity: KeyIdentity | None = None
        self.semaphore = semaphore
        self._clock = context.clock_reader.clock
        self._progress = progress
        self.started_at = self._clock.elapsed()
        self._deadline = self.started_at + context.settings.timeouts.total
        self._entry: JournalEntry | None = None
        self._refused_entry: JournalEntry | None = None
        self._fault: RecordedResponse | None = None
        self._intent_recorded = False
        self.answered = False

    def resume_from(self, allowed: SendAllowed) -> None:
        """Continue from a journal entry, with its history and its body bytes."""
        self.history = allowed.history
        if allowed.body is not self.request.body:
            self.request = attrs.evolve(self.request, body=allowed.body)
        self._refused_entry = allowed.refused_entry
        self._fault = allowed.server_failure

    def mark_refused(self) -> None:
        """Record in the progress that the API refused the operation itself."""
        self._progress.refused = True

    def emit(self, event_type: type[Event], **facts: object) -> None:
        """Emit an event of this call to the user's hooks."""
        self._context.settings.notifier.emit(event_type, self.request, self.history.attempts, **facts)

    def seconds_left(self) -> float:
        """Return the seconds until the call's deadline."""
        return self._deadline - self._clock.elapsed()

    def max_wait(self) -> float:
        """Return the seconds the call may wait before sending: to its deadline or, in doubt, its window's end."""
        if not self.history.in_doubt:
            return self.seconds_left()
        return retry.max_wait(self.retry_context(Outcome(Verdict.NO_ANSWER), self._context.clock_reader.now(), 0.0))

    def retry_context(self, outcome: Outcome, now: ClockReading, jitter: float) -> retry.RetryContext:
        """Collect what the next retry decision depends on."""
        settings = self._context.settings
        return retry.RetryContext(
            endpoint=self.request.endpoint,
            history=self.history,
            outcome=outcome,
            policy=settings.policy,
            window=settings.window,
            now=now,
            call_seconds_left=self._deadline - now.elapsed,
            jitter=jitter,
            key=self.request.key,
        )

    async def send_attempt(self, header: str) -> Outcome:
        """Send once, holding one of the loop's connection slots, and record the outcome."""
        self.response = None
        waited = not self.semaphore.try_acquire()
        max_wait = min(self._context.settings.timeouts.pool, max(0.0, self.seconds_left())) if waited else 0.0
        if waited and not await self.semaphore.acquire(max_wait):
            return self._pool_timeout()
        try:
            no_permit = await self.acquire_permit() if waited and self._context.settings.limiter is not None else None
            if no_permit is not None:
                return no_permit
            too_late = await self._probe_window(header) if self._context.settings.window.probe else None
            if too_late is not None:
                return too_late
            now = self._context.clock_reader.now()
            if (
                self.identity is not None
                and not self._intent_recorded
                and not self._record_intent_now(self.identity, now)
            ):
                failed = await self._record_intent(self._build_intent(self.identity, now))
                if failed is not None:
                    return failed
                now = self._context.clock_reader.now()
            limits = compute_limits(self._context, self.request, self.history, self._deadline, now)
            if limits is None:
                return await self._deadline_passed()
            wire_request = self._start_attempt(header, now)
            try:
                self.response = response = await self._context.transport.send(wire_request, limits)
            except BaseException as error:  # noqa: BLE001 - re-raised unless it is an outcome
                outcome = await self._classify_failure(error, now)
            else:
                outcome = self._classify_response(response, now, header)
            self._report_attempt(outcome, now)
            self.add_to_history(outcome)
            if self._entry is not None:
                await self._record_outcome(self._entry, outcome, now, header)
            return outcome
        finally:
            self.semaphore.release()

    async def _probe_window(self, header: str) -> Outcome | None:
        """Ask for the server's time before a send that depends on it; return an outcome if nothing may be sent."""
        error = await probe_window(self._context, self.request, self.history, header, self._deadline)
        # Final: asking again would not make the key younger.
        return None if error is None else self.add_to_history(Outcome(Verdict.REFUSED_UNSETTLED, error=error))

    async def acquire_permit(self) -> Outcome | None:
        """Wait for the limiter's permit; return an outcome if none is granted before deadline or window end."""
        limiter = self._context.settings.limiter
        if limiter is None:
            return None
        started_at = self._clock.elapsed()
        try:
            await limiter.acquire(self.max_wait())
        except ThrottledError as error:
            throttled = error
        except Exception as error:  # noqa: BLE001 - the user's own limiter
            throttled = ThrottledError(f"the limiter failed: {type(error).__name__}")
            throttled.__cause__ = error
        else:
            waited = self._clock.elapsed() - started_at
            if waited >= _LONG_WAIT:
                self.emit(Throttled, seconds=waited)
            return None
        return self.add_to_history(Outcome(Verdict.NOT_SENT, error=throttled))

    def _pool_timeout(self) -> Outcome:
        return self._end_timed_out(
            PoolTimeoutError("timed out waiting for a free connection; raise `max_connections` or `Timeouts(pool=...)`")
        )

    async def _deadline_passed(self) -> Outcome:
        await self._discard_intent()
        return self._end_timed_out(
            NotSentError("not sent: too little time left before the deadline or the end of the replay window")
        )

    def _end_timed_out(self, error: BardgeError) -> Outcome:
        error.timed_out = True
        return self.add_to_history(Outcome(Verdict.NOT_SENT, error=error))

    def _build_intent(self, identity: KeyIdentity, now: ClockReading) -> JournalEntry:
        """Build the journal entry of the request about to be sent."""
        earlier = self._entry
        first = self.history.first_sent if self.history.in_doubt else now
        if earlier is not None:
            return earlier.with_state(EntryState.SENT, first, now, earlier.answer)
        return build_sent_entry(identity, self.request, first, now, self._fault)

    def _record_intent_now(self, identity: KeyIdentity, now: ClockReading) -> bool:
        """Record the intent without awaiting; return False unless the journal is in memory."""
        memory = self._context.memory_journal
        if memory is None:
            return False
        self._entry = entry = self._build_intent(identity, now)
        memory.put_unfinished(entry)
        self._intent_recorded = True
        self.history.first_sent = entry.first_sent
        return True

    async def _record_intent(self, entry: JournalEntry) -> Outcome | None:
        """Record the intent before the call's first send; return an outcome if that fails."""
        self._entry = entry
        try:
            in_time = await self._put_intent(entry)
        except JournalError as error:
            return self.add_to_history(Outcome(Verdict.NOT_SENT, error=error))
        if not in_time:
            await self._discard_intent()
            return self._end_timed_out(JournalError("timed out recording the intent in the journal; nothing was sent"))
        self._intent_recorded = True
        self.history.first_sent = entry.first_sent
        return None

    async def _put_intent(self, entry: JournalEntry) -> bool:
        """Write the intent to the journal; return False, or raise a cancellation, if the deadline passes first."""
        journal = self._context.settings.journal
        if journal.instant:
            await journal.put(entry)
            return True
        with TimeLimit(self._clock, max(0.0, self.seconds_left())) as scope:
            try:
                await journal.put(entry)
            except anyio.get_cancelled_exc_class():
                if not scope.cancel_called:
                    # The caller cancelled: a request that was never sent must not stay recorded as sent.
                    with anyio.CancelScope(shield=True):
                        await self._discard_intent()
                raise
        return not scope.cancelled_caught

    def _start_attempt(self, header: str, now: ClockReading) -> WireRequest:
        history, request = self.history, self.request
        history.attempts += 1
        self._progress.attempts += 1
        if history.first_sent is None:
            history.first_sent = now
        if self._context.settings.notifier.has_hooks:
            self.emit(AttemptStarted)
        return WireRequest(
            request.endpoint.method, request.url, {**request.headers, "Authorization": header}, request.body
        )

    async def _classify_failure(self, error: BaseException, now: ClockReading) -> Outcome:
        """Return the outcome of a send that raised; re-raise what is no outcome."""
        if isinstance(error, NotSentError):
            return Outcome(Verdict.NOT_SENT, error=error)
        if isinstance(error, NoAnswerError):
            return Outcome(Verdict.NO_ANSWER, error=error)
        if isinstance(error, ConfigurationError):
            if self.history.in_doubt:
                return Outcome(Verdict.REFUSED_UNSETTLED, error=error)
            await self._discard_intent()
            raise error
        if isinstance(error, Exception):
            # A user's transport: without proof of the contrary, the request counts as sent.
            return Outcome(Verdict.NO_ANSWER, error=NoAnswerError(f"the transport failed: {type(error).__name__}"))
        # Cancelled in flight: the response, if any, is never read.
        lost = Outcome(Verdict.NO_ANSWER)
        seconds = self._clock.elapsed() - now.elapsed
        notifier = self._context.settings.notifier
        notifier.emit_attempt_ended(self.request, self.history.attempts, self.response, lost, seconds)
        self.add_to_history(lost)
        raise error

    def _classify_response(self, response: WireResponse, now: ClockReading, header: str) -> Outcome:
        self._context.clock_reader.observe_date(response.headers.get("Date", ""))
        origin = self._context.settings.base_url
        outcome = wire.classify(self.request.endpoint, response, now.wall, origin)
        if outcome.error is None:
            return outcome
        # Errors quote the response, and some servers echo the API key.
        self.response = response = redact_api_key(response, header)
        return wire.classify(self.request.endpoint, response, now.wall, origin)

    def _report_attempt(self, outcome: Outcome, now: ClockReading) -> None:
        """Report an attempt's end to adaptive limit, hooks and log, if any of them is active."""
        adaptive_limit, notifier = self.semaphore.adaptive_limit, self._context.settings.notifier
        is_notifying = notifier.has_hooks or _LOG.isEnabledFor(logging.DEBUG)
        if not adaptive_limit.batches and not is_notifying:
            return
        seconds = self._clock.elapsed() - now.elapsed
        if adaptive_limit.batches:
            status, timed_out = None if self.response is None else self.response.status, outcome.timed_out
            adaptive_limit.observe(is_overload(status, timed_out=timed_out), started_at=now.elapsed, seconds=seconds)
        if is_notifying:
            notifier.emit_attempt_ended(self.request, self.history.attempts, self.response, outcome, seconds)

    def add_to_history(self, outcome: Outcome) -> Outcome:
        """Add an outcome to the history, and emit a doubt that it opens or resolves."""
        history = self.history
        was_in_doubt = history.in_doubt
        retry.update_history(self.request.endpoint, history, outcome)
        if was_in_doubt is not history.in_doubt:
            self._context.settings.notifier.emit_doubt_change(self.request, history, outcome)
        return outcome

    async def _record_outcome(self, entry: JournalEntry, outcome: Outcome, now: ClockReading, header: str) -> None:
        """Update the journal entry with an attempt's outcome."""
        if self.history.in_doubt:
            if outcome.verdict is Verdict.FAULT and self.response is not None:
                await self._record_fault(entry, self.response, now)
        elif self.response is not None and outcome.verdict.settles:
            final_entry = self._close_entry(entry, outcome, self.response, now, header)
            if final_entry is not None:
                await self._put_entry(final_entry)
        elif outcome.verdict is Verdict.NOT_SENT:
            await self._discard_intent()
        else:
            # Answered and not executed: the server may still reject this key with another body.
            self._refused_entry = entry.with_state(EntryState.REFUSED, entry.first_sent, now, entry.answer)
            await self._put_entry(self._refused_entry)
            self._intent_recorded = False

    async def _record_fault(self, entry: JournalEntry, response: WireResponse, now: ClockReading) -> None:
        """Record that the server's handler failed and may not remember the key; the entry stays in doubt."""
        recorded = RecordedResponse(response.status, None, response.headers.get(REQUEST_ID_HEADER))
        self._entry = entry.with_state(entry.state, entry.first_sent, now, recorded)
        await self._put_entry(self._entry)

    def _close_entry(
        self, entry: JournalEntry, outcome: Outcome, response: WireResponse, now: ClockReading, header: str
    ) -> JournalEntry | None:
        """Return the final entry of an operation with a known outcome; None if it has been written already."""
        refused = outcome.verdict is Verdict.REFUSED
        self.answered = not refused
        if refused:
            self.mark_refused()
        body = redact_api_key(response, header).body if entry.keeps_bodies else None
        recorded = RecordedResponse(response.status, body, redact_request_id(response, header))
        state = EntryState.REFUSED if refused else EntryState.DONE
        memory = self._context.memory_journal
        if memory is None:
            return entry.with_state(state, entry.first_sent, now, recorded)
        memory.put_finished(entry, state, now, recorded)
        return None

    async def _put_entry(self, entry: JournalEntry) -> None:
        journal = self._context.settings.journal
        try:
            await journal.put(entry)
        except anyio.get_cancelled_exc_class():
            # A cancellation must not leave an answered call in doubt; writing an entry twice is harmless.
            with anyio.CancelScope(shield=True):
                await self._put_entry(entry)
            raise
        except JournalError as error:
            # The server has answered: return that result, although the entry stays in doubt.
            self._progress.recorded = False
            _LOG.error(
                "%s: cannot record the outcome of key %s in the journal: %s", entry.endpoint, self.request.key, error
            )

    async def _discard_intent(self) -> None:
        """Undo the intent of a request that never reached the server."""
        if self._entry is None or self.history.in_doubt:
            return
        self._intent_recorded = False
        self.history.first_sent = None
        if self._refused_entry is not None:
            # An earlier refusal stands: the server may still reject this key with another body.
            await self._put_entry(self._refused_entry)
            return
        try:
            await self._context.settings.journal.remove(self._entry.identity)
        except JournalError as error:
            # The entry stays recorded as sent, which is the safe side.
            _LOG.warning(
                "%s: cannot remove the intent of key %s from the journal: %s",
                self.request.endpoint.name,
                self.request.key,
                error,
            )
