"""The call loop: one key, all attempts."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any, Final

import anyio

from bardge_async._calls.context import Context, Progress, Settings, Watch
from bardge_async._calls.state import Run
from bardge_async._core import retry
from bardge_async._core.entry import Answer, Identity
from bardge_async._core.holdback import HoldBack
from bardge_async._core.http import REQUEST_ID_HEADER, Call, Response, WireResponse
from bardge_async._core.replay import judge
from bardge_async._core.response import Outcome, Verdict, read
from bardge_async._core.retry_budget import RetryBudget
from bardge_async._core.window import Moment
from bardge_async._journal import MemoryJournal
from bardge_async._limits.connections import Slots
from bardge_async._network import Transport
from bardge_async._runtime.clock import TimeLimit
from bardge_async.endpoints import Again
from bardge_async.errors import AuthenticationError, BardgeError, HeldBackError, NotSentError, OutcomeUnknownError

_LOG: Final = logging.getLogger("bardge_async")
_SPREAD: Final = 1.0
"""Seconds over which calls that were held back are let go."""
_TOO_MANY: Final = 429
_UNASKED: Final = 1.0
"""Seconds for which a limiter holds after a 429 that does not say how long."""


class Engine:
    """Make calls: send, judge, wait, send again, and end with a value or the one right error."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        slots: Slots,
        watch: Watch,
        roll: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self.transport = transport
        self.slots = slots
        self.watch = watch
        # A subclass may do something of its own in its methods.
        memory = settings.journal if type(settings.journal) is MemoryJournal else None
        hold_fresh = getattr(settings.journal, "hold_fresh", None)
        self._context = Context(settings, transport, slots, watch, settings.hooks or None, memory, hold_fresh)
        self._limiter = settings.limiter
        self.roll = roll
        self.budget = RetryBudget(settings.policy)
        self.holdback = HoldBack()

    def derive(self, settings: Settings) -> Engine:
        """Return an engine with other settings over the same connections."""
        derived = Engine(settings, self.transport, self.slots, self.watch, self.roll)
        derived.holdback = self.holdback
        if settings.policy == self.settings.policy:
            derived.budget = self.budget
        return derived

    async def run(
        self,
        call: Call,
        progress: Progress | None = None,
        *,
        patience: float | None = None,
        retry_refused: bool = True,
    ) -> Response[Any]:
        """Make a call to its end, waiting ``patience`` seconds for another holder of its key, by default all it has.

        Without ``retry_refused`` a refusal on record is raised again, and nothing is sent.

        Raises:
            BardgeError: What the whole history of its key amounts to.
        """
        run = Run(self._context, call, Progress() if progress is None else progress, self.slots.enter())
        try:
            found = await self._loop(run, patience=patience, retry_refused=retry_refused)
        except BaseException as error:
            _mark(error, run)
            raise
        finally:
            self._leave(run)
        return found if isinstance(found, Response) else _response(run, found)

    async def value(self, call: Call) -> Any:  # noqa: ANN401 - the row's class
        """Make a call to its end and return its result alone, as resource methods do.

        Raises:
            BardgeError: What the whole history of its key amounts to.
        """
        run = Run(self._context, call, Progress(), self.slots.enter())
        try:
            return (await self._loop(run)).value
        except BaseException as error:
            _mark(error, run)
            raise
        finally:
            self._leave(run)

    def _leave(self, run: Run) -> None:
        if run.identity is not None:
            self.settings.journal.release(run.identity)
        run.lane.leave()

    async def _loop(
        self, run: Run, *, patience: float | None = None, retry_refused: bool = True
    ) -> Response[Any] | Outcome:
        """Return what is on record, or make attempts until one is answered."""
        key = run.call.key
        if key is not None and not self._new(run, key):
            known = await self._enter(run, key, patience, retry_refused=retry_refused)
            if known is not None:
                return known
        self.budget.deposit(run.begun)
        renewed = False
        while True:
            header = self.settings.credentials.known or await self._header(run)
            waits = self._limiter is not None or (self.holdback.asked and self._held_back(run) > 0)
            held = await self._admitted(run) if waits else None
            outcome = held or await run.attempt(header)
            if outcome.verdict is Verdict.DONE:
                return outcome
            if not renewed and _rejected(outcome) and await self._renewed(run, header):
                renewed = True
                continue
            await self._pause(run, outcome)

    def _new(self, run: Run, key: str) -> bool:
        """Take hold of a key that is not on record, without a wait; False, and nothing done, where that is not sure."""
        context = self._context
        if context.memory is None and not (run.call.fresh and context.hold_fresh is not None):
            return False
        identity = Identity(self.settings.base_url, self.settings.account, key)
        hold = context.hold_fresh if context.memory is None else context.memory.hold_new
        if hold is None or not hold(identity):
            return False
        run.identity = identity
        self.watch.saw(self.settings.journal.highest)
        return True

    async def _enter(self, run: Run, key: str, patience: float | None, *, retry_refused: bool) -> Response[Any] | None:
        """Take hold of a POST's key; return its answer where what is on record has it, so that nothing is sent."""
        settings, call = self.settings, run.call
        journal = settings.journal
        identity = Identity(settings.base_url, settings.account, key)
        record = await journal.claim(identity, run.left() if patience is None else patience, self.watch.clock)
        run.identity = identity
        self.watch.saw(journal.highest)
        if record is None:
            return None
        overtaken = call.row.again is Again.SAME and await journal.overtaken(record)
        trusting = settings.policy.repeat_server_errors
        allowed = judge(record, call, self.watch.now(), settings.window, overtaken=overtaken, trusting=trusting)
        if isinstance(allowed, Answer):
            return _from_record(run, allowed)
        refused = None if allowed.refused is None else allowed.refused.answer
        if refused is not None and not retry_refused:
            raise _refusal(run, refused)
        run.open(allowed)
        return None

    async def _header(self, run: Run) -> str:
        """Wait for the API key, no longer than the call may take."""
        with TimeLimit(self.watch.clock, run.left()):
            return await self.settings.credentials.header()
        error = NotSentError("the API key did not come in time")
        error.timed_out = True
        outcome = run.recorded(Outcome(Verdict.NOT_SENT, error=error))
        raise retry.final(run.case(outcome, self.watch.now(), 0.0))

    async def _renewed(self, run: Run, header: str) -> bool:
        """Ask for the API key again; False where it stays the same, or does not come in time."""
        with TimeLimit(self.watch.clock, run.left()):
            return await self.settings.credentials.renewed(header)
        return False

    async def _admitted(self, run: Run) -> Outcome | None:
        """Wait while the server asks for it, and for the limiter's turn; an outcome where that misses deadline or window."""
        while True:
            held = await self._hold(run)
            # A call that waits for a connection takes its turn when it has one: until then the turn would lapse.
            if held is not None or self._limiter is None or not run.lane.free:
                return held
            late = await run.turn()
            if late is not None and late.retry_after is not None:
                # What the limiter knows of other processes' 429s spares this one's calls the asking.
                self.holdback.hold_all(self.watch.clock.elapsed() + late.retry_after)
            if late is not None or self._held_back(run) <= 0:
                return late

    async def _hold(self, run: Run) -> Outcome | None:
        """Wait while the server asks calls to wait; an outcome where that would miss deadline or window."""
        while (wait := self._held_back(run)) > 0:
            left = run.patience()
            if wait >= left:
                error = HeldBackError(f"{run.call.row.name}: the server asked all calls to wait {wait:.1f} s longer")
                error.timed_out, error.retry_after = True, wait
                return run.recorded(Outcome(Verdict.NOT_SENT, error=error, retry_after=wait))
            seconds = wait + self.roll() * min(_SPREAD, (left - wait) / 2)
            run.tell_held_back(seconds)
            await self.watch.clock.sleep(seconds)
        return None

    def _held_back(self, run: Run) -> float:
        return self.holdback.wait(run.call.row, self.watch.clock.elapsed())

    async def _pause(self, run: Run, outcome: Outcome) -> None:
        """Wait before the next attempt, or end the call."""
        now = self.watch.now()
        self._hold_others(run, outcome, now)
        case = run.case(outcome, now, self.roll())
        step = retry.decide(case)
        if not isinstance(step, BardgeError):
            step = self._afford(case, step, now)
        if isinstance(step, BardgeError):
            raise step
        run.tell_wait(step)
        await self.watch.clock.sleep(step)

    def _afford(self, case: retry.Case, wait: float, now: Moment) -> float | BardgeError:
        """Take a token for a repeat: an unanswered POST waits for it, any other call ends without."""
        patience = retry.patience(case) if case.history.in_doubt else 0.0
        token = self.budget.reserve(now.elapsed, patience)
        if token is not None:
            return max(wait, token)
        error = retry.final(case)
        error.budget_empty = True
        error.add_note("not repeated: the retry budget is used up")
        return error

    def _hold_others(self, run: Run, outcome: Outcome, now: Moment) -> None:
        if run.response is None or isinstance(outcome.error, HeldBackError):
            return
        asked, cap, status = outcome.retry_after, self.settings.policy.retry_after_cap, run.response.status
        if status == _TOO_MANY and self._limiter is not None:
            self._limiter.hold(min(_UNASKED if asked is None else asked, cap))
        if asked is None:
            return
        until = now.elapsed + min(asked, cap)
        if status == _TOO_MANY:
            self.holdback.hold_all(until)
        elif status == 503:  # noqa: PLR2004 - Service Unavailable
            self.holdback.hold_row(run.call.row.name, until)

    async def pause_between(self, attempt: int) -> None:
        """Wait as before a repeated attempt, for whoever asks for the same again."""
        await self.watch.clock.sleep(retry.backoff(self.settings.policy, attempt, self.roll()))


def _rejected(outcome: Outcome) -> bool:
    return isinstance(outcome.error, AuthenticationError) and outcome.error.code == "invalid_api_key"


def _response(run: Run, outcome: Outcome) -> Response[Any]:
    response = run.response
    assert response is not None  # noqa: S101 - it was answered
    return Response(
        value=outcome.value,
        status=response.status,
        headers=response.headers,
        request_id=response.headers.get(REQUEST_ID_HEADER),
        attempts=run.history.attempts,
        idempotency_key=run.call.key,
        replayed="server" if outcome.replayed else None,
    )


def _from_record(run: Run, answer: Answer) -> Response[Any]:
    """Return a recorded answer, or raise what it raised."""
    headers = {REQUEST_ID_HEADER: answer.request_id} if answer.request_id else {}
    outcome = read(run.call.row, WireResponse(answer.status, headers, answer.body or b""), 0.0, "")
    if outcome.error is not None:
        outcome.error.sent = True
        raise outcome.error
    return Response(
        value=outcome.value,
        status=answer.status,
        headers=headers,
        request_id=answer.request_id,
        attempts=0,
        idempotency_key=run.call.key,
        replayed="journal",
    )


def _refusal(run: Run, answer: Answer) -> BardgeError:
    """Make the error of a recorded refusal anew."""
    run.refused()
    headers = {REQUEST_ID_HEADER: answer.request_id} if answer.request_id else {}
    error = read(run.call.row, WireResponse(answer.status, headers, answer.body or b""), 0.0, "").error
    assert error is not None  # noqa: S101 - the status of a refusal
    if answer.body is None:
        error.args = (f"{run.call.row.name}: {answer.status}, refused earlier; the answer is not kept any more",)
    error.sent = True
    error.add_note("on record from an earlier call; nothing was sent now")
    return error


def _mark(error: BaseException, run: Run) -> None:
    """Write on an error, or on a cancellation, what the caller needs to know."""
    if isinstance(error, BardgeError):
        _stamp(error, run)
    elif isinstance(error, anyio.get_cancelled_exc_class()):
        _note(run, error)


def _stamp(error: BardgeError, run: Run) -> None:
    """Write on an error what no decision has written yet, and log a doubt."""
    if error.endpoint is None:
        error.endpoint = run.call.row.name
    if error.idempotency_key is None:
        error.idempotency_key = run.call.key
    error.sent = error.sent or run.history.sent
    error.attempts = run.history.attempts
    if isinstance(error, OutcomeUnknownError):
        _LOG.warning("%s: outcome unknown under idempotency key %s", error.endpoint, error.idempotency_key)


def _note(run: Run, cancelled: BaseException) -> None:
    """Leave a trace of a POST that was cancelled after it may have been sent."""
    call = run.call
    if not run.history.in_doubt and not run.answered:
        return
    # It was answered, and the caller went away while that was put on record.
    known = "on record" if run.answered and not run.history.in_doubt else "unknown"
    text = f"{call.row.name}: cancelled after it was sent under idempotency key {call.key}; its outcome is {known}"
    cancelled.add_note(text)
    _LOG.warning("%s", text)
