"""Why aiohttp cannot read a response: said in our words, since its own quote what arrived."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from bardge_async._core.http import escape_text
from bardge_async._core.redaction import get_redactor

MAX_HEADER_LINE: Final = 2**16
"""Bytes of one header line or of the status line."""
MAX_HEADERS: Final = 128
ASKED_ENCODINGS: Final = ("gzip", "deflate")
_ENCODING_FAULT: Final = re.compile(r"Can not decode content-encoding: (?:\w+ \()?(\w+)")

# Interim responses (1xx) may come first.
_STATUS_LINE: Final = re.compile(rb"(?:\A|\r\n\r\n)HTTP/1\.[01] ([2-9]\d\d)\b")


class UnaskedEncodingError(Exception):
    """The body of a response is in an encoding that was not asked for; the text names it."""


def check_encoding(status: int, headers: Mapping[str, str], body: bytes, authorization: str) -> None:
    """Check that the body of a success was decoded; aiohttp leaves it as it is in an encoding that it does not know.

    Raises:
        UnaskedEncodingError: It was not. The text does not contain the key of ``authorization``.
    """
    encoding = headers.get("Content-Encoding", "identity")
    is_known = encoding.strip().lower() in (*ASKED_ENCODINGS, "identity", "")
    # A failure keeps its status, which says more. Some servers name an encoding and do not use it.
    if not is_known and 200 <= status < 300 and body and not body.lstrip().startswith((b"{", b"[")):  # noqa: PLR2004
        raise UnaskedEncodingError(_name_encoding(get_redactor(authorization).redact_text(encoding)))


def describe_unreadable(error: BaseException) -> str | None:
    """Return what is wrong with a response, from the error or one that caused it; None if it is something else."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, UnaskedEncodingError):
            return str(found)
        if isinstance(found, LineTooLong):
            return f"a header line is longer than {MAX_HEADER_LINE} bytes"
        if isinstance(found, HttpProcessingError) and (text := _describe_message(found.message)) is not None:
            return text
        found = found.__cause__
    return None


def find_status(error: BaseException) -> int | None:
    """Return the status of a response that aiohttp cannot read; None if it is not known.

    aiohttp drops the status with the rest: a body in an unknown encoding, or a second length. What its parser was given
    last is in the frame that failed.
    """
    found: BaseException | None = error
    while found is not None:
        trace = found.__traceback__
        while trace is not None:
            frame = trace.tb_frame
            data = frame.f_locals.get("data") if frame.f_code.co_name == "data_received" else None
            if isinstance(data, bytes):
                return next((int(one[1]) for one in _STATUS_LINE.finditer(data)), None)
            trace = trace.tb_next
        found = found.__cause__
    return None


def _describe_message(message: str) -> str | None:
    if message.startswith("Too many headers"):
        return f"it has more than {MAX_HEADERS} headers"
    # What follows the first line quotes the response.
    reason = message.partition("\n")[0]
    if "can't be present with" in reason and "Content-Length" in reason and "Transfer-Encoding" in reason:
        return "it has both Content-Length and Transfer-Encoding"
    if reason.startswith(("Duplicate Content-Length", "Duplicate 'Content-Length'", "Content-Length already present")):
        return "it has more than one Content-Length; only one is allowed"
    encoding = _ENCODING_FAULT.match(reason)
    if encoding is None:
        return None
    return f"its body is not valid {encoding[1]}" if encoding[1] in ASKED_ENCODINGS else _name_encoding(encoding[1])


def _name_encoding(encoding: str) -> str:
    return f"its Content-Encoding is {escape_text(encoding):.60}; asked for were {' and '.join(ASKED_ENCODINGS)}"
