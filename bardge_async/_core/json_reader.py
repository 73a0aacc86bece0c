"""Parse JSON exactly, and leniently where the fast codec refuses it.

A response that only our codec refuses is still the API's: a purchase that it confirms is done, and an error object in it
is an error object.
"""

from __future__ import annotations

import decimal
import json
import re
from decimal import Decimal
from typing import Any, Final

from bardge_async._core.scalars import TextNumber


class NestingError(ValueError):
    """Signal complete JSON that is nested too deeply to be read."""


def parse_json_exact(body: bytes) -> Any:
    """Parse JSON leniently, with every number exact; raise ValueError if it is not JSON.

    Fractions, and integers of more digits than ``int()`` converts, are Decimal; see :class:`TextNumber` for the rest.
    Wrong bytes and lone surrogates become U+FFFD.
    """
    text = _decode_text(body)
    try:
        # With this trap off, Decimal() would return NaN for a number that it cannot hold.
        if decimal.getcontext().traps[decimal.InvalidOperation]:
            try:
                return _EXACT.decode(text)
            except (ValueError, ArithmeticError):
                pass
        return _LENIENT.decode(_OUTSIDE_STRINGS.sub(_replace_odd_space, text))
    except RecursionError:
        if _is_balanced(text):
            raise NestingError("nested too deeply") from None
        raise ValueError("truncated") from None


def _decode_text(body: bytes) -> str:
    # Not "utf-8-sig": Python would import that codec in the middle of a call.
    text = body.decode("utf-8", "replace").removeprefix("\ufeff")
    return _SURROGATES.sub(_replace_lone_surrogate, text) if "\\u" in text else text


_HIGH: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = r"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
# Every backslash takes the next character with it: "\\ud83d" is a backslash and text.
_SURROGATES: Final = re.compile(rf"{_HIGH}{_LOW}|({_HIGH}|{_LOW})|\\.", re.DOTALL)


def _replace_lone_surrogate(found: re.Match[str]) -> str:
    return found[0] if found[1] is None else "\\ufffd"


_STRING: Final = r'"(?:[^"\\]+|\\.)*+"?'
# Python's white space, control characters, byte order marks, zero-width spaces, and what replaced wrong bytes.
_ODD_SPACE: Final = r"[\x00-\x20\x7f-\xa0\u1680\u2000-\u200d\u2028\u2029\u202f\u205f\u2060\u3000\ufeff\ufffd]+"
_OUTSIDE_STRINGS: Final = re.compile(f"{_STRING}|{_ODD_SPACE}", re.DOTALL)


def _replace_odd_space(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else " "


_ONLY_STRINGS: Final = re.compile(_STRING, re.DOTALL)


def _is_balanced(text: str) -> bool:
    bare = _ONLY_STRINGS.sub("", text)
    return bare.count("[") == bare.count("]") and bare.count("{") == bare.count("}")


# So large that no number is rounded: one that does not fit raises.
_UNBOUNDED: Final = decimal.Context(
    prec=decimal.MAX_PREC,
    Emax=decimal.MAX_EMAX,
    Emin=decimal.MIN_EMIN,
    traps=[decimal.InvalidOperation, decimal.Overflow, decimal.Underflow, decimal.Inexact],
)


def _read_fraction(text: str) -> Decimal | TextNumber:
    try:
        return _UNBOUNDED.create_decimal(text)
    except ArithmeticError:
        return TextNumber(text)


def _read_integer(text: str) -> int | Decimal | TextNumber:
    try:
        return int(text)
    except ValueError:
        # Too many digits: the conversion would take quadratic time, and the int could not be printed.
        return _read_fraction(text)


_EXACT: Final = json.JSONDecoder(strict=False, parse_float=Decimal, parse_constant=TextNumber)
_LENIENT: Final = json.JSONDecoder(
    strict=False, parse_float=_read_fraction, parse_int=_read_integer, parse_constant=TextNumber
)
