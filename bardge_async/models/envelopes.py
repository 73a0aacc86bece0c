"""Envelopes common to all resources: the list page and the error object."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from bardge_async.models._base import FromPage, Mark, Resource, schema

__all__ = ["ErrorDetail", "ErrorResponse", "Page"]

T = TypeVar("T")


@schema("ResellerV3ListResponse", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Page(Resource, Generic[T]):
    """One page of a list (``ResellerV3ListResponse``, page).

    ``items`` is the vendor's ``data``; ``request_id`` is the response's ``Bardge-Request-Id``.
    """

    items: tuple[T, ...] = ()
    has_more: bool = False
    object: FromPage[str] = None
    url: FromPage[str] = None
    message: FromPage[str] = None
    request_id: str | None = None


@schema("ErrorDetail", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ErrorDetail(Resource):
    """The server's description of an error (``ErrorDetail``, page)."""

    type: FromPage[str] = None
    code: FromPage[str] = None
    message: FromPage[str] = None
    request_id: FromPage[str] = None


@schema("ResellerV3ErrorResponse", Mark.PAGE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ErrorResponse(Resource):
    """The body of an API error (``ResellerV3ErrorResponse``, page)."""

    error: FromPage[ErrorDetail] = None
