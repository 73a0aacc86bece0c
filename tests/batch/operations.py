"""Operations and their outcomes, as the tests of batches use them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bardge_async import Batch, Operation, OperationOutcome, PurchaseCredits
from tests.support.rig import PURCHASE


def make_purchase(number: int | str, request: PurchaseCredits = PURCHASE) -> Operation[Any, Any]:
    return Operation("credits.purchase", request=request, id=f"order-{number}")


def make_purchases(count: int) -> list[Operation[Any, Any]]:
    return [make_purchase(number) for number in range(count)]


class Taken(Iterator[Operation[Any, Any]]):
    """Operations that count how many were taken."""

    def __init__(self, operations: Iterable[Operation[Any, Any]]) -> None:
        self._rest = iter(operations)
        self.count = 0

    def __next__(self) -> Operation[Any, Any]:
        operation = next(self._rest)
        self.count += 1
        return operation


async def collect_outcomes(batch: Batch) -> list[OperationOutcome[Any]]:
    return [outcome async for outcome in batch]


async def collect_only_outcome(batch: Batch) -> OperationOutcome[Any]:
    """Return the one outcome of a batch of one."""
    [outcome] = await collect_outcomes(batch)
    return outcome


async def collect_statuses(batch: Batch) -> list[str]:
    return [outcome.status.value async for outcome in batch]


async def collect_into(found: list[OperationOutcome[Any]], batch: Batch) -> None:
    """Append a batch's outcomes to a list until it ends or raises."""
    async for outcome in batch:
        found.append(outcome)  # noqa: PERF401 - what is there before an error counts
