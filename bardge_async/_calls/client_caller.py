"""Build and run calls and walks of endpoints, for the resources, the client and the idempotency block."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from bardge_async._core.http import PreparedRequest, Response
from bardge_async._core.keys import check_key, new_key
from bardge_async._pagination import PageSource, Walk, WalkOptions
from bardge_async._pagination.cursor import Cursor
from bardge_async._pagination.walk import resume_walk
from bardge_async.endpoints import ENDPOINTS, Endpoint
from bardge_async.models import Page

if TYPE_CHECKING:
    from bardge_async._calls.context import ClientSettings, OperationProgress
    from bardge_async._calls.engine import Engine
    from bardge_async._core.request import RequestBuilder

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")


class ClientCaller:
    """Build requests with one client's settings and run them with its engine."""

    def __init__(self, request_builder: RequestBuilder, engine: Engine) -> None:
        self.request_builder = request_builder
        self._engine = engine
        self.settings = engine.settings
        self.slots = engine.slots
        self.account_limits = engine.account_limits
        self.clock_reader = engine.clock_reader

    def with_settings(self, settings: ClientSettings, request_builder: RequestBuilder) -> ClientCaller:
        """Return a caller with other settings and another request builder over the same connections."""
        return ClientCaller(request_builder, self._engine.with_settings(settings))

    def build_request(
        self,
        endpoint: Endpoint[Any, Any],
        path: tuple[str, ...],
        request: object,
        key: str | None,
        lookup_token: str | None,
        *,
        query: Mapping[str, object] | None = None,
    ) -> PreparedRequest:
        """Build a request without sending it, with the given key or, where the endpoint takes one, a new key."""
        checked_key = choose_key(endpoint, key)
        return self.request_builder.build(
            endpoint,
            path,
            request=request,
            query=query,
            key=checked_key,
            lookup_token=lookup_token,
            given=key is not None,
        )

    async def run(
        self,
        request: PreparedRequest,
        progress: OperationProgress | None = None,
        *,
        claim_timeout: float | None = None,
        retry_refused: bool = True,
    ) -> Response[Any]:
        """Run a call, retries included, and return its response; see :meth:`Engine.run`."""
        return await self._engine.run(request, progress, claim_timeout=claim_timeout, retry_refused=retry_refused)

    def call(
        self, endpoint: Endpoint[Q, R], request: Q, *path: str, lookup_token: str | None = None
    ) -> Coroutine[Any, Any, R]:
        """Call an endpoint and return the result alone, as resource methods do."""
        return self._engine.value(self.build_request(endpoint, path, request, None, lookup_token))

    def walk(
        self,
        endpoint: Endpoint[None, Page[T]],
        span: WalkOptions,
        *path: str,
        query: Mapping[str, float | None] | None = None,
    ) -> Walk[T]:
        """Return a walk over a list; nothing is sent yet.

        Raises:
            InvalidArgumentError: A path argument is invalid.
        """
        # Built only to check the path arguments now, not at the first page.
        self.request_builder.build(endpoint, path)
        return Walk(self._make_page_source(endpoint, path, query or {}), span)

    def resume(self, cursor: str) -> Walk[Any]:
        """Return the walk that a cursor describes; nothing is sent yet.

        Raises:
            InvalidArgumentError: The text is not a cursor, or is corrupt.
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

        return PageSource(endpoint, path, query, fetch_page, self.wait_backoff)

    async def wait_backoff(self, attempt: int) -> None:
        """Wait as before a retry."""
        await self._engine.wait_backoff(attempt)

    async def observe_clocks(self) -> None:
        """Compare the clocks with what the journal has on record, before doubts are judged by them."""
        await self._engine.observe_clocks()

    def seconds_throttled(self) -> float:
        """Return the seconds for which the server asked all calls of the account to wait; zero or less if they may go."""
        return self.account_limits.retry_after_gate.seconds_until_all_open(self.clock_reader.clock.elapsed())

    @property
    def is_unclosed(self) -> bool:
        """Whether connections may be open."""
        return self.slots.was_used and not self.slots.is_closed

    async def aclose(self, drain_timeout: float) -> None:
        """Wait up to ``drain_timeout`` seconds for calls in flight, then close the connections."""
        await self.slots.wait_for_calls(drain_timeout)
        await self._engine.transport.aclose()


def choose_key(endpoint: Endpoint[Any, Any], key: str | None) -> str | None:
    """Return the given key, checked; without one a new key, or None where the endpoint takes no key."""
    if key is not None:
        return check_key(key)
    return new_key() if endpoint.takes_key else None
