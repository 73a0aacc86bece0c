"""The base URL: HTTPS, or plain HTTP to this machine only."""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import SplitResult, urlsplit

from bardge_async.errors import ConfigurationError

DEFAULT_BASE_URL: Final = "https://api-prod.bardge.com/v3/api/business/reseller"
"""Where the API lives (page: Introduction)."""


def check_base_url(text: object) -> str:
    """Return a base URL without a slash at its end.

    Raises:
        ConfigurationError: Another scheme than https (http for loopback), no host, user info, query or fragment.
    """
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigurationError("base_url: expected an ASCII URL such as " + DEFAULT_BASE_URL)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ConfigurationError("base_url: no valid host and port") from None
    fault = _fault(text, parts)
    if fault:
        # The URL itself is not shown: user info in it would be a secret.
        raise ConfigurationError(f"base_url: {fault}")
    return text.rstrip("/")


def _fault(text: str, parts: SplitResult) -> str | None:
    if parts.scheme not in {"https", "http"}:
        return f"scheme {parts.scheme!r} is not allowed; use https"
    if not parts.hostname:
        return "it has no host"
    if "@" in parts.netloc:
        return "user info is not allowed; pass the key as api_key"
    if "?" in text or "#" in text:
        return "query and fragment are not allowed"
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        return f"plain HTTP to {parts.hostname!r} would show the key to the network; use https (http is for loopback)"
    return None


def is_loopback(host: str) -> bool:
    """Tell whether a host name is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
