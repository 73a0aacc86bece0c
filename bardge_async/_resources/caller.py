"""What resource methods stand on: the protocol to call endpoints and walk lists, and their base class."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from bardge_async._pagination import Walk, WalkOptions
from bardge_async.endpoints import Endpoint
from bardge_async.models import Page

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T")


class Caller(Protocol):
    """Call endpoints; implemented for the client and for the idempotency block."""

    def call(
        self, endpoint: Endpoint[Q, R], request: Q, *path: str, lookup_token: str | None = None
    ) -> Coroutine[Any, Any, R]:
        """Call an endpoint and return the result."""
        ...

    def walk(
        self,
        endpoint: Endpoint[None, Page[T]],
        span: WalkOptions,
        *path: str,
        query: Mapping[str, float | None] | None = None,
    ) -> Walk[T]:
        """Return a walk over a list; nothing is sent yet."""
        ...


class EndpointMethods:
    """Methods of the endpoints of one noun. Lists take the options of :class:`Walk`."""

    __slots__ = ("_caller",)

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
