"""Open enums: case is folded, and a value that is not listed passes through as text."""

from __future__ import annotations

import enum

__all__ = ["BookingState", "BookingType", "Duration", "IssuedPassState", "ProviderCategory", "TransactionType"]


class Duration(enum.StrEnum):
    """How long an allocation lasts: "monthly" on passes, "MONTHLY" on issued ones (page)."""

    MONTHLY = "MONTHLY"
    ANNUALLY = "ANNUALLY"


class IssuedPassState(enum.StrEnum):
    """State of an issued pass: ACTIVE (page); expired by date or by visits, cancelled (guide)."""

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
    """What was booked (page)."""

    SPA = "spa"
    CLASS = "class"


class ProviderCategory(enum.StrEnum):
    """Kind of a provider: SPA takes appointments, GYM runs classes (page: ``categories[].type``)."""

    SPA = "SPA"
    GYM = "GYM"


class TransactionType(enum.StrEnum):
    """Direction of a credit transaction (page)."""

    CREDIT = "CREDIT"
    DEBIT = "DEBIT"
