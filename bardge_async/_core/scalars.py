"""Strict readers for scalars: text, booleans, numbers, timestamps, dates, enums."""

from __future__ import annotations

import datetime as dt
import enum
import json
from decimal import Decimal
from typing import Final, cast

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
FIRST_MILLISECONDS: Final = 10**11
"""Timestamps from here on are in milliseconds, below in seconds: the vendor sends both."""
_MAX_SHOWN: Final = 60


class StructureError(Exception):
    """Carry all mismatches of one value, as pairs of relative path and text."""

    def __init__(self, mismatches: list[tuple[str, str]]) -> None:
        super().__init__(mismatches)
        self.mismatches = mismatches

    def prefix_paths(self, step: str) -> list[tuple[str, str]]:
        """Return the mismatches with one step put before every path."""
        return [(step + path, text) for path, text in self.mismatches]


class InexactError(Exception):
    """Signal a binary float where the exact number is needed: parse the body again."""


def _format_value(value: object) -> str:
    text = str(value) if type(value) is Decimal else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def mismatch(expected: str, value: object) -> StructureError:
    return StructureError([("", f"expected {expected}, got {_format_value(value)}")])


def require_exact(value: object) -> object:
    """Return a raw value to keep, or raise InexactError if it contains a binary float."""
    kind = type(value)
    if kind is float:
        raise InexactError
    if kind is dict:
        for item in cast("dict[str, object]", value).values():
            require_exact(item)
    elif kind is list:
        for item in cast("list[object]", value):
            require_exact(item)
    return value


# The readers compare types exactly: isinstance would accept True as an int.


def read_str(value: object, _: object = None) -> str:
    if type(value) is str:
        return value
    raise mismatch("text", value)


def read_bool(value: object, _: object = None) -> bool:
    if type(value) is bool:
        return value
    raise mismatch("true or false", value)


def read_int(value: object, _: object = None) -> int:
    if type(value) is int:
        return value
    if type(value) is float:
        raise InexactError
    raise mismatch("a whole number", value)


def read_decimal(value: object, _: object = None) -> Decimal:
    if type(value) is int:
        return Decimal(value)
    if type(value) is Decimal:
        return value
    if type(value) is float:
        raise InexactError
    raise mismatch("a number", value)


def read_float(value: object, _: object = None) -> float:
    if type(value) is float or type(value) is int or type(value) is Decimal:
        return float(value)
    raise mismatch("a number", value)


def _read_number(value: object) -> int | Decimal:
    # Keep int: Decimal arithmetic takes ten times as long.
    return value if type(value) is int else read_decimal(value)


def read_timestamp(value: object, _: object = None) -> dt.datetime:
    number = _read_number(value)
    milliseconds = number * 1000 if -FIRST_MILLISECONDS < number < FIRST_MILLISECONDS else number
    try:
        return _EPOCH + dt.timedelta(microseconds=int(milliseconds * 1000))
    except ArithmeticError:
        raise mismatch("a timestamp", value) from None


def read_date(value: object, _: object = None) -> dt.date:
    if type(value) is str and len(value) == 10 and value[4] == value[7] == "-":  # noqa: PLR2004 - YYYY-MM-DD
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            pass
    raise mismatch('a day such as "2026-12-31"', value)


class OpenEnum:
    """Read text as an enum member, ignoring case; an unlisted value stays text."""

    def __init__(self, kind: type[enum.StrEnum]) -> None:
        self._by_folded: dict[str, str] = {member.value.casefold(): member for member in kind}
        spellings = (str.lower, str.upper, str.title)
        self.by_spelling: dict[str, str] = {spell(member.value): member for member in kind for spell in spellings}
        """The usual spellings, for a lookup without a function call."""

    def __call__(self, value: object, _: object = None) -> str:
        word = read_str(value)
        return self._by_folded.get(word.casefold(), word)
