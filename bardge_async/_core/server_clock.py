"""The server's clock, as its ``Date`` headers show it: a witness that runs on while this machine is paused."""

from __future__ import annotations

import datetime as dt
import email.utils
import functools
from typing import Final

_MAX_DEPARTURE: Final = 5.0
"""Seconds by which one answer's ``Date`` may depart from the others and be believed."""
_MAX_DATE_LENGTH: Final = 64


@functools.lru_cache(maxsize=8)
def parse_http_date(text: str) -> float | None:
    """Return an HTTP date as a Unix time in seconds; None if it is invalid.

    A server's ``Date`` changes once a second, so the cache keeps it from being parsed more often.
    """
    if len(text) > _MAX_DATE_LENGTH:
        return None
    try:
        date = email.utils.parsedate_to_datetime(text)
        # An HTTP date is in GMT (RFC 9110, 5.6.7); the parser returns "-0000" as a naive datetime.
        return (date if date.tzinfo else date.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


class ServerClock:
    """Estimate the server's time from the last answer's ``Date`` and the elapsed time since."""

    __slots__ = ("_departed", "offset")

    def __init__(self) -> None:
        self.offset: float | None = None
        self._departed: float | None = None

    def observe_date(self, date: float, elapsed: float) -> bool:
        """Include an answer's time; one that departs from the others counts once a second answer agrees with it.

        Return whether it counts already.
        """
        offset = date - elapsed
        for known in (self.offset, self._departed):
            if known is not None and abs(offset - known) <= _MAX_DEPARTURE:
                break
        else:
            if self.offset is not None:
                self._departed = offset
                return False
        self.offset, self._departed = offset, None
        return True

    def tell_time(self, elapsed: float) -> float | None:
        """Return the server's time in seconds; None before its first answer."""
        return None if self.offset is None else self.offset + elapsed
