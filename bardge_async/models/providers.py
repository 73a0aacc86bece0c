"""Providers, the gyms and spas of the network, and the services of spas."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import attrs

from bardge_async.models._base import Inferred, Mark, Resource, schema
from bardge_async.models._enums import ProviderCategory

__all__ = ["Availability", "Provider", "Service", "ServicePreview", "Spa"]


@schema("ResellerV3ProviderResponse", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Provider(Resource):
    """A gym or spa (``ResellerV3ProviderResponse``: only the name is known).

    ``lat`` and ``lon`` are degrees; the unit of ``distance`` is not known; ``created`` is an aware UTC datetime.
    """

    object: Inferred[str] = None
    id: Inferred[str] = None
    name: Inferred[str] = None
    category: Inferred[ProviderCategory | str] = None
    tier: Inferred[str] = None
    address: Inferred[str] = None
    city: Inferred[str] = None
    lat: Inferred[float] = None
    lon: Inferred[float] = None
    distance: Inferred[float] = None
    copay_available: Inferred[bool] = None
    created: Inferred[dt.datetime] = None


@schema("ResellerV3ServiceResponse", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Service(Resource):
    """A service of a spa (``ResellerV3ServiceResponse``: only the name is known).

    ``price`` is exactly the number the vendor sent.
    """

    id: Inferred[str] = None
    name: Inferred[str] = None
    price: Inferred[Decimal] = None
    currency: Inferred[str] = None
    duration_minutes: Inferred[int] = None


@schema("ResellerV3SpaResponse", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Spa(Provider):
    """A spa with its services (``ResellerV3SpaResponse``: only the name is known)."""

    services: Inferred[tuple[Service, ...]] = None


@schema("ServicePreview", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ServicePreview(Resource):
    """A service inside a quote or a spa booking (``ServicePreview``: only the name is known).

    ``price`` is exactly the number the vendor sent; ``covered`` says whether the pass pays for it.
    """

    id: Inferred[str] = None
    name: Inferred[str] = None
    price: Inferred[Decimal] = None
    covered: Inferred[bool] = None


@schema("ResellerV3AvailabilityResponse", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Availability(Resource):
    """Free slots of one day, local to the venue (``ResellerV3AvailabilityResponse``: only the name is known)."""

    date: Inferred[dt.date] = None
    slots: Inferred[tuple[str, ...]] = None
