"""What goes into a batch, and what comes out of it."""

from __future__ import annotations

import enum
import math
from typing import Any, Final, Generic, TypeVar

import attrs

from bardge_async._core.arguments import check_int
from bardge_async._core.custom_endpoints import find_endpoint
from bardge_async._core.keys import operation_key
from bardge_async.endpoints import Endpoint, KeySupport
from bardge_async.errors import BardgeError, InvalidArgumentError

__all__ = ["Operation", "OperationOutcome", "OperationStatus", "Pace"]

Q = TypeVar("Q")
R = TypeVar("R")


@attrs.frozen(init=False)
class Operation(Generic[Q, R]):
    """Name one POST of a batch: ``Operation(PURCHASE_CREDITS, request=PurchaseCredits(...), id="order-8731")``.

    Path arguments, request and id are looked at when its turn comes: a wrong one fails alone.

    Args:
        endpoint: A row that takes an idempotency key, or its name, such as ``"credits.purchase"``.
        path: The path's arguments, in its order.
        request: The request object, for rows that take one.
        id: Your own id of this one operation, such as an order number: within a job and a row it stands for the
            operation, in this run and in every later one.
        lookup_token: For rows that take one.

    Raises:
        InvalidArgumentError: No such row, or one that takes no key.
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
        resolved = find_endpoint(endpoint)
        if resolved.key is KeySupport.NO:
            raise InvalidArgumentError(
                f"endpoint: {resolved.name} takes no idempotency key, so no batch can protect it"
            )
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
            endpoint=resolved, path=path, request=request, id=id, lookup_token=lookup_token
        )


class OperationStatus(enum.StrEnum):
    """Tell what an operation of a batch came to."""

    DONE = "done"
    """The server did it now; with an ``error`` its answer could not be read."""
    REPLAYED = "replayed"
    """The server had done it before, under the same key, and returned that answer."""
    SKIPPED = "skipped"
    """It is on record as done: nothing was sent."""
    REFUSED = "refused"
    """The API refused it, now or in an earlier run: nothing was charged."""
    FAILED = "failed"
    """Nothing was charged now: mend what ``error`` says, and run it again."""
    IN_DOUBT = "in_doubt"
    """It was sent, and whether it was done is not known."""


@attrs.frozen
class OperationOutcome(Generic[R]):
    """Tell what became of one operation of a batch.

    Attributes:
        operation: The operation, as it was given.
        status: What it came to.
        result: The answer, of the row's response class; None without one.
        error: What it ended with instead, or None.
        idempotency_key: The key made of job, row and id; None where these make none.
        attempts: How many requests it took now.
        request_id: ``Bardge-Request-Id`` of the last answer, for the vendor's support, or None.
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
    """Tell how fast a batch goes.

    Attributes:
        limit: How many operations of the client's batches may be under way now, by what the server bears.
        under_way: How many are.
        backoffs: How often the limit was halved, after a 429, a 503 or a timeout.
        latency: Seconds that an answer took of late, in the mean; 0 before the first.
        rate: Operations a second that the batch was given, or None.
    """

    limit: int
    in_flight: int
    backoffs: int
    latency: float
    rate: float | None


_MAX_CONCURRENCY: Final = 100_000


@attrs.frozen(kw_only=True)
class BatchOptions:
    """What a batch was called with.

    Raises:
        InvalidArgumentError: A value out of its range.
    """

    job: str
    concurrency: int
    rate: float | None
    ordered: bool
    retry_refused: bool

    def __attrs_post_init__(self) -> None:
        job: object = self.job
        if not isinstance(job, str) or not job:
            raise InvalidArgumentError(f"job: expected the job's name, such as 'renewals-2026-11', got {job!r:.80}")
        operation_key(job, "any", "any")
        check_int("concurrency", self.concurrency, 1, _MAX_CONCURRENCY)
        rate: object = self.rate
        if rate is None:
            return
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < math.inf:
            raise InvalidArgumentError(f"rate: expected operations a second, above 0, got {rate!r:.40}")
