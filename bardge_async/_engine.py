"""The call loop: one key, all attempts."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Any, Final

import anyio
import attrs

from bardge_async import _retry as retry
from bardge_async import _wire as wire
from bardge_async._clock import Clock
from bardge_async._credentials import Credentials
from bardge_async._http import REQUEST_ID_HEADER, Call, Response, WireRequest, WireResponse
from bardge_async._settings import ReplayWindow, RetryPolicy, Timeouts
from bardge_async._slots import Slots
from bardge_async._transport import AttemptLimits, Transport
from bardge_async._window import History, Moment, left
from bardge_async._wire import Outcome, Verdict
from bardge_async.endpoints import Again
from bardge_async.errors import (
    AuthenticationError,
    BardgeError,
    InvalidArgumentError,
    NoAnswerError,
    NotSentError,
    PoolTimeoutError,
)

LONGEST_POST: Final = 75.0
_LOG: Final = logging.getLogger("bardge_async")


@attrs.frozen
class Settings:
    """What calls of one client have in common."""

    base_url: str
    credentials: Credentials
    timeouts: Timeouts
    policy: RetryPolicy
    window: ReplayWindow


class Watch:
    """Read the clocks together, and remember the highest wall time."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._highest = 0.0

    def now(self) -> Moment:
        """Return one reading."""
        wall = self.clock.wall()
        self._highest = max(self._highest, wall)
        return Moment(wall, self.clock.elapsed(), self._highest)


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
        self._roll = roll

    def derive(self, settings: Settings) -> Engine:
        """Return an engine with other settings over the same connections."""
        return Engine(settings, self.transport, self.slots, self.watch, self._roll)

    async def run(self, call: Call, history: History) -> Response[Any]:
        """Make a call to its end; ``history`` is that of its key.

        Raises:
            BardgeError: What the whole history amounts to.
        """
        self._check_total(call)
        self.slots.enter()
        try:
            return await self._run(call, history)
        except BardgeError as error:
            if error.endpoint is None:
                error.endpoint, error.idempotency_key, error.sent = call.row.name, call.key, history.sent
            raise
        except anyio.get_cancelled_exc_class() as cancelled:
            _note(call, history, cancelled)
            raise
        finally:
            self.slots.leave()

    def _check_total(self, call: Call) -> None:
        if call.row.method != "GET" and self.settings.timeouts.total > LONGEST_POST:
            raise InvalidArgumentError(
                f"timeout.total: {self.settings.timeouts.total:g} s is too long for a POST, which must end within "
                f"{LONGEST_POST:g} s, before the server forgets its key"
            )

    async def _run(self, call: Call, history: History) -> Response[Any]:
        deadline = self.watch.clock.elapsed() + self.settings.timeouts.total
        renewed = False
        while True:
            header = await self.settings.credentials.header()
            outcome, response = await self._attempt(call, history, deadline, header)
            if outcome.verdict is Verdict.DONE and response is not None:
                return _response(call, history, outcome, response)
            if not renewed and _rejected(outcome) and await self.settings.credentials.renewed(header):
                renewed = True
                continue
            await self._pause(call, history, outcome, deadline)

    async def pause_between(self, attempt: int) -> None:
        """Wait as before a repeated attempt, for whoever asks for the same again."""
        await self.watch.clock.sleep(retry.backoff(self.settings.policy, attempt, self._roll()))

    async def _pause(self, call: Call, history: History, outcome: Outcome, deadline: float) -> None:
        now = self.watch.now()
        settings = self.settings
        case = retry.Case(
            row=call.row,
            history=history,
            outcome=outcome,
            policy=settings.policy,
            window=settings.window,
            now=now,
            call_left=deadline - now.elapsed,
            roll=self._roll(),
            key=call.key,
        )
        step = retry.decide(case)
        if isinstance(step, BardgeError):
            raise step
        await self.watch.clock.sleep(step)

    async def _attempt(
        self, call: Call, history: History, deadline: float, header: str
    ) -> tuple[Outcome, WireResponse | None]:
        """Send once and record what came of it."""
        settings, clock = self.settings, self.watch.clock
        call_left = deadline - clock.elapsed()
        try:
            await self.slots.acquire(min(settings.timeouts.pool, call_left))
        except PoolTimeoutError as error:
            return self._recorded(call, history, Outcome(Verdict.NOT_SENT, error=error)), None
        try:
            return await self._send(call, history, deadline, header)
        finally:
            self.slots.release()

    async def _send(
        self, call: Call, history: History, deadline: float, header: str
    ) -> tuple[Outcome, WireResponse | None]:
        now = self.watch.now()
        limits = self._limits(call, history, deadline, now)
        if isinstance(limits, BardgeError):
            return self._recorded(call, history, Outcome(Verdict.NOT_SENT, error=limits)), None
        history.attempts += 1
        if history.first_sent is None:
            history.first_sent = now
        request = WireRequest(call.row.method, call.url, {**call.headers, "Authorization": header}, call.body)
        response: WireResponse | None = None
        try:
            response = await self.transport.send(request, limits)
        except NotSentError as error:
            outcome = Outcome(Verdict.NOT_SENT, error=error)
        except NoAnswerError as error:
            outcome = Outcome(Verdict.NO_ANSWER, error=error)
        except BardgeError:
            raise
        except Exception as error:  # noqa: BLE001 - a foreign transport: whatever it raises counts as sent
            outcome = Outcome(Verdict.NO_ANSWER, error=NoAnswerError(f"the transport failed: {type(error).__name__}"))
        except BaseException:
            history.sent = True
            raise
        else:
            outcome = wire.read(call.row, response, now.wall, self.settings.base_url)
        self._log(call, history, outcome, response, self.watch.clock.elapsed() - now.elapsed)
        return self._recorded(call, history, outcome), response

    def _recorded(self, call: Call, history: History, outcome: Outcome) -> Outcome:
        retry.record(call.row, history, outcome)
        return outcome

    def _limits(self, call: Call, history: History, deadline: float, now: Moment) -> AttemptLimits | BardgeError:
        """Time limits of the next attempt; an error where deadline or window leave no room for it."""
        timeouts = self.settings.timeouts
        room = deadline - now.elapsed
        connect = timeouts.connect
        if retry.protected(call.row):
            window_left = left(self.settings.window, history, now) if history.in_doubt else None
            if window_left is not None and call.row.again is not Again.SAME:
                connect = min(connect, window_left)
        if room <= 0 or connect <= 0:
            error = NotSentError("no time was left to send")
            error.timed_out = True
            return error
        return AttemptLimits(connect=min(connect, room), answer=min(timeouts.attempt, room))

    def _log(
        self, call: Call, history: History, outcome: Outcome, response: WireResponse | None, seconds: float
    ) -> None:
        if _LOG.isEnabledFor(logging.DEBUG):
            _LOG.debug(
                "%s attempt %d: %s in %.0f ms (request id %s)",
                call.row.name,
                history.attempts,
                response.status if response is not None else outcome.verdict.name.lower(),
                seconds * 1000,
                response.headers.get(REQUEST_ID_HEADER) if response is not None else None,
            )


def _rejected(outcome: Outcome) -> bool:
    return isinstance(outcome.error, AuthenticationError) and outcome.error.code == "invalid_api_key"


def _response(call: Call, history: History, outcome: Outcome, response: WireResponse) -> Response[Any]:
    return Response(
        value=outcome.value,
        status=response.status,
        headers=response.headers,
        request_id=response.headers.get(REQUEST_ID_HEADER),
        attempts=history.attempts,
        idempotency_key=call.key,
        replayed="server" if outcome.replayed else None,
    )


def _note(call: Call, history: History, cancelled: BaseException) -> None:
    """Leave a trace of a POST that was cancelled after it may have been sent."""
    if call.row.method == "GET" or not history.sent:
        return
    text = f"{call.row.name}: cancelled after it was sent under idempotency key {call.key}; its outcome is unknown"
    cancelled.add_note(text)
    _LOG.warning("%s", text)
