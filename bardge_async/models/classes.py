"""Fitness classes, their categories and their instances."""

from __future__ import annotations

import datetime as dt

import attrs

from bardge_async.models._base import Inferred, Mark, Resource, schema

__all__ = ["ClassCategory", "ClassInstance", "FitnessClass"]


@schema(None, Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ClassCategory(Resource):
    """A category of classes (the vendor's menu has no schema for it)."""

    object: Inferred[str] = None
    id: Inferred[str] = None
    name: Inferred[str] = None


@schema("ResellerV3ClassInstanceResponse", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ClassInstance(Resource):
    """One date of a class (``ResellerV3ClassInstanceResponse``: only the name is known).

    ``date`` and ``time`` are local to the venue, without a zone; ``scheduled_for`` is an aware UTC datetime. They
    may disagree: neither is derived from the other.
    """

    object: Inferred[str] = None
    id: Inferred[str] = None
    date: Inferred[dt.date] = None
    time: Inferred[str] = None
    scheduled_for: Inferred[dt.datetime] = None
    capacity: Inferred[int] = None
    spots_left: Inferred[int] = None
    instructor: Inferred[str] = None


@schema("ResellerV3ClassResponse", Mark.INFERRED)
@attrs.frozen(kw_only=True, eq=False, repr=False)
class FitnessClass(Resource):
    """A class of a gym (``ResellerV3ClassResponse``: only the name is known).

    ``created`` is an aware UTC datetime.
    """

    object: Inferred[str] = None
    id: Inferred[str] = None
    name: Inferred[str] = None
    description: Inferred[str] = None
    category: Inferred[str] = None
    provider_id: Inferred[str] = None
    provider_name: Inferred[str] = None
    instances: Inferred[tuple[ClassInstance, ...]] = None
    created: Inferred[dt.datetime] = None
