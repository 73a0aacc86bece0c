"""The idempotency block: one POST, one key, through every retry."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self, TypeVar, overload

from bardge_async._calls.client_caller import ClientCaller
from bardge_async._calls.context import OperationProgress
from bardge_async._core.custom_endpoints import find_endpoint
from bardge_async._core.http import PreparedRequest, Response
from bardge_async._core.keys import check_takes_key
from bardge_async._core.secret import hide_token
from bardge_async._pagination import Walk, WalkOptions
from bardge_async._resources import Resources
from bardge_async.endpoints import Endpoint
from bardge_async.errors import BardgeError, IdempotencyMisuseError
from bardge_async.models import Page

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")


class IdempotentClient(Resources):
    """Send one POST with one key: the client that ``bardge.idempotent()`` yields.

    Repeating the same POST in the block reuses the key and, once it has a response, returns that without a request. A
    different POST is rejected before it is sent. GETs are not restricted.
    """

    def __init__(self, caller: ClientCaller, key: str) -> None:
        self._block = BlockCaller(caller, key)
        super().__init__(self._block)

    @property
    def key(self) -> str:
        """The idempotency key, given or generated."""
        return self._block.key

    @property
    def attempts(self) -> int:
        """Number of requests sent for the POST so far."""
        return self._block.progress.attempts

    @property
    def replayed(self) -> str | None:
        """``"server"`` if the server returned a cached response, ``"journal"`` if the journal did, else None."""
        return self._block.response.replayed if self._block.response is not None else None

    @property
    def recorded(self) -> bool:
        """False if the outcome could not be written to the journal; the result is valid all the same."""
        return self._block.progress.recorded

    @property
    def request_id(self) -> str | None:
        """``Bardge-Request-Id`` of the last response, or None."""
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
        """Call an endpoint, given by itself or its name, with the block's key; return the whole response.

        Raises:
            IdempotencyMisuseError: A second, different POST, a POST that takes no key, or the block is not open.
            InvalidArgumentError: The endpoint does not take an argument, or its value is invalid.
        """
        lookup_token = hide_token(lookup_token)
        return await self._block.send(find_endpoint(endpoint), path, request, lookup_token)

    async def __aenter__(self) -> Self:
        self._block.enter_block()
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._block.is_open = False


class BlockCaller:
    """The block's state, and the caller that its resources use."""

    def __init__(self, caller: ClientCaller, key: str) -> None:
        self.key = key
        self.progress = OperationProgress()
        self.response: Response[Any] | None = None
        self.request_id: str | None = None
        self.is_open = False
        self._caller = caller
        self._entered = False
        self._first_request: PreparedRequest | None = None
        self._lock = asyncio.Lock()

    def enter_block(self) -> None:
        if self._entered:
            raise IdempotencyMisuseError(
                "an idempotency block can be entered only once; open another with bardge.idempotent()"
            )
        self.is_open = self._entered = True

    async def call(self, endpoint: Endpoint[Q, R], request: Q, *path: str, lookup_token: str | None = None) -> R:
        response: Response[R] = await self.send(endpoint, path, request, lookup_token)
        return response.value

    async def send(
        self, endpoint: Endpoint[Any, Any], path: tuple[str, ...], request: object, lookup_token: str | None
    ) -> Response[Any]:
        self._check_open()
        if endpoint.method == "GET":
            return await self._caller.run(self._caller.build_request(endpoint, path, request, None, lookup_token))
        check_takes_key(endpoint)
        prepared = self._caller.build_request(endpoint, path, request, self.key, lookup_token)
        self._check_same_request(prepared)
        # Two tasks with the same POST: the second waits and gets the first one's response.
        async with self._lock:
            return await self._run_once(prepared)

    def walk(
        self,
        endpoint: Endpoint[None, Page[T]],
        span: WalkOptions,
        *path: str,
        query: Mapping[str, float | None] | None = None,
    ) -> Walk[T]:
        self._check_open()
        return self._caller.walk(endpoint, span, *path, query=query)

    def _check_open(self) -> None:
        if not self.is_open:
            raise IdempotencyMisuseError("the idempotency block is not open; use its client inside `async with`")

    def _check_same_request(self, request: PreparedRequest) -> None:
        first = self._first_request
        if first is None:
            self._first_request = request
            return
        pairs = (("endpoint", first.endpoint.name, request.endpoint.name), ("path", first.url, request.url))
        different = [name for name, old, new in pairs if old != new]
        if not different and first.body != request.body:
            different = ["request"]
        if different:
            error = IdempotencyMisuseError(
                f"{request.endpoint.name}: this block's key {self.key!r} belongs to {first.endpoint.name}; another "
                f"{' and '.join(different)} needs a block of its own"
            )
            error.endpoint, error.idempotency_key = request.endpoint.name, self.key
            raise error

    async def _run_once(self, request: PreparedRequest) -> Response[Any]:
        if self.response is None:
            try:
                self.response = await self._caller.run(request, self.progress)
            except BardgeError as error:
                self.request_id = error.request_id
                raise
            self.request_id = self.response.request_id
        return self.response
