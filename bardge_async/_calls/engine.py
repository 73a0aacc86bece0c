"""The call loop: claim the key, then send and retry until the outcome is known or retrying must stop."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any, Final

import anyio

from bardge_async._calls.context import CallContext, ClientSettings, OperationProgress
from bardge_async._calls.events import RetryScheduled, Throttled
from bardge_async._calls.state import CallState
from bardge_async._core import retry
from bardge_async._core.entry import EntryState, KeyIdentity, RecordedResponse, WallLog
from bardge_async._core.http import REQUEST_ID_HEADER, PreparedRequest, Response, WireResponse
from bardge_async._core.replay import check_replay
from bardge_async._core.response import Outcome, Verdict, classify
from bardge_async._core.window import ClockReading
from bardge_async._journal import MemoryJournal
from bardge_async._limits.accounts import AccountRegistry
from bardge_async._limits.connections import ConnectionSlots
from bardge_async._network import Transport
from bardge_async._runtime.clock import ClockReader, TimeLimit
from bardge_async.errors import (
    AuthenticationError,
    BardgeError,
    JournalError,
    NotSentError,
    OutcomeUnknownError,
    ThrottledError,
)

_LOG: Final = logging.getLogger("bardge_async")
_RELEASE_SPREAD: Final = 1.0
"""Seconds over which throttled calls are released, so that they do not all arrive together."""
_TOO_MANY_REQUESTS: Final = 429
_DEFAULT_RETRY_AFTER: Final = 1.0
"""Seconds for which the limiter pauses after a 429 without ``Retry-After``."""


class Engine:
    """Run calls: send, classify the outcome, wait and retry; return a result or raise one error."""

    def __init__(
        self,
        settings: ClientSettings,
        transport: Transport,
        slots: ConnectionSlots,
        clock_reader: ClockReader,
        jitter: Callable[[], float] = random.random,
        *,
        accounts: AccountRegistry | None = None,
    ) -> None:
        self.settings = settings
        self.transport = transport
        self.slots = slots
        self.clock_reader = clock_reader
        # Not for subclasses: the shortcuts below would bypass methods that they override.
        memory = settings.journal if type(settings.journal) is MemoryJournal else None
        hold_fresh = getattr(settings.journal, "hold_fresh", None)
        self._accounts = AccountRegistry() if accounts is None else accounts
        self.account_limits = self._accounts.find_limits(settings.account, settings.credentials.source)
        self.retry_after_gate = self.account_limits.retry_after_gate
        self.retry_budget = self.account_limits.find_budget(settings.policy)
        self._context = CallContext(settings, transport, slots, self.account_limits, clock_reader, memory, hold_fresh)
        self._limiter = settings.limiter
        self.jitter = jitter

    def with_settings(self, settings: ClientSettings) -> Engine:
        """Return an engine with other settings over the same connections; another account has its own limits."""
        return Engine(settings, self.transport, self.slots, self.clock_reader, self.jitter, accounts=self._accounts)

    async def run(
        self,
        request: PreparedRequest,
        progress: OperationProgress | None = None,
        *,
        claim_timeout: float | None = None,
        retry_refused: bool = True,
    ) -> Response[Any]:
        """Run a call; wait up to ``claim_timeout`` seconds for another holder of its key (default: the call's timeout).

        Without ``retry_refused`` a journaled refusal is raised again and nothing is sent.

        Raises:
            BardgeError: The call failed; the error reflects the key's whole history, not only the last attempt.
        """
        state = CallState(
            self._context, request, OperationProgress() if progress is None else progress, self.slots.call_started()
        )
        try:
            result = await self._run_attempts(state, claim_timeout=claim_timeout, retry_refused=retry_refused)
        except BaseException as error:
            _annotate_exception(error, state)
            raise
        finally:
            self._finish_call(state)
        return result if isinstance(result, Response) else _build_response(state, result)

    async def value(self, request: PreparedRequest) -> Any:  # noqa: ANN401 - the endpoint's response class
        """Run a call and return the result alone, as resource methods do.

        Raises:
            BardgeError: The call failed; the error reflects the key's whole history, not only the last attempt.
        """
        state = CallState(self._context, request, OperationProgress(), self.slots.call_started())
        try:
            return (await self._run_attempts(state)).value
        except BaseException as error:
            _annotate_exception(error, state)
            raise
        finally:
            self._finish_call(state)

    def _finish_call(self, state: CallState) -> None:
        if state.identity is not None:
            self.settings.journal.release(state.identity)
        state.semaphore.call_finished()

    async def _run_attempts(
        self, state: CallState, *, claim_timeout: float | None = None, retry_refused: bool = True
    ) -> Response[Any] | Outcome:
        """Return the journaled response, or send attempts until one succeeds."""
        key = state.request.key
        if key is not None and not self._claim_fresh_key(state, key):
            replayed = await self._claim_key(state, key, claim_timeout, retry_refused=retry_refused)
            if replayed is not None:
                return replayed
        self.retry_budget.count_first_attempt(state.started_at)
        key_renewed = False
        while True:
            header = self.settings.credentials.known_header or await self._wait_for_header(state)
            must_wait = self._limiter is not None or (self.retry_after_gate.ever_held and state.seconds_throttled() > 0)
            blocked = await self._wait_for_permission(state) if must_wait else None
            outcome = blocked or await state.send_attempt(header)
            if outcome is None:
                continue
            if outcome.verdict is Verdict.DONE:
                return outcome
            # One renewal a call: a second rejection means that the new API key is wrong, too.
            if not key_renewed and _is_key_rejected(outcome) and await self._renew_header(state, header):
                key_renewed = True
                continue
            await self._wait_before_retry(state, outcome)

    def _claim_fresh_key(self, state: CallState, key: str) -> bool:
        """Claim a key without awaiting, if it surely has no journal entry; else return False and change nothing."""
        context = self._context
        if context.memory_journal is None and not (state.request.is_fresh_key and context.hold_fresh is not None):
            return False
        identity = KeyIdentity(self.settings.base_url, self.settings.account, key)
        memory = context.memory_journal
        if memory is None:
            hold = context.hold_fresh
        else:
            hold = memory.hold_generated if state.request.is_fresh_key else memory.hold_if_new
        if hold is None or not hold(identity):
            return False
        state.identity = identity
        if memory is None:
            self._observe_journal()
        else:
            self.clock_reader.observe(memory.walls)
        return True

    async def _claim_key(
        self, state: CallState, key: str, timeout: float | None, *, retry_refused: bool
    ) -> Response[Any] | None:
        """Claim a POST's key; return the journaled response if there is one, so that nothing is sent."""
        settings, request = self.settings, state.request
        journal = settings.journal
        identity = KeyIdentity(settings.base_url, settings.account, key)
        entry = await journal.claim(
            identity, state.seconds_left() if timeout is None else timeout, self.clock_reader.clock
        )
        state.identity = identity
        self._observe_journal()
        if entry is None:
            return None
        now = self.clock_reader.now()
        if entry.state is EntryState.SENT:
            await self._record_reading(now)
        overtaken = request.endpoint.repeat_is_harmless and await journal.overtaken(entry)
        trusting = settings.policy.repeat_server_errors
        decision = check_replay(entry, request, now, settings.window, overtaken=overtaken, faults_are_cached=trusting)
        if isinstance(decision, RecordedResponse):
            return _replay_response(state, decision)
        refusal = None if decision.refused_entry is None else decision.refused_entry.answer
        if refusal is not None and not retry_refused:
            raise _replay_refusal(state, refusal)
        state.resume_from(decision)
        return None

    def _observe_journal(self) -> None:
        """Include the wall times that the journal has on record."""
        journal = self.settings.journal
        walls = getattr(journal, "walls", None)
        self.clock_reader.observe(WallLog(journal.highest) if walls is None else walls)

    async def observe_clocks(self) -> None:
        """Compare the clocks with what the journal has on record, and record a reading of them."""
        self._observe_journal()
        await self._record_reading(self.clock_reader.now())

    async def _record_reading(self, now: ClockReading) -> None:
        """Record the reading by which a key in doubt is judged; failing that, only this process knows it."""
        record = getattr(self.settings.journal, "record_reading", None)
        if record is None:
            return
        try:
            await record(now)
        except JournalError as error:
            _LOG.warning("cannot record a reading of the clocks in the journal: %s", error)

    async def _wait_for_header(self, state: CallState) -> str:
        """Wait for the API key until the call's deadline."""
        with TimeLimit(self.clock_reader.clock, state.seconds_left()):
            return await self.settings.credentials.get_header()
        error = NotSentError("timed out waiting for the `api_key` callable")
        error.timed_out = True
        outcome = state.add_to_history(Outcome(Verdict.NOT_SENT, error=error))
        raise retry.final_error(state.retry_context(outcome, self.clock_reader.now(), 0.0))

    async def _renew_header(self, state: CallState, header: str) -> bool:
        """Ask for the API key again; return False if it is unchanged or the deadline passes."""
        with TimeLimit(self.clock_reader.clock, state.seconds_left()):
            return await self.settings.credentials.renew_header(header)
        return False

    async def _wait_for_permission(self, state: CallState) -> Outcome | None:
        """Wait for ``Retry-After`` and the limiter; return an outcome if that would pass deadline or window."""
        while True:
            throttled = await self._wait_for_retry_after(state)
            # With no connection free, the permit is acquired after it: it would lapse while the call is queued.
            if throttled is not None or self._limiter is None or not state.semaphore.free:
                return throttled
            no_permit = await state.acquire_permit()
            if no_permit is not None and no_permit.retry_after is not None:
                # Remember the hold locally, so that later calls need not ask the limiter.
                self.retry_after_gate.hold_all(self.clock_reader.clock.elapsed() + no_permit.retry_after)
            if no_permit is not None or state.seconds_throttled() <= 0:
                return no_permit

    async def _wait_for_retry_after(self, state: CallState) -> Outcome | None:
        """Wait until ``Retry-After`` has passed; return an outcome if that would pass deadline or window."""
        while (wait := state.seconds_throttled()) > 0:
            max_wait = state.max_wait()
            if wait >= max_wait:
                error = ThrottledError(
                    f"{state.request.endpoint.name}: the server's Retry-After delays calls for another {wait:.1f} s, "
                    "longer than this call may wait; retry later"
                )
                error.timed_out, error.retry_after = True, wait
                return state.add_to_history(Outcome(Verdict.NOT_SENT, error=error))
            # Jitter upwards only: never earlier than the server asked.
            seconds = wait + self.jitter() * min(_RELEASE_SPREAD, (max_wait - wait) / 2)
            state.emit(Throttled, seconds=seconds)
            await self.clock_reader.clock.sleep(seconds)
        return None

    async def _wait_before_retry(self, state: CallState, outcome: Outcome) -> None:
        """Wait before the next attempt, or raise the call's error."""
        now = self.clock_reader.now()
        self._throttle_other_calls(state, outcome, now)
        retry_context = state.retry_context(outcome, now, self.jitter())
        step = retry.decide_retry(retry_context)
        if not isinstance(step, BardgeError):
            step = self._take_retry_token(retry_context, step, now)
        if isinstance(step, BardgeError):
            if state.history.in_doubt and state.identity is not None:
                await self._record_reading(now)
            raise step
        state.emit(RetryScheduled, seconds=step)
        await self.clock_reader.clock.sleep(step)

    def _take_retry_token(
        self, retry_context: retry.RetryContext, wait: float, now: ClockReading
    ) -> float | BardgeError:
        """Take a retry token and return the wait; a POST in doubt waits for one, any other call fails without."""
        # A POST in doubt has no other way to learn its outcome than to be retried.
        max_wait = retry.max_wait(retry_context) if retry_context.history.in_doubt else 0.0
        token_wait = self.retry_budget.reserve_token(now.elapsed, max_wait)
        if token_wait is not None:
            return max(wait, token_wait)
        error = retry.final_error(retry_context)
        error.budget_empty = True
        error.add_note("not retried: the retry budget is exhausted")
        return error

    def _throttle_other_calls(self, state: CallState, outcome: Outcome, now: ClockReading) -> None:
        """Apply ``Retry-After`` to the account's other calls: all after a 429, the endpoint's after a 503."""
        if state.response is None or isinstance(outcome.error, ThrottledError):
            return
        status, requested = state.response.status, outcome.retry_after
        seconds = min(_DEFAULT_RETRY_AFTER if requested is None else requested, self.settings.policy.retry_after_cap)
        if status == _TOO_MANY_REQUESTS and self._limiter is not None:
            self._limiter.hold(seconds)
        if requested is None:
            return
        until = now.elapsed + seconds
        if status == _TOO_MANY_REQUESTS:
            self.retry_after_gate.hold_all(until)
        elif status == 503:  # noqa: PLR2004 - Service Unavailable
            self.retry_after_gate.hold_endpoint(state.request.endpoint.name, until)

    async def wait_backoff(self, attempt: int) -> None:
        """Wait as before a retry, for walks that request the same page again."""
        await self.clock_reader.clock.sleep(retry.compute_backoff(self.settings.policy, attempt, self.jitter()))


def _is_key_rejected(outcome: Outcome) -> bool:
    return isinstance(outcome.error, AuthenticationError) and outcome.error.code == "invalid_api_key"


def _build_response(state: CallState, outcome: Outcome) -> Response[Any]:
    response = state.response
    assert response is not None
    # By position: with keywords, creating it takes twice as long.
    return Response(
        outcome.value,
        response.status,
        response.headers,
        response.headers.get(REQUEST_ID_HEADER),
        state.history.attempts,
        state.request.key,
        "server" if outcome.replayed else None,
    )


def _replay_response(state: CallState, recorded: RecordedResponse) -> Response[Any]:
    """Return the journaled response, or raise the error that it stands for."""
    headers = {REQUEST_ID_HEADER: recorded.request_id} if recorded.request_id else {}
    outcome = classify(state.request.endpoint, WireResponse(recorded.status, headers, recorded.body or b""), 0.0, "")
    if outcome.error is not None:
        outcome.error.sent = True
        raise outcome.error
    return Response(
        value=outcome.value,
        status=recorded.status,
        headers=headers,
        request_id=recorded.request_id,
        attempts=0,
        idempotency_key=state.request.key,
        replayed="journal",
    )


def _replay_refusal(state: CallState, recorded: RecordedResponse) -> BardgeError:
    """Rebuild the error of a journaled refusal."""
    state.progress.refused = True
    headers = {REQUEST_ID_HEADER: recorded.request_id} if recorded.request_id else {}
    error = classify(
        state.request.endpoint, WireResponse(recorded.status, headers, recorded.body or b""), 0.0, ""
    ).error
    assert error is not None
    if recorded.body is None:
        error.args = (
            f"{state.request.endpoint.name}: {recorded.status}, refused earlier; the response body is no longer stored",
        )
    error.sent = True
    error.add_note("replayed from the journal; nothing was sent")
    return error


def _annotate_exception(error: BaseException, state: CallState) -> None:
    """Add the call's endpoint, key and attempts to an error or a cancellation."""
    if isinstance(error, BardgeError):
        _annotate_error(error, state)
    elif isinstance(error, anyio.get_cancelled_exc_class()):
        _annotate_cancellation(state, error)


def _annotate_error(error: BardgeError, state: CallState) -> None:
    """Fill in fields that are not set yet, and log an unknown outcome."""
    if error.endpoint is None:
        error.endpoint = state.request.endpoint.name
    if error.idempotency_key is None:
        error.idempotency_key = state.request.key
    error.sent = error.sent or state.history.sent
    error.attempts = state.history.attempts
    if isinstance(error, OutcomeUnknownError):
        _LOG.warning("%s: outcome unknown for idempotency key %s", error.endpoint, error.idempotency_key)


def _annotate_cancellation(state: CallState, cancelled: BaseException) -> None:
    """Note and log endpoint and key of a POST that was cancelled after it may have been sent."""
    request = state.request
    if not state.history.in_doubt and not state.answered:
        return
    # Already answered: the caller cancelled while the outcome was being recorded.
    known = "recorded" if state.progress.recorded else "not recorded yet"
    knowledge = known if state.answered and not state.history.in_doubt else "unknown"
    text = (
        f"{request.endpoint.name}: cancelled after it was sent with idempotency key {request.key}; "
        f"its outcome is {knowledge}"
    )
    cancelled.add_note(text)
    _LOG.warning("%s", text)
