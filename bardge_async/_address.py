"""The base URL: HTTPS, or plain HTTP to this machine only."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from bardge_async.errors import ConfigurationError

DEFAULT_BASE_URL: Final = "https://api-prod.bardge.com/v3/api/business/reseller"
"""Where the API lives (page: Introduction)."""

# Strict, so that no two parsers can read two hosts out of one URL.
_NETLOC: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def check_base_url(text: object) -> str:
    """Return a base URL without a slash at its end.

    Raises:
        ConfigurationError: Another scheme than https (http for loopback), no host, user info, query or fragment.
    """
    fault = _fault(text) if isinstance(text, str) else f"expected text, got {type(text).__name__}"
    if fault is None:
        return str(text).rstrip("/")
    # No part of the URL is shown, nor kept in a frame: it may hold a secret.
    del text
    raise ConfigurationError(f"base_url: {fault}")


def _fault(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "no valid host and port"
    faults = {
        "expected an ASCII URL such as " + DEFAULT_BASE_URL: not (text.isascii() and text.isprintable()) or " " in text,
        "the scheme must be https (http for loopback)": parts.scheme not in {"https", "http"},
        "user info is not allowed; pass the key as api_key": "@" in parts.netloc,
        "query and fragment are not allowed": "?" in text or "#" in text,
        "no valid host": not _NETLOC.fullmatch(parts.netloc),
        "plain HTTP shows the key to the network; use https": parts.scheme == "http" and not is_loopback(host),
    }
    return next((what for what, present in faults.items() if present), None)


def is_loopback(host: str) -> bool:
    """Tell whether a host name is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
