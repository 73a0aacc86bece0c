"""Calls and walks of the table's rows: what resources, client and idempotency block stand on."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from bardge_async._core.http import PreparedRequest, Response
from bardge_async._core.keys import check_key, new_key
from bardge_async._pagination import PageSource, Walk, WalkOptions
from bardge_async._pagination.cursor import Cursor
from bardge_async._pagination.walk import resume_walk
from bardge_async.endpoints import ENDPOINTS, Endpoint, KeySupport
from bardge_async.models import Page

if TYPE_CHECKING:
    from bardge_async._calls.context import OperationProgress
    from bardge_async._calls.engine import Engine
    from bardge_async._core.request import RequestBuilder

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")


class ClientCaller:
    """Compose calls with one client's settings and make them with its engine."""

    def __init__(self, request_builder: RequestBuilder, engine: Engine) -> None:
        self.request_builder = request_builder
        self.engine = engine

    def build_request(
        self,
        endpoint: Endpoint[Any, Any],
        path: tuple[str, ...],
        request: object,
        key: str | None,
        lookup_token: str | None,
    ) -> PreparedRequest:
        """Make the bytes of a call, under a given key or where the row takes one under a fresh one; nothing is sent."""
        checked_key = choose_key(endpoint, key)
        return self.request_builder.build(
            endpoint, path, request=request, key=checked_key, lookup_token=lookup_token, given=key is not None
        )

    async def run(self, request: PreparedRequest, progress: OperationProgress | None = None) -> Response[Any]:
        """Make a call to its end."""
        return await self.engine.run(request, progress)

    def call(
        self, endpoint: Endpoint[Q, R], request: Q, *path: str, lookup_token: str | None = None
    ) -> Coroutine[Any, Any, R]:
        """Make one call of a row and return its result, as the resource methods do."""
        return self.engine.value(self.build_request(endpoint, path, request, None, lookup_token))

    def walk(
        self,
        endpoint: Endpoint[None, Page[T]],
        span: WalkOptions,
        *path: str,
        query: Mapping[str, float | None] | None = None,
    ) -> Walk[T]:
        """Return a walk over a list; nothing is sent yet.

        Raises:
            InvalidArgumentError: A path argument that cannot be sent.
        """
        self.request_builder.build(endpoint, path)
        return Walk(self._make_page_source(endpoint, path, query or {}), span)

    def resume(self, cursor: str) -> Walk[Any]:
        """Return the walk that a cursor says; nothing is sent yet.

        Raises:
            InvalidArgumentError: It is no cursor, or a damaged one.
        """
        parsed = Cursor.load(cursor)
        endpoint = ENDPOINTS[parsed.list]
        self.request_builder.build(endpoint, parsed.path)
        return resume_walk(parsed, self._make_page_source(endpoint, parsed.path, parsed.query))

    def _make_page_source(
        self, endpoint: Endpoint[None, Page[T]], path: tuple[str, ...], query: Mapping[str, float | None]
    ) -> PageSource[T]:
        async def fetch_page(page_query: Mapping[str, object]) -> Page[T]:
            request = self.request_builder.build(endpoint, path, query={**query, **page_query})
            page: Page[T] = (await self.run(request)).value
            return page

        return PageSource(endpoint, path, query, fetch_page, self.engine.wait_backoff)


def choose_key(endpoint: Endpoint[Any, Any], key: str | None) -> str | None:
    """Return the key of one POST: the given one, else a fresh one where the row takes one."""
    if key is not None:
        return check_key(key)
    return None if endpoint.key is KeySupport.NO else new_key()
