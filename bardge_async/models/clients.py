"""Clients: the people to whom a reseller issues passes."""

from __future__ import annotations

import datetime as dt

import attrs

from bardge_async.models._base import Inferred, Mark, Resource, schema
from bardge_async.models.passes import PassRef

__all__ = ["Client"]


@schema("ResellerV3ClientResponse", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Client(Resource):
    """A client and its passes (``ResellerV3ClientResponse``: only the name is known).

    ``created`` is an aware UTC datetime.
    """

    object: Inferred[str] = None
    id: Inferred[str] = None
    first_name: Inferred[str] = None
    last_name: Inferred[str] = None
    email: Inferred[str] = None
    phone_number: Inferred[str] = None
    passes: Inferred[tuple[PassRef, ...]] = None
    lookup_enabled: Inferred[bool] = None
    created: Inferred[dt.datetime] = None
