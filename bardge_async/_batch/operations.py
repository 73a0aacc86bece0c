"""A batch's input and output: operations, options, outcomes, pace."""

from __future__ import annotations

import enum
import math
from typing import Any, Final, Generic, TypeVar

import attrs

from bardge_async._core.arguments import check_bool, check_int
from bardge_async._core.custom_endpoints import find_endpoint
from bardge_async._core.keys import operation_key
from bardge_async._core.secret import hide_token
from bardge_async.endpoints import Endpoint
from bardge_async.errors import BardgeError, ConfigurationError, InvalidArgumentError

__all__ = ["Operation", "OperationOutcome", "OperationStatus", "Pace"]

Q = TypeVar("Q")
R = TypeVar("R")


@attrs.frozen(init=False)
class Operation(Generic[Q, R]):
    """Describe one POST of a batch: ``Operation(PURCHASE_CREDITS, request=PurchaseCredits(...), id="order-8731")``.

    Path arguments, request and id are checked when the operation starts: a wrong one fails only this operation.

    Args:
        endpoint: An endpoint that takes an idempotency key, or its name, such as ``"credits.purchase"``.
        path: The path's arguments, in its order.
        request: The request object, for endpoints that take one.
        id: Your own id for this operation, such as an order number: together with job and endpoint it identifies the
            operation, in this run and in every later one.
        lookup_token: For endpoints that take one.

    Raises:
        ConfigurationError: There is no such endpoint, it takes no key, or an argument has a wrong type.
    """

    endpoint: Endpoint[Q, R]
    path: tuple[str, ...]
    request: Q | None
    id: str
    lookup_token: str | None = attrs.field(repr=False)

    def __init__(
        self,
        endpoint: Endpoint[Q, R] | str,
        *path: str,
        request: Q | None = None,
        id: str,
        lookup_token: str | None = None,
    ) -> None:
        lookup_token = hide_token(lookup_token)
        resolved = find_endpoint(endpoint, ConfigurationError)
        if not resolved.takes_key:
            raise ConfigurationError(f"endpoint: {resolved.name} takes no idempotency key, so no batch can protect it")
        # With init=False, attrs generates this method in place of __init__.
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
            endpoint=resolved, path=path, request=request, id=id, lookup_token=lookup_token
        )
        # Only now: error reporters represent the locals of a frame, and so this object.
        _check_operation(resolved, path, request, id, lookup_token)


def _check_operation(
    endpoint: Endpoint[Any, Any], path: tuple[object, ...], request: object, id: object, lookup_token: object
) -> None:
    """Check the types only: a value that cannot be sent fails its own operation, not the batch."""
    for argument in path:
        if not isinstance(argument, str):
            raise ConfigurationError(f"path: expected text for each argument, got {argument!r:.40}")
    if not isinstance(id, str):
        raise ConfigurationError(f"id: expected text, got {id!r:.40}")
    if lookup_token is not None and not isinstance(lookup_token, str):
        raise ConfigurationError(f"lookup_token: expected text, got {type(lookup_token).__name__}")
    if request is not None and not isinstance(request, endpoint.request):
        wanted = f"{endpoint.request.__name__}(...)" if endpoint.takes_body else "no request object"
        raise ConfigurationError(f"request: {endpoint.name} takes {wanted}, got {type(request).__name__}")


class OperationStatus(enum.StrEnum):
    """The outcome of an operation of a batch."""

    DONE = "done"
    """The server executed it now; with an ``error``, its response could not be decoded."""
    REPLAYED = "replayed"
    """The server had executed it before, under the same key, and returned that response."""
    SKIPPED = "skipped"
    """It is recorded as done: nothing was sent."""
    REFUSED = "refused"
    """The API refused it, now or in an earlier run: nothing was charged."""
    FAILED = "failed"
    """Nothing was charged now: fix what ``error`` says, and run it again."""
    IN_DOUBT = "in_doubt"
    """It was sent, and it is not known whether it was executed."""


@attrs.frozen
class OperationOutcome(Generic[R]):
    """The outcome of one operation of a batch.

    Attributes:
        operation: The operation, as it was given.
        status: How it ended.
        result: The response, of the endpoint's response class; None without one.
        error: The error it ended with instead, or None.
        idempotency_key: The key derived from job, endpoint and id; None if these are invalid.
        attempts: Number of requests sent in this run.
        request_id: ``Bardge-Request-Id`` of the last response, for the vendor's support, or None.
    """

    operation: Operation[Any, R]
    status: OperationStatus
    result: R | None
    error: BardgeError | None
    idempotency_key: str | None
    attempts: int
    request_id: str | None


@attrs.frozen
class Pace:
    """How fast a batch runs.

    Attributes:
        limit: How many operations of the client's batches may be in flight now; it adapts to the server.
        in_flight: How many are in flight.
        backoffs: How often the limit was halved, after a 429, a 503 or a timeout.
        latency: Recent mean response time in seconds; 0 before the first response.
        rate: The batch's maximum operations per second, or None.
    """

    limit: int
    in_flight: int
    backoffs: int
    latency: float
    rate: float | None


_MAX_CONCURRENCY: Final = 100_000


@attrs.frozen(kw_only=True)
class BatchOptions:
    """The arguments of ``bardge.batch()``.

    Raises:
        ConfigurationError: A value is out of range.
    """

    job: str
    concurrency: int
    rate: float | None
    ordered: bool
    retry_refused: bool

    def __attrs_post_init__(self) -> None:
        job: object = self.job
        if not isinstance(job, str) or not job:
            raise ConfigurationError(f"job: expected the job's name, such as 'renewals-2026-11', got {job!r:.80}")
        try:
            # Deriving any key fails for a name that cannot be encoded, before the first operation starts.
            operation_key(job, "any", "any")
        except InvalidArgumentError:
            raise ConfigurationError(f"job: {job!r:.80} is not valid Unicode text") from None
        check_int("concurrency", self.concurrency, 1, _MAX_CONCURRENCY, ConfigurationError)
        check_bool("ordered", self.ordered, ConfigurationError)
        check_bool("retry_refused", self.retry_refused, ConfigurationError)
        rate: object = self.rate
        if rate is None:
            return
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise ConfigurationError(f"rate: expected operations per second, above 0, got {rate!r:.40}")
