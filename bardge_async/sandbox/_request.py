"""One authenticated request, as a behaviour sees it."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, cast

import attrs
import orjson

from bardge_async.endpoints import Endpoint
from bardge_async.sandbox._errors import INVALID_REQUEST, VALIDATION_CODE, ErrorAnswer, validation_error
from bardge_async.sandbox._store import Row, Store

JSON: TypeAlias = dict[str, Any]

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2999
_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d", re.ASCII)


@attrs.frozen
class Reseller:
    """The account that an API key belongs to."""

    seq: int
    slug: str
    enabled: bool
    lookup_enabled: bool


def read_reseller(row: Row) -> Reseller:
    """Return the account of a row."""
    return Reseller(row["seq"], row["slug"], bool(row["enabled"]), bool(row["lookup_enabled"]))


class BodyFields:
    """Read the fields of a request body; an invalid one is rejected by name."""

    def __init__(self, values: JSON) -> None:
        self._values = values

    def is_given(self, name: str) -> bool:
        """Return whether a field is present and not ``null``."""
        return self._values.get(name) is not None

    def read_str(self, name: str) -> str:
        """Return a required string."""
        value = self._read_required(name)
        if not isinstance(value, str) or not value.strip():
            raise validation_error(name, "expected a non-blank string")
        return value

    def read_optional_str(self, name: str) -> str | None:
        """Return an optional string."""
        return self.read_str(name) if self.is_given(name) else None

    def read_strs(self, name: str) -> tuple[str, ...]:
        """Return a required list of strings, not empty and without duplicates."""
        value = self._read_required(name)
        if not isinstance(value, list) or not value:
            raise validation_error(name, "expected a non-empty list of strings")
        items = [item for item in cast("list[object]", value) if isinstance(item, str) and item.strip()]
        if len(items) < len(value):  # pyright: ignore[reportUnknownArgumentType]
            raise validation_error(name, "expected every item to be a non-blank string")
        if len(set(items)) < len(items):
            raise validation_error(name, "expected no duplicates")
        return tuple(items)

    def read_int(self, name: str) -> int:
        """Return a required whole number from 1 to 1000; the maximum is the sandbox's choice."""
        value = self._read_required(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1000:  # noqa: PLR2004
            raise validation_error(name, "expected a whole number from 1 to 1000")
        return value

    def read_date(self, name: str) -> dt.date:
        """Return a required calendar day."""
        value = self.read_str(name)
        try:
            # ``fromisoformat`` alone would also accept "20261231" and week dates.
            day = dt.date.fromisoformat(value) if _DAY.fullmatch(value) else _reject_date(value)
        except ValueError:
            raise validation_error(name, 'expected a calendar day such as "2026-12-31"') from None
        # The sandbox's choice: adding the duration of a pass must not exceed the calendar.
        if not _FIRST_YEAR <= day.year <= _LAST_YEAR:
            raise validation_error(name, f"expected a day from {_FIRST_YEAR} to {_LAST_YEAR}")
        return day

    def read_optional_date(self, name: str) -> dt.date | None:
        """Return an optional calendar day."""
        return self.read_date(name) if self.is_given(name) else None

    def read_time(self, name: str) -> dt.time:
        """Return a required time of day."""
        value = self.read_str(name)
        if not _TIME.fullmatch(value):
            raise validation_error(name, 'expected a time of day such as "14:30"')
        return dt.time.fromisoformat(value)

    def _read_required(self, name: str) -> object:
        value: object = self._values.get(name)
        if value is None:
            raise validation_error(name, "this field is required")
        return value


def _reject_date(value: str) -> dt.date:
    raise ValueError(value)


# No slots: ``cached_property`` needs a ``__dict__``.
@attrs.frozen(slots=False)
class SandboxRequest:
    """One request of one reseller; ``received_at`` is in seconds since the epoch, by the sandbox's clock."""

    endpoint: Endpoint[Any, Any]
    store: Store
    reseller: Reseller
    url: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    idempotency_key: str | None
    lookup_token: str | None
    received_at: float

    @property
    def now_ms(self) -> int:
        """Time of receipt in milliseconds since the epoch."""
        return int(self.received_at * 1000)

    @functools.cached_property
    def fields(self) -> BodyFields:
        """The fields of the request body.

        Raises:
            ErrorAnswer: The body is not a JSON object.
        """
        try:
            values = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise ErrorAnswer(
                400, INVALID_REQUEST, VALIDATION_CODE, f"The request body is not valid JSON: {error}"
            ) from None
        if not isinstance(values, dict):
            raise ErrorAnswer(400, INVALID_REQUEST, VALIDATION_CODE, "The request body must be a JSON object.")
        return BodyFields(values)  # pyright: ignore[reportUnknownArgumentType]


Behaviour: TypeAlias = Callable[[SandboxRequest], JSON]
"""What an endpoint does: read and change the state, and return the response body or raise an error answer."""
