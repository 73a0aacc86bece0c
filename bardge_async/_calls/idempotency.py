"""The idempotency block: one POST, one key, through every retry."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self, TypeVar, overload

from bardge_async._calls.client_caller import Calls
from bardge_async._calls.context import Progress
from bardge_async._core.custom_endpoints import named
from bardge_async._core.http import Call, Response
from bardge_async._core.keys import check_takes_key
from bardge_async._pagination import Span, Walk
from bardge_async._resources import Resources
from bardge_async.endpoints import Endpoint
from bardge_async.errors import BardgeError, IdempotencyMisuseError
from bardge_async.models import Page

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")


class IdempotentClient(Resources):
    """Make one POST under one key: the client that ``bardge.idempotent()`` yields.

    The same POST again in the block keeps the key, and once answered returns that answer without a request; a
    different POST is refused before it is sent. GETs are free.
    """

    def __init__(self, calls: Calls, key: str) -> None:
        self._block = _Block(calls, key)
        super().__init__(self._block)

    @property
    def key(self) -> str:
        """The idempotency key, given or made."""
        return self._block.key

    @property
    def attempts(self) -> int:
        """How many requests the POST took so far."""
        return self._block.progress.attempts

    @property
    def replayed(self) -> str | None:
        """``"server"`` when the server returned a cached answer, ``"journal"`` when it was on record here, else None."""
        return self._block.answer.replayed if self._block.answer is not None else None

    @property
    def recorded(self) -> bool:
        """False when the outcome could not be written to the journal; the answer is right all the same."""
        return self._block.progress.recorded

    @property
    def request_id(self) -> str | None:
        """``Bardge-Request-Id`` of the last answer, or None."""
        return self._block.request_id

    @overload
    async def send(
        self, endpoint: Endpoint[Q, R], *path: str, request: Q | None = None, lookup_token: str | None = None
    ) -> Response[R]: ...

    @overload
    async def send(
        self, endpoint: str, *path: str, request: object = None, lookup_token: str | None = None
    ) -> Response[Any]: ...

    async def send(
        self, endpoint: Endpoint[Any, Any] | str, *path: str, request: object = None, lookup_token: str | None = None
    ) -> Response[Any]:
        """Make one call of a row, or of its name, under the block's key; return its result with what came around it.

        Raises:
            IdempotencyMisuseError: A second, different POST, one that takes no key, or the block is over.
            InvalidArgumentError: An argument that the row does not take.
        """
        return await self._block.send(named(endpoint), path, request, lookup_token)

    async def __aenter__(self) -> Self:
        self._block.enter()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._block.open = False


class _Block:
    """The block's state, and the caller that its resources stand on."""

    def __init__(self, calls: Calls, key: str) -> None:
        self.key = key
        self.progress = Progress()
        self.answer: Response[Any] | None = None
        self.request_id: str | None = None
        self.open = False
        self._calls = calls
        self._entered = False
        self._first: Call | None = None
        self._lock = asyncio.Lock()

    def enter(self) -> None:
        if self._entered:
            raise IdempotencyMisuseError("a block is entered once; make another with bardge.idempotent()")
        self.open = self._entered = True

    async def call(self, row: Endpoint[Q, R], request: Q, *path: str, lookup_token: str | None = None) -> R:
        response: Response[R] = await self.send(row, path, request, lookup_token)
        return response.value

    async def send(
        self, row: Endpoint[Any, Any], path: tuple[str, ...], request: object, lookup_token: str | None
    ) -> Response[Any]:
        self._check_open()
        if row.method == "GET":
            return await self._calls.run(self._calls.compose(row, path, request, None, lookup_token))
        check_takes_key(row)
        call = self._calls.compose(row, path, request, self.key, lookup_token)
        self._bind(call)
        # Two tasks with the same POST: the second waits and gets the first one's answer.
        async with self._lock:
            return await self._once(call)

    def walk(
        self, row: Endpoint[None, Page[T]], span: Span, *path: str, query: Mapping[str, float | None] | None = None
    ) -> Walk[T]:
        self._check_open()
        return self._calls.walk(row, span, *path, query=query)

    def _check_open(self) -> None:
        if not self.open:
            raise IdempotencyMisuseError("the block is not open: use its client inside `async with`")

    def _bind(self, call: Call) -> None:
        first = self._first
        if first is None:
            self._first = call
            return
        pairs = (("endpoint", first.row.name, call.row.name), ("path", first.url, call.url))
        different = [name for name, old, new in pairs if old != new]
        if not different and first.body != call.body:
            different = ["request"]
        if different:
            error = IdempotencyMisuseError(
                f"{call.row.name}: this block's key {self.key!r} belongs to {first.row.name}; another "
                f"{' and '.join(different)} needs a block of its own"
            )
            error.endpoint, error.idempotency_key = call.row.name, self.key
            raise error

    async def _once(self, call: Call) -> Response[Any]:
        if self.answer is None:
            try:
                self.answer = await self._calls.run(call, self.progress)
            except BardgeError as error:
                self.request_id = error.request_id
                raise
            self.request_id = self.answer.request_id
        return self.answer
