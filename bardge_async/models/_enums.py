"""Open enums: reading ignores case, and an unlisted value stays text."""

from __future__ import annotations

import enum

__all__ = ["BookingState", "BookingType", "Duration", "IssuedPassState", "ProviderCategory", "TransactionType"]


class Duration(enum.StrEnum):
    """Period of an allocation: "monthly" on passes, "MONTHLY" on issued passes (page)."""

    MONTHLY = "MONTHLY"
    ANNUALLY = "ANNUALLY"


class IssuedPassState(enum.StrEnum):
    """State of an issued pass: ACTIVE (page); EXPIRED by date or visits, CANCELLED (guide)."""

    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


class BookingState(enum.StrEnum):
    """State of a booking: PENDING (page); the others (guide)."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"
    COMPLETED = "COMPLETED"
    RESCHEDULED = "RESCHEDULED"


class BookingType(enum.StrEnum):
    """Type of a booking (page)."""

    SPA = "spa"
    CLASS = "class"


class ProviderCategory(enum.StrEnum):
    """Category of a provider: SPA takes appointments, GYM runs classes (page: ``categories[].type``)."""

    SPA = "SPA"
    GYM = "GYM"


class TransactionType(enum.StrEnum):
    """Direction of a credit transaction (page)."""

    CREDIT = "CREDIT"
    DEBIT = "DEBIT"
