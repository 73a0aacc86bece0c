"""The state of one call: its attempts, its history and its journal entry."""

from __future__ import annotations

import logging
from typing import Final

import anyio
import attrs

from bardge_async._calls.context import CallContext, OperationProgress
from bardge_async._calls.events import AttemptStarted, Event, Throttled
from bardge_async._calls.probe import probe_window
from bardge_async._calls.recording import describe_outage, put_cancelled_outcome, put_outcome
from bardge_async._core import retry
from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity, RecordedResponse, make_recorded_response
from bardge_async._core.fingerprint import compute_fingerprint
from bardge_async._core.http import REQUEST_ID_HEADER, PreparedRequest, WireRequest, WireResponse, make_wire_request
from bardge_async._core.redaction import clean_headers, redact_body, redact_drift, redact_token
from bardge_async._core.replay import SendAllowed, build_sent_entry
from bardge_async._core.response import Outcome, Verdict, classify, classify_broken
from bardge_async._core.window import ClockReading, History
from bardge_async._limits.accounts import request_permit
from bardge_async._limits.connections import LoopSemaphore
from bardge_async._runtime.clock import TimeLimit
from bardge_async.errors import (
    APIError,
    BardgeError,
    ConfigurationError,
    JournalError,
    NoAnswerError,
    NotSentError,
    PoolTimeoutError,
)

_LOG: Final = logging.getLogger("bardge_async")
_NO_CONNECTION: Final = "timed out waiting for a free connection; raise `max_connections` or `Timeouts(pool=...)`"
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
        "_refused_entry",
        "answered",
        "history",
        "identity",
        "progress",
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
        self.progress = progress
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

    def emit(self, event_type: type[Event], **facts: object) -> None:
        """Emit an event of this call to the user's hooks."""
        self._context.settings.notifier.emit(event_type, self.request, self.history.attempts, **facts)

    def seconds_left(self) -> float:
        """Return the seconds until the call's deadline."""
        return self._deadline - self._clock.elapsed()

    def seconds_throttled(self) -> float:
        """Return the seconds until ``Retry-After`` lets this call go, zero or less for now."""
        gate = self._context.account_limits.retry_after_gate
        return gate.seconds_until_open(self.request.endpoint, self._clock.elapsed())

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

    async def send_attempt(self, header: str) -> Outcome | None:  # noqa: C901 - in parts, every call would pay for them
        """Send once, holding a connection slot, and record the outcome; None if throttled while queued for the slot."""
        self.response, context, endpoint = None, self._context, self.request.endpoint
        waited = not self.semaphore.try_acquire()
        max_wait = min(context.settings.timeouts.pool, max(0.0, self.seconds_left())) if waited else 0.0
        if waited and not await self.semaphore.acquire(max_wait):
            return self._end_timed_out(PoolTimeoutError(_NO_CONNECTION))
        try:
            if waited and self.seconds_throttled() > 0:
                return None
            must_wait = waited or context.settings.window.probe
            blocked = await self._wait_to_send(header, waited=waited) if must_wait else None
            if blocked is not None:
                return blocked
            now = context.clock_reader.now()
            identity = None if self._intent_recorded else self.identity
            if identity is not None and not self._record_intent_now(identity, now):
                failed = await self._record_intent(self._build_intent(identity, now))
                if failed is not None:
                    return failed
                now = context.clock_reader.now()
            settings, left = context.settings, self._deadline - now.elapsed
            limits = retry.compute_limits(settings, endpoint, self.history, left, now, context.clock_reader.now)
            if limits is None:
                return await self._deadline_passed()
            wire_request = self._start_attempt(header, now)
            if self._context.settings.notifier.has_hooks:
                await self._announce_attempt()
            was_in_doubt = self.history.in_doubt
            try:
                self.response = response = await self._context.transport.send(wire_request, limits)
            except BaseException as error:  # noqa: BLE001 - re-raised unless it is an outcome
                outcome = await self._classify_failure(error, now)
            else:
                outcome = self._classify_response(response, now, header)
            self.add_to_history(outcome)
            if self._entry is not None or context.is_observed():
                await self._conclude_attempt(outcome, now, header, was_in_doubt=was_in_doubt)
            return outcome
        finally:
            self.semaphore.release()

    async def _conclude_attempt(self, outcome: Outcome, now: ClockReading, header: str, *, was_in_doubt: bool) -> None:
        """Record an attempt's outcome, then report it to adaptive limit, hooks and log, if any of them is active."""
        seconds = self._clock.elapsed() - now.elapsed if self._context.is_observed() else None
        try:
            if self._entry is not None:
                await self._record_outcome(self._entry, outcome, now, header)
        finally:
            # After the record: what a hook raises to end the process must not lose the outcome.
            if seconds is not None:
                pacing = self._context.account_limits.pacing
                if pacing.was_used:
                    status = None if self.response is None else self.response.status
                    pacing.observe(status, timed_out=outcome.timed_out, started_at=now.elapsed, seconds=seconds)
                self._notify_attempt_ended(outcome, seconds, was_in_doubt=was_in_doubt)

    def _notify_attempt_ended(self, outcome: Outcome, seconds: float, *, was_in_doubt: bool) -> None:
        notifier = self._context.settings.notifier
        if notifier.has_hooks or _LOG.isEnabledFor(logging.DEBUG):
            changed = was_in_doubt is not self.history.in_doubt
            notifier.emit_attempt_ended(
                self.request, self.history, self.response, outcome, seconds, doubt_changed=changed
            )

    async def _wait_to_send(self, header: str, *, waited: bool) -> Outcome | None:
        """Wait for the permit after a slot, and for the server's time; return an outcome if nothing may be sent."""
        settings = self._context.settings
        no_permit = await self.acquire_permit() if waited and settings.limiter is not None else None
        if no_permit is not None or not settings.window.probe:
            return no_permit
        error = await probe_window(self._context, self.request, self.history, header, self._deadline)
        # Final: asking again would not make the key younger.
        return None if error is None else self.add_to_history(Outcome(Verdict.REFUSED_UNSETTLED, error=error))

    async def acquire_permit(self) -> Outcome | None:
        """Wait for the limiter's permit; return an outcome if none is granted before deadline or window end."""
        limiter = self._context.settings.limiter
        assert limiter is not None
        started_at = self._clock.elapsed()
        throttled = await request_permit(limiter, self.max_wait())
        if throttled is not None:
            return self.add_to_history(Outcome(Verdict.NOT_SENT, error=throttled))
        if (waited := self._clock.elapsed() - started_at) >= _LONG_WAIT:
            self.emit(Throttled, seconds=waited)
        return None

    async def _deadline_passed(self) -> Outcome:
        await self._discard_intent()
        return self._end_timed_out(NotSentError("not sent: too little time left before deadline or window end"))

    def _end_timed_out(self, error: BardgeError) -> Outcome:
        error.timed_out = True
        return self.add_to_history(Outcome(Verdict.NOT_SENT, error=error))

    def _build_intent(self, identity: KeyIdentity, now: ClockReading) -> JournalEntry:
        """Build the journal entry of the request about to be sent."""
        earlier = self._entry
        first = self.history.first_sent if self.history.in_doubt else now
        if earlier is not None:
            return earlier.with_state(EntryState.SENT, first, now, earlier.answer)
        # The memory journal computes it when it is asked for, which is rare.
        fingerprint = "" if self._context.memory_journal is not None else compute_fingerprint(self.request)
        return build_sent_entry(identity, self.request, first, now, self._fault, fingerprint=fingerprint)

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
            cause = describe_outage(self._context.settings.journal)
            return self._end_timed_out(
                JournalError(f"timed out recording the intent in the journal; nothing was sent: {cause}")
            )
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
        self.progress.attempts += 1
        if history.first_sent is None:
            history.first_sent = now
        headers = {**request.headers, "Authorization": header}
        return make_wire_request(request.endpoint.method, request.url, headers, request.body)

    async def _announce_attempt(self) -> None:
        """Emit the start of an attempt; if a hook ends the process there, nothing was sent and no doubt stays."""
        try:
            self.emit(AttemptStarted)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._discard_intent()
            raise

    async def _classify_failure(self, error: BaseException, now: ClockReading) -> Outcome:
        """Return the outcome of a send that raised; re-raise what is no outcome."""
        if isinstance(error, NotSentError):
            return Outcome(Verdict.NOT_SENT, error=error)
        if isinstance(error, NoAnswerError):
            return classify_broken(self.request.endpoint, error)
        if isinstance(error, ConfigurationError):
            if self.history.in_doubt:
                return Outcome(Verdict.REFUSED_UNSETTLED, error=error)
            await self._discard_intent()
            raise error
        if isinstance(error, Exception):
            # A user's transport: without proof of the contrary, the request counts as sent.
            return Outcome(Verdict.NO_ANSWER, error=NoAnswerError(f"the transport failed: {type(error).__name__}"))
        # Cancelled: once anything may have been sent, the response, if any, is never read.
        lost = Outcome(Verdict.NOT_SENT if isinstance(error.__cause__, NotSentError) else Verdict.NO_ANSWER)
        seconds, was_in_doubt = self._clock.elapsed() - now.elapsed, self.history.in_doubt
        self.add_to_history(lost)
        if lost.verdict is Verdict.NOT_SENT:
            with anyio.CancelScope(shield=True):
                await self._discard_intent()
        self._notify_attempt_ended(lost, seconds, was_in_doubt=was_in_doubt)
        raise error

    def _classify_response(self, response: WireResponse, now: ClockReading, header: str) -> Outcome:
        self._context.clock_reader.observe_date(response.headers.get("Date", ""))
        origin = self._context.settings.base_url
        # Some servers echo the API key. Headers are shown and logged; a body is, too, if an error quotes it.
        self.response = response = redact_token(clean_headers(response, header), self.request.headers)
        outcome = classify(self.request.endpoint, response, now.wall, origin)
        if outcome.error is not None and (clean := redact_body(response, header)) is not response:
            self.response = clean
            return classify(self.request.endpoint, clean, now.wall, origin)
        return attrs.evolve(outcome, drift=redact_drift(outcome.drift, header)) if outcome.drift else outcome

    def add_to_history(self, outcome: Outcome) -> Outcome:
        """Add an outcome to the history and return it."""
        self.history.connection_broke = self.history.attempts > 0 and self.response is None
        retry.update_history(self.request.endpoint, self.history, outcome)
        return outcome

    async def _record_outcome(self, entry: JournalEntry, outcome: Outcome, now: ClockReading, header: str) -> None:
        """Update the journal entry with an attempt's outcome."""
        if self.history.in_doubt:
            if outcome.verdict is Verdict.FAULT and isinstance(outcome.error, APIError):
                await self._record_fault(entry, outcome.error, now)
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

    async def _record_fault(self, entry: JournalEntry, error: APIError, now: ClockReading) -> None:
        """Record that the server's handler failed and may not remember the key; the entry stays in doubt."""
        recorded = RecordedResponse(error.status, None, error.request_id)
        self._entry = entry.with_state(entry.state, entry.first_sent, now, recorded)
        await self._put_entry(self._entry)

    def _close_entry(
        self, entry: JournalEntry, outcome: Outcome, response: WireResponse, now: ClockReading, header: str
    ) -> JournalEntry | None:
        """Return the final entry of an operation with a known outcome; None if it has been written already."""
        refused = outcome.verdict is Verdict.REFUSED
        self.answered = not refused
        if refused:
            self.progress.refused = True
        body = redact_body(response, header).body if entry.keeps_bodies else None
        recorded = make_recorded_response(response.status, body, response.headers.get(REQUEST_ID_HEADER))
        state = EntryState.REFUSED if refused else EntryState.DONE
        memory = self._context.memory_journal
        if memory is None:
            return entry.with_state(state, entry.first_sent, now, recorded)
        memory.put_finished(entry, state, now, recorded)
        return None

    async def _put_entry(self, entry: JournalEntry) -> None:
        await put_outcome(self._context.settings.journal, entry, self._clock, self.progress)

    async def _discard_intent(self) -> None:
        """Undo the intent of a request that never reached the server."""
        if self._entry is None or self.history.in_doubt:
            return
        self._intent_recorded = False
        self.history.first_sent = None
        if self._refused_entry is not None:
            # An earlier refusal stands: the server may still reject this key with another body.
            journal = self._context.settings.journal
            await put_cancelled_outcome(journal, self._refused_entry, self._clock, self.progress)
            return
        try:
            await self._context.settings.journal.remove(self._entry.identity)
        except JournalError as error:
            # The entry stays recorded as sent, which is the safe side.
            name, key = self.request.endpoint.name, self.request.key
            _LOG.warning("%s: cannot remove the intent of key %s from the journal: %s", name, key, error)
