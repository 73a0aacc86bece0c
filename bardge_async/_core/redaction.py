"""Remove the API key, and a lookup token, from responses that echo them, as debug servers and careless proxies do.

The key is found as it is and in the forms that servers write it in: escaped in JSON or HTML, percent-encoded, and within
text that is base64-encoded. What is derived from the key has a masked ``repr``.
"""

from __future__ import annotations

import base64
import functools
import html
import re
from collections.abc import Mapping
from typing import Final

import attrs
from multidict import CIMultiDict

from bardge_async._core.drift import DriftNote
from bardge_async._core.http import TOKEN_HEADER, WireResponse, escape_text
from bardge_async._core.secret import Secret

_REDACTED: Final = "***"
_MAX_FIELD_LENGTH: Final = 120
_MIN_KEY_LENGTH: Final = 12
"""Shorter keys, as used in tests, occur in responses by chance."""


class KeyRedactor:
    """Find and replace one API key."""

    __slots__ = ("_literals", "_patterns", "_texts")

    def __init__(self, key: str) -> None:
        """Create a redactor; a key that is too short is never replaced."""
        self._texts = (Secret(key), *_encode_base64(key)) if len(key) >= _MIN_KEY_LENGTH else ()
        self._literals = tuple({Secret(one) for text in self._texts for one in (text, text.translate(_URL_SAFE))})
        self._patterns: tuple[re.Pattern[str], ...] | None = None

    def redact_text(self, text: str) -> str:
        """Return text without the key; the same object if it does not occur."""
        if not self.may_occur(text):
            return text
        if self._patterns is None:
            # Only now: compiling takes milliseconds, and few servers echo a key.
            rests = ("", *[_BASE64_REST] * 3)
            self._patterns = tuple(_compile(one, rest) for one, rest in zip(self._texts, rests, strict=False))
        redacted = text
        for pattern in self._patterns:
            redacted = pattern.sub(_REDACTED, redacted)
        return text if redacted == text else redacted

    def may_occur(self, text: str) -> bool:
        """Return whether text may contain the key: a quick search, since every response gets here."""
        if "\\" in text or "%" in text or "&" in text:
            return True
        for literal in self._literals:  # noqa: SIM110 - a generator would take longer than the search
            if literal in text:
                return True
        return False

    def clean_headers(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return headers without the key, and as printable ASCII; the same object if they are that already."""
        clean = CIMultiDict((name, escape_text(self.redact_text(value))) for name, value in headers.items())
        return headers if clean == headers else clean

    def redact_body(self, body: bytes) -> bytes:
        """Return a body without the key; the same object if it does not occur."""
        # Latin-1 maps every byte to a character and back; searching text is faster than searching bytes.
        text = body.decode("latin-1")
        redacted = self.redact_text(text)
        return body if redacted is text else redacted.encode("latin-1")


_URL_SAFE: Final = str.maketrans("+/", "-_")
# What follows the part that the key alone determines: the rest of its last bytes, mixed with what comes after it.
_BASE64_REST: Final = "[A-Za-z0-9+/_-]{0,3}"


def _encode_base64(key: str) -> list[Secret]:
    """Return the part of the base64 text that does not depend on what surrounds the key, for each alignment."""
    cores: list[Secret] = []
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + key.encode()).decode()
        # Of a group that is shared with other data, only whole characters of ours are certain.
        first = -(-before * 4 // 3)
        last = (before + len(key)) * 4 // 3
        cores.append(Secret(encoded[first:last]))
    return cores


def _compile(text: str, rest: str) -> re.Pattern[str]:
    return re.compile("".join(_write_alternatives(char) for char in text) + rest)


def _write_alternatives(char: str) -> str:
    """Return a pattern for one character in all its spellings, each of which begins with a fixed one: that is fast.

    Escapes may be nested a few times, as in JSON within JSON; a bound keeps the search linear.
    """
    code = ord(char)
    digits = "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{code:02x}")
    literals = [re.escape(one) for one in sorted({char, char.translate(_URL_SAFE)})]
    escaped = rf"\\\\{{0,3}}(?:{'|'.join(literals)}|u00{digits})"
    codes = [rf"%(?:25){{0,3}}{digits}", rf"&#0{{0,4}}{code};", rf"&#[xX]0{{0,4}}{digits};"]
    named = [re.escape(html.escape(char))] if html.escape(char) != char else []
    return f"(?:{'|'.join([*literals, escaped, *codes, *named])})"


@functools.lru_cache(maxsize=64)
def get_redactor(authorization: str) -> KeyRedactor:
    """Return the redactor for the key of an ``Authorization`` header."""
    return KeyRedactor(Secret(str(authorization).removeprefix("Bearer ")))


def clean_headers(response: WireResponse, authorization: str) -> WireResponse:
    """Return a response with headers that can be shown, logged and stored; the same object if its own can."""
    redactor = get_redactor(authorization)
    # A space, since it is printable; the key contains none, so it cannot begin in one header and end in the next.
    joined = " ".join(response.headers.values())
    if joined.isascii() and joined.isprintable() and not redactor.may_occur(joined):
        return response
    headers = redactor.clean_headers(response.headers)
    return response if headers is response.headers else attrs.evolve(response, headers=headers)


def redact_body(response: WireResponse, authorization: str) -> WireResponse:
    """Return a response without the API key in its body; the same object if it has none."""
    body = get_redactor(authorization).redact_body(response.body)
    return response if body is response.body else attrs.evolve(response, body=body)


def redact_drift(notes: tuple[DriftNote, ...], authorization: str) -> tuple[DriftNote, ...]:
    """Return notes whose names, which a server chose, are printable ASCII without the API key, of bounded length."""
    redact = get_redactor(authorization).redact_text
    return tuple((escape_text(redact(field))[:_MAX_FIELD_LENGTH], kind) for field, kind in notes)


def redact_token(response: WireResponse, sent_headers: Mapping[str, str]) -> WireResponse:
    """Return a response without the lookup token that was sent; the same object if none was, or it has none."""
    token = sent_headers.get(TOKEN_HEADER)
    return response if token is None else redact_body(clean_headers(response, token), token)
