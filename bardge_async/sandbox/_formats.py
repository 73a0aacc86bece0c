"""Values as the sandbox stores them: integer hundredths of a naira, integer milliseconds since the epoch."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import Final

import orjson

CURRENCY: Final = "NGN"
# Nigeria has no daylight saving time, so that a fixed offset will do.
LAGOS: Final = dt.timezone(dt.timedelta(hours=1), "Africa/Lagos")
SECOND: Final = 1000
MINUTE: Final = 60 * SECOND
DAY: Final = 24 * 60 * MINUTE


def format_money(hundredths: int) -> int | orjson.Fragment:
    """Return an amount as an exact JSON number."""
    whole, part = divmod(abs(hundredths), 100)
    if not part:
        return hundredths // 100
    # orjson writes neither Decimal nor exact fractions: a fragment goes into the JSON as it is.
    sign = "-" if hundredths < 0 else ""
    return orjson.Fragment(f"{sign}{whole}.{part:02d}")


def to_seconds(milliseconds: int | None) -> int | None:
    """Return a timestamp in seconds, as bookings show it (page: seconds)."""
    return None if milliseconds is None else milliseconds // SECOND


def lagos_instant(day: dt.date, time: dt.time) -> int:
    """Return the timestamp of a day and time in Lagos."""
    return int(dt.datetime.combine(day, time, LAGOS).timestamp()) * SECOND


def end_of_day(day: dt.date) -> int:
    """Return the timestamp of the last second of a day in Lagos."""
    return lagos_instant(day, dt.time(23, 59, 59))


def lagos_day(milliseconds: int) -> dt.date:
    """Return the day in Lagos at a timestamp."""
    return dt.datetime.fromtimestamp(milliseconds / SECOND, LAGOS).date()


def new_id(prefix: str) -> str:
    """Generate an id in the format of the page's ``booking_2a4f8e1b3c5d9f7a``."""
    return f"{prefix}_{secrets.token_hex(8)}"
