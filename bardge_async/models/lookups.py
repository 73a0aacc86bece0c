"""Lookups: access a client of another issuer, with the client's consent."""

from __future__ import annotations

import datetime as dt

import attrs

from bardge_async.models._base import UNSET, Body, FromGuide, Inferred, Mark, Optional, Resource, schema

__all__ = ["InitiateLookup", "Issuer", "Lookup", "UpdateLookupEnabled", "VerifyLookup"]


@schema(None, Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Issuer(Resource):
    """A reseller that has enabled third-party lookup on its account (guide: Lookup; the menu has no schema for it)."""

    id: FromGuide[str] = None
    object: Inferred[str] = None
    name: Inferred[str] = None


@schema("LookupInitiateV3Request", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class InitiateLookup(Body):
    """Request that a code be sent to an issuer's client (``LookupInitiateV3Request``, guide)."""

    issuer_id: str
    client_id: str


@schema("LookupVerifyV3Request", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class VerifyLookup(Body):
    """Submit the code that the client gave you (``LookupVerifyV3Request``, guide)."""

    access_code: str


@schema("LookupV3Response", Mark.GUIDE)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Lookup(Resource):
    """A lookup; once verified, it contains the lookup token (``LookupV3Response``, guide; all fields inferred).

    Store ``lookup_token`` yourself: no endpoint returns it again. ``expires_at`` is an aware UTC datetime.
    """

    object: Inferred[str] = None
    id: Inferred[str] = None
    status: Inferred[str] = None
    issuer_id: Inferred[str] = None
    client_id: Inferred[str] = None
    lookup_token: Inferred[str] = None
    expires_at: Inferred[dt.datetime] = None
    message: Inferred[str] = None


@schema("UpdateLookupEnabledRequest", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class UpdateLookupEnabled(Body):
    """Allow or forbid third-party lookup on the reseller's own account; no published endpoint takes it.

    Only the schema's name is known (``UpdateLookupEnabledRequest``). That it is about the account is inferred: the guide
    calls lookup a setting of the issuer's account, and a client consents by handing over the code.
    """

    lookup_enabled: Optional[bool] = UNSET
