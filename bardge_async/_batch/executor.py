"""Execute one operation of a batch: key, request, retries, outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from bardge_async._batch.operations import BatchOptions, Operation, OperationOutcome, OperationStatus
from bardge_async._calls.context import OperationProgress
from bardge_async._core.http import PreparedRequest, Response
from bardge_async._core.keys import operation_key
from bardge_async.errors import (
    AlreadyDoneError,
    AuthenticationError,
    BardgeError,
    ConfigurationError,
    DecodeError,
    InvalidArgumentError,
    JournalError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    ThrottledError,
)

if TYPE_CHECKING:
    from bardge_async._calls.client_caller import ClientCaller

_MAX_THROTTLED_WAIT: Final = 600.0
"""Seconds for which an operation keeps retrying while the server answers 429 or asks to wait."""
_STATUS_BY_REPLAY: Final = {
    None: OperationStatus.DONE,
    "server": OperationStatus.REPLAYED,
    "journal": OperationStatus.SKIPPED,
}


@attrs.define(eq=False)
class OperationRun:
    """An operation and the state of its execution."""

    operation: Operation[Any, Any]
    key: str | None = None
    progress: OperationProgress = attrs.Factory(OperationProgress)
    outcome: OperationOutcome[Any] | None = None

    def outcome_from_response(self, response: Response[Any]) -> OperationOutcome[Any]:
        """Make the outcome for a response."""
        status = _STATUS_BY_REPLAY[response.replayed]
        return self._make_outcome(status, response.value, None, response.request_id)

    def outcome_from_error(self, error: BardgeError) -> OperationOutcome[Any]:
        """Make the outcome for an error."""
        return self._make_outcome(_status_from_error(error, self.progress), None, error, error.request_id)

    def _make_outcome(
        self, status: OperationStatus, result: object, error: BardgeError | None, request_id: str | None
    ) -> OperationOutcome[Any]:
        attempts = self.progress.attempts
        return OperationOutcome(self.operation, status, result, error, self.key, attempts, request_id)


def _status_from_error(error: BardgeError, progress: OperationProgress) -> OperationStatus:
    if isinstance(error, OutcomeUnknownError):
        return OperationStatus.IN_DOUBT
    # The journal records that it was done, but no longer the response.
    if isinstance(error, AlreadyDoneError):
        return OperationStatus.SKIPPED
    # Done, but the response could not be decoded: the server's now, or without an attempt the journal's.
    if isinstance(error, DecodeError) and error.executed:
        return OperationStatus.DONE if progress.attempts else OperationStatus.SKIPPED
    return OperationStatus.REFUSED if progress.refused else OperationStatus.FAILED


def is_fatal(error: BardgeError) -> bool:
    """Return whether every other operation would fail likewise: wrong API key, disabled account, broken journal."""
    if isinstance(error, OutcomeUnknownError) and error.last_error is not None:
        return is_fatal(error.last_error)
    if isinstance(error, PermissionDeniedError):
        return error.code == "account_disabled"
    return isinstance(error, AuthenticationError | ConfigurationError | JournalError)


def _check_id(value: object) -> None:
    if not isinstance(value, str) or not value:
        raise InvalidArgumentError(
            f"id: expected your own id for the operation, such as an order number, got {value!r:.80}"
        )


class OperationExecutor:
    """Execute operations under the keys of one job."""

    def __init__(self, caller: ClientCaller, options: BatchOptions) -> None:
        self._caller = caller
        self._options = options
        self.stopping = False

    async def execute(self, run: OperationRun) -> OperationOutcome[Any]:
        """Execute an operation; retry safely if its outcome is unknown, or if a permit or retry token was missing."""
        operation = run.operation
        try:
            _check_id(operation.id)
            run.key = operation_key(self._options.job, operation.endpoint, operation.id)
            request = self._caller.build_request(
                operation.endpoint, operation.path, operation.request, run.key, operation.lookup_token
            )
        except BardgeError as error:
            return run.outcome_from_error(error)
        return await self._retry_until_known(run, request)

    async def _retry_until_known(self, run: OperationRun, request: PreparedRequest) -> OperationOutcome[Any]:
        rounds, started_at = 0, self._caller.clock_reader.clock.elapsed()
        while True:
            rounds += 1
            try:
                response = await self._caller.run(request, run.progress, retry_refused=self._options.retry_refused)
            except BardgeError as error:
                if self.stopping or not self._should_retry(error, started_at):
                    return run.outcome_from_error(error)
            else:
                return run.outcome_from_response(response)
            await self._caller.wait_backoff(rounds)

    def _should_retry(self, error: BardgeError, started_at: float) -> bool:
        """Return whether to retry: the outcome may still be learned, or only a permit or a retry token was missing."""
        if isinstance(error, OutcomeUnknownError):
            return not is_fatal(error) and self._is_window_open(error)
        waited = self._caller.clock_reader.clock.elapsed() - started_at
        if isinstance(error, ThrottledError | RateLimitError):
            # The server asks for a slower pace, which is no reason to skip operations.
            return waited < _MAX_THROTTLED_WAIT
        # All operations share one retry budget: an outage of a minute would otherwise fail thousands of them.
        return error.budget_empty and waited < self._caller.settings.timeouts.total

    def _is_window_open(self, error: OutcomeUnknownError) -> bool:
        """Return whether the outcome may still be learned: the call gave up before the window closed."""
        closes = error.window_closes_at
        return error.may_repeat and closes is not None and self._caller.clock_reader.now().wall < closes.timestamp()
