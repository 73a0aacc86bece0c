"""User settings: time limits, retry policy, the server's replay window, the base URL."""

from __future__ import annotations

import ipaddress
import math
import re
import string
from typing import Any, Final
from urllib.parse import quote, urlsplit

import attrs

from bardge_async._core.arguments import check_bool, check_int
from bardge_async.errors import ConfigurationError

__all__ = ["ReplayWindow", "RetryPolicy", "Timeouts"]


DEFAULT_BASE_URL: Final = "https://api-prod.bardge.com/v3/api/business/reseller"
"""The production API (page: Introduction)."""
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_ESCAPE: Final = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset(string.ascii_letters + string.digits + "-._~")
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=~"
"""Stay as they are in a path; RFC 3986 lets them mean something else when they are percent-encoded."""
# Strict, so that two URL parsers cannot disagree about the host.
_NETLOC: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def _require_between(low: float, high: float) -> Any:  # noqa: ANN401 - an attrs validator
    def check_range(owner: object, field: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            wanted = f"a number from {low:g} to {high:g}" if math.isfinite(high) else f"a number of at least {low:g}"
            msg = f"{type(owner).__name__}.{field.name}: expected {wanted}, got {value!r:.40}"
            raise ConfigurationError(msg)

    return check_range


def _require_whole(low: int, high: int) -> Any:  # noqa: ANN401 - an attrs validator
    def check_range(owner: object, field: attrs.Attribute[Any], value: object) -> None:
        check_int(f"{type(owner).__name__}.{field.name}", value, low, high, ConfigurationError)

    return check_range


def _require_bool(owner: object, field: attrs.Attribute[Any], value: object) -> None:
    check_bool(f"{type(owner).__name__}.{field.name}", value, ConfigurationError)


MIN_TIMEOUT: Final = 0.001
DAY: Final = 86_400.0
"""Seconds."""


@attrs.frozen(kw_only=True)
class Timeouts:
    """Set time limits, in seconds.

    Attributes:
        total: The whole call, including all attempts and waits.
        attempt: One attempt, from having a free connection to the last byte of the response.
        connect: The connection phase of an attempt: DNS, TCP, TLS and proxy.
        pool: Waiting for one of ``max_connections``; not counted as part of an attempt.

    Raises:
        ConfigurationError: A value that is not a number from 0.001 to 86,400.
    """

    total: float = attrs.field(default=60.0, validator=_require_between(MIN_TIMEOUT, DAY))
    attempt: float = attrs.field(default=20.0, validator=_require_between(MIN_TIMEOUT, DAY))
    connect: float = attrs.field(default=5.0, validator=_require_between(MIN_TIMEOUT, DAY))
    pool: float = attrs.field(default=30.0, validator=_require_between(MIN_TIMEOUT, DAY))


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """Set how often a call is retried, and after which waits.

    Backoff with full jitter: a random fraction of ``base * 2 ** (attempt - 1)`` seconds, at most ``cap``.

    Attributes:
        max_attempts: Maximum requests per call, including the first.
        base: Upper bound of the backoff after the first attempt, in seconds.
        cap: Upper bound of any backoff, in seconds. ``Retry-After`` is added to it.
        retry_after_cap: Longest ``Retry-After`` that the call waits for, in seconds; a longer one ends it.
        budget_ratio: Retries allowed per first attempt of the last 10 s.
        budget_floor: Retries per second allowed in addition. Once the budget is used up a call ends with its error
            immediately, except that a POST without a usable response waits for the budget to refill.
        repeat_server_errors: Retry a charging POST under its key after a 500, or another 5xx that the server's own code
            sent. Enable only if the vendor has confirmed to you that such responses are cached, too.

    Raises:
        ConfigurationError: A value outside its range.
    """

    max_attempts: int = attrs.field(default=4, validator=_require_whole(1, 100))
    base: float = attrs.field(default=0.25, validator=_require_between(0, 60))
    cap: float = attrs.field(default=8.0, validator=_require_between(0, 3600))
    retry_after_cap: float = attrs.field(default=60.0, validator=_require_between(0, 3600))
    budget_ratio: float = attrs.field(default=0.2, validator=_require_between(0, 10))
    budget_floor: float = attrs.field(default=10.0, validator=_require_between(0, 100_000))
    repeat_server_errors: bool = attrs.field(default=False, validator=_require_bool)


@attrs.frozen(kw_only=True)
class ReplayWindow:
    """Set how long the server remembers a key, in seconds (page: Idempotent Requests, 90 seconds).

    Attributes:
        length: How long the server replays a response, counted from the first send.
        margin: Safety margin at the end of the window, for network delay and clock differences between machines.
        probe: Ask the server for its time (one ``GET /passes?limit=1``) before an unanswered charging POST is repeated,
            and before a first send if it is not known yet. Without a ``Date`` in the answer nothing is repeated. For
            virtual machines that their host may pause: then all clocks of the machine stand still.

    Raises:
        ConfigurationError: A value outside its range, or a margin that leaves no window.
    """

    length: float = attrs.field(default=90.0, validator=_require_between(0.1, DAY))
    margin: float = attrs.field(default=10.0, validator=_require_between(0, DAY))
    probe: bool = attrs.field(default=False, validator=_require_bool)

    def __attrs_post_init__(self) -> None:
        if self.margin >= self.length:
            raise ConfigurationError(
                f"ReplayWindow.margin: {self.margin:g} leaves nothing of the {self.length:g} second window; "
                "choose a smaller margin"
            )


def check_base_url(text: object, name: str = "base_url") -> str:
    """Return a base URL in its one spelling: see :func:`normalize_base_url`. Errors call the setting ``name``.

    Raises:
        ConfigurationError: Another scheme than https (http for loopback), no host, user info, query or fragment.
    """
    ascii_text = _encode_host(text) if isinstance(text, str) else ""
    problem = _find_url_problem(ascii_text) if isinstance(text, str) else f"expected text, got {type(text).__name__}"
    if problem is None:
        return _normalize_url(ascii_text)
    # The URL may contain a secret: keep it out of the message, and out of the locals that error reporters record.
    del text, ascii_text
    raise ConfigurationError(f"{name}: {problem}")


def normalize_base_url(text: str) -> str:
    """Return the one spelling of a base URL on record; text that is no base URL is returned unchanged.

    Scheme and host in lower case, the host in IDNA's ASCII form, no default port, no slash at the end, nothing
    percent-encoded that need not be, no dot segments (RFC 3986, section 6.2.2 and 6.2.3).
    """
    ascii_text = _encode_host(text)
    return text if _find_url_problem(ascii_text) is not None else _normalize_url(ascii_text)


def _encode_host(text: str) -> str:
    """Return a URL with its host in ASCII, or unchanged if there is no such form."""
    if text.isascii() or not text.isprintable():
        return text
    import idna  # noqa: PLC0415 - loads large tables, which hardly any base URL needs

    try:
        parts = urlsplit(text)
        host, colon, port = parts.netloc.partition(":")
        return parts._replace(netloc=idna.encode(host, uts46=True).decode() + colon + port).geturl()
    except ValueError:
        return text


def _normalize_url(text: str) -> str:
    parts = urlsplit(text)
    host = _normalize_host(parts.hostname or "")
    port = "" if parts.port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{parts.port}"
    path = quote(_ESCAPE.sub(_decode_escape, parts.path), safe=_PATH_CHARACTERS)
    return f"{parts.scheme}://{host}{port}{_remove_dot_segments(path)}".rstrip("/")


def _normalize_host(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:  # noqa: PLR2004
        return host
    mapped = address.ipv4_mapped
    # Python versions write these addresses in different ways.
    text = str(address) if mapped is None else f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}"
    return f"[{text}]"


def _decode_escape(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()


def _remove_dot_segments(path: str) -> str:
    segments = path.split("/")
    if "." not in segments and ".." not in segments:
        return path
    kept: list[str] = []
    for segment in segments[1:]:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    return "".join("/" + segment for segment in kept)


def _find_url_problem(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "the host or port is invalid; expected a URL such as " + DEFAULT_BASE_URL
    problems = {
        "expected an ASCII URL such as " + DEFAULT_BASE_URL: not (text.isascii() and text.isprintable()) or " " in text,
        "the scheme must be https (http for loopback)": parts.scheme not in {"https", "http"},
        "user info is not allowed; pass the key as api_key": "@" in parts.netloc,
        "query and fragment are not allowed": "?" in text or "#" in text,
        "the host or port is invalid": not _NETLOC.fullmatch(parts.netloc),
        "plain HTTP exposes the API key to the network; use https": parts.scheme == "http" and not is_loopback(host),
    }
    return next((what for what, present in problems.items() if present), None)


def is_loopback(host: str) -> bool:
    """Return whether a host name means this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
