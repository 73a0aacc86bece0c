"""One operation of a batch, from its key to its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from bardge_async._batch.operations import Operation, OperationOutcome, OperationStatus, Plan
from bardge_async._calls.context import Progress
from bardge_async._core.http import Call, Response
from bardge_async._core.keys import operation_key
from bardge_async.errors import (
    AlreadyDoneError,
    AuthenticationError,
    BardgeError,
    ConfigurationError,
    DecodeError,
    HeldBackError,
    InvalidArgumentError,
    JournalError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
)

if TYPE_CHECKING:
    from bardge_async._calls.client_caller import Calls

_PATIENCE: Final = 600.0
"""Seconds for which an operation waits for a server that asks to be asked later."""
_BY_REPLAY: Final = {
    None: OperationStatus.DONE,
    "server": OperationStatus.REPLAYED,
    "journal": OperationStatus.SKIPPED,
}


@attrs.define(eq=False)
class One:
    """An operation under way."""

    operation: Operation[Any, Any]
    key: str | None = None
    progress: Progress = attrs.Factory(Progress)
    outcome: OperationOutcome[Any] | None = None

    def answered(self, response: Response[Any]) -> OperationOutcome[Any]:
        """Make the outcome of an answer."""
        status = _BY_REPLAY[response.replayed]
        return self._outcome(status, response.value, None, response.request_id)

    def failed(self, error: BardgeError) -> OperationOutcome[Any]:
        """Make the outcome of an error."""
        return self._outcome(_status(error, self.progress), None, error, error.request_id)

    def _outcome(
        self, status: OperationStatus, result: object, error: BardgeError | None, request_id: str | None
    ) -> OperationOutcome[Any]:
        attempts = self.progress.attempts
        return OperationOutcome(self.operation, status, result, error, self.key, attempts, request_id)


def _status(error: BardgeError, progress: Progress) -> OperationStatus:
    if isinstance(error, OutcomeUnknownError):
        return OperationStatus.IN_DOUBT
    if isinstance(error, AlreadyDoneError):
        return OperationStatus.SKIPPED
    if isinstance(error, DecodeError) and error.executed:
        return OperationStatus.DONE if progress.attempts else OperationStatus.SKIPPED
    return OperationStatus.REFUSED if progress.refused else OperationStatus.FAILED


def ends_all(error: BardgeError) -> bool:
    """Tell whether every other operation would fail as this one did: wrong key, disabled account, broken journal."""
    if isinstance(error, OutcomeUnknownError) and error.last_error is not None:
        return ends_all(error.last_error)
    if isinstance(error, PermissionDeniedError):
        return error.code == "account_disabled"
    return isinstance(error, AuthenticationError | ConfigurationError | JournalError)


def _check_id(given: object) -> None:
    if not isinstance(given, str) or not given:
        raise InvalidArgumentError(
            f"id: expected your own id of the operation, such as an order number, got {given!r:.80}"
        )


class Performer:
    """Make operations' calls under the keys of one job."""

    def __init__(self, calls: Calls, plan: Plan) -> None:
        self._calls = calls
        self._plan = plan
        self.stopping = False

    async def perform(self, one: One) -> OperationOutcome[Any]:
        """Do an operation, asking again for as long as that is safe where it is unanswered, or had no token."""
        operation = one.operation
        try:
            _check_id(operation.id)
            one.key = operation_key(self._plan.job, operation.endpoint, operation.id)
            call = self._calls.compose(
                operation.endpoint, operation.path, operation.request, one.key, operation.lookup_token
            )
        except BardgeError as error:
            return one.failed(error)
        return await self._insisted(one, call)

    async def _insisted(self, one: One, call: Call) -> OperationOutcome[Any]:
        engine = self._calls.engine
        rounds, begun = 0, engine.watch.clock.elapsed()
        while True:
            rounds += 1
            try:
                response = await engine.run(call, one.progress, retry_refused=self._plan.retry_refused)
            except BardgeError as error:
                if self.stopping or not self._worthwhile(error, begun):
                    return one.failed(error)
            else:
                return one.answered(response)
            await engine.pause_between(rounds)

    def _worthwhile(self, error: BardgeError, begun: float) -> bool:
        """Tell whether to ask again: the outcome may still be learned, or only a turn or a token was missing."""
        if isinstance(error, OutcomeUnknownError):
            return not ends_all(error) and self._open(error)
        engine = self._calls.engine
        waited = engine.watch.clock.elapsed() - begun
        if isinstance(error, HeldBackError | RateLimitError):
            # The server asks to go slower, which is no reason to leave rows out.
            return waited < _PATIENCE
        # All spend one budget: where the server is away for a minute, it would fail them by the thousand.
        return error.budget_empty and waited < engine.settings.timeouts.total

    def _open(self, error: OutcomeUnknownError) -> bool:
        """Tell whether the outcome may still be learned: the call gave up before the window closed."""
        closes = error.window_closes_at
        return error.may_repeat and closes is not None and self._calls.engine.watch.now().wall < closes.timestamp()
