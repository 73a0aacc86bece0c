"""Strict readers for scalars: text, booleans, numbers, timestamps, dates, enums."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import math
from decimal import Decimal
from typing import Final, cast

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
FIRST_MILLISECONDS: Final = 10**11
"""Timestamps from here on are in milliseconds, below in seconds: the vendor sends both."""
_MAX_SHOWN: Final = 60
_MAX_INT_DIGITS: Final = 20_000
"""Of a whole number that is written as a fraction or with an exponent."""
_MAX_TIMESTAMP_DIGITS: Final = 20
_TRUNCATING: Final = decimal.Context(prec=60, rounding=decimal.ROUND_DOWN, traps=[])


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


class TextNumber(str):
    """A number that Python has no exact value for, as its text: NaN, an infinity, or one beyond Decimal's range.

    It is of no JSON type, so every field refuses it; ``extra`` and plain JSON keep it.
    """

    __slots__ = ()


def _format_value(value: object) -> str:
    if type(value) is Decimal or type(value) is TextNumber:
        text = str(value)
    else:
        try:
            text = json.dumps(value, default=str, ensure_ascii=False)
        except (ValueError, RecursionError):
            text = type(value).__name__
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def describe_error(error: Exception) -> str:
    """Return an error's class and the start of its text, which may fail to be made."""
    try:
        return f"{type(error).__name__}: {error!s:.{_MAX_SHOWN}}"
    except Exception:  # noqa: BLE001 - the user's own exception
        return type(error).__name__


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
    if type(value) is Decimal and _is_whole(value):
        return int(value)
    raise mismatch("a whole number", value)


def _is_whole(value: Decimal) -> bool:
    # 1.0 is an integer (JSON Schema 2020-12, 6.1.1). Converting 1E+999999999 would take all memory.
    return not value or (value.adjusted() < _MAX_INT_DIGITS and value == value.to_integral_value())


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
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    raise mismatch("a number", value)


def read_timestamp(value: object, _: object = None) -> dt.datetime:
    # Keep int: Decimal arithmetic takes ten times as long.
    number = value if type(value) is int else read_decimal(value)
    unit = 1_000_000 if -FIRST_MILLISECONDS < number < FIRST_MILLISECONDS else 1_000
    try:
        microseconds = number * unit if type(number) is int else _count_microseconds(Decimal(number), unit)
        return _EPOCH + dt.timedelta(microseconds=microseconds)
    except ArithmeticError:
        raise mismatch("a timestamp", value) from None


def _count_microseconds(number: Decimal, unit: int) -> int:
    # In our own context: the caller's may round, or raise. Converting 1E+999999999 would take all memory.
    if number and number.adjusted() > _MAX_TIMESTAMP_DIGITS:
        raise OverflowError
    return int(_TRUNCATING.multiply(number, Decimal(unit)))


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
