"""Operations from any iterable, taken one at a time."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any

from bardge_async._batch.operations import Operation
from bardge_async.errors import BardgeError, InvalidArgumentError


class OperationStream:
    """Return one operation after another; the iterable's exceptions propagate.

    Raises:
        BardgeError: The given ``error``: it is no iterable.
    """

    def __init__(self, operations: object, error: type[BardgeError] = InvalidArgumentError) -> None:
        self._iterator: Iterator[Any] | None = None
        self._async_iterator: AsyncIterator[Any] | None = None
        if isinstance(operations, AsyncIterable):
            self._async_iterator = aiter(operations)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(operations, Iterable) and not isinstance(operations, str | bytes):
            self._iterator = iter(operations)  # pyright: ignore[reportUnknownArgumentType]
        else:
            kind = type(operations).__name__
            raise error(f"operations: expected an iterable or async iterable of Operation, got {kind}")

    @property
    def is_async(self) -> bool:
        """Whether taking the next operation may wait."""
        return self._async_iterator is not None

    async def next_operation(self) -> Operation[Any, Any] | None:
        """Return the next operation; None at the end.

        Raises:
            InvalidArgumentError: An item is not an operation.
        """
        end = object()
        item: Any = next(self._iterator, end) if self._iterator is not None else await self._next_async(end)
        if item is end:
            return None
        if not isinstance(item, Operation):
            raise InvalidArgumentError(f"operations: expected Operation(...), got {type(item).__name__}")
        return item  # pyright: ignore[reportUnknownVariableType]

    async def _next_async(self, end: object) -> object:
        return end if self._async_iterator is None else await anext(self._async_iterator, end)
