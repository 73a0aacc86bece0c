"""Calls and walks of the table's rows: what resources, client and idempotency block stand on."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from bardge_async._core.http import Call, Response
from bardge_async._core.keys import check_key, new_key
from bardge_async._pagination import Source, Span, Walk
from bardge_async._pagination.cursor import CursorText
from bardge_async._pagination.walk import resume
from bardge_async.endpoints import ENDPOINTS, Endpoint, KeySupport
from bardge_async.models import Page

if TYPE_CHECKING:
    from bardge_async._calls.context import Progress
    from bardge_async._calls.engine import Engine
    from bardge_async._core.request import Composer

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")


class Calls:
    """Compose calls with one client's settings and make them with its engine."""

    def __init__(self, composer: Composer, engine: Engine) -> None:
        self.composer = composer
        self.engine = engine

    def compose(
        self, row: Endpoint[Any, Any], path: tuple[str, ...], request: object, key: str | None, lookup_token: str | None
    ) -> Call:
        """Make the bytes of a call, under a given key or where the row takes one under a fresh one; nothing is sent."""
        own = own_key(row, key)
        return self.composer.compose(
            row, path, request=request, key=own, lookup_token=lookup_token, given=key is not None
        )

    async def run(self, call: Call, progress: Progress | None = None) -> Response[Any]:
        """Make a call to its end."""
        return await self.engine.run(call, progress)

    def call(
        self, row: Endpoint[Q, R], request: Q, *path: str, lookup_token: str | None = None
    ) -> Coroutine[Any, Any, R]:
        """Make one call of a row and return its result, as the resource methods do."""
        return self.engine.value(self.compose(row, path, request, None, lookup_token))

    def walk(
        self, row: Endpoint[None, Page[T]], span: Span, *path: str, query: Mapping[str, float | None] | None = None
    ) -> Walk[T]:
        """Return a walk over a list; nothing is sent yet.

        Raises:
            InvalidArgumentError: A path argument that cannot be sent.
        """
        self.composer.compose(row, path)
        return Walk(self._source(row, path, query or {}), span)

    def resume(self, cursor: str) -> Walk[Any]:
        """Return the walk that a cursor says; nothing is sent yet.

        Raises:
            InvalidArgumentError: It is no cursor, or a damaged one.
        """
        text = CursorText.load(cursor)
        row = ENDPOINTS[text.list]
        self.composer.compose(row, text.path)
        return resume(text, self._source(row, text.path, text.query))

    def _source(
        self, row: Endpoint[None, Page[T]], path: tuple[str, ...], query: Mapping[str, float | None]
    ) -> Source[T]:
        async def fetch(place: Mapping[str, object]) -> Page[T]:
            call = self.composer.compose(row, path, query={**query, **place})
            page: Page[T] = (await self.run(call)).value
            return page

        return Source(row, path, query, fetch, self.engine.pause_between)


def own_key(row: Endpoint[Any, Any], key: str | None) -> str | None:
    """Return the key of one POST: the given one, else a fresh one where the row takes one."""
    if key is not None:
        return check_key(key)
    return None if row.key is KeySupport.NO else new_key()
