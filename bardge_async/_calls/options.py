"""Check a client's options."""

from __future__ import annotations

import os
from typing import Any, Final, TypeVar

from bardge_async._core.arguments import check_number
from bardge_async._core.secret import ApiKeySource, Secret, UnusableApiKey, require_usable
from bardge_async._core.settings import DAY, DEFAULT_BASE_URL, MIN_TIMEOUT, Timeouts, check_base_url
from bardge_async._journal import Journal, MemoryJournal
from bardge_async._limits import Limiter
from bardge_async.errors import ConfigurationError

T = TypeVar("T")

BASE_URL_VARIABLE: Final = "BARDGE_BASE_URL"


def resolve_key_source(given: ApiKeySource | UnusableApiKey | None) -> ApiKeySource:
    """Return the API key or its callable: the argument, else ``BARDGE_API_KEY``."""
    if given is not None:
        return require_usable(given)
    if not os.environ.get("BARDGE_API_KEY"):
        raise ConfigurationError("api_key: pass it, or set BARDGE_API_KEY in the environment")
    return Secret(os.environ["BARDGE_API_KEY"])


def resolve_base_url(given: str | None) -> str:
    """Return the base URL: the argument, else ``BARDGE_BASE_URL`` unless that is empty, else the vendor's."""
    if given is not None:
        return check_base_url(given)
    if not os.environ.get(BASE_URL_VARIABLE):
        return DEFAULT_BASE_URL
    return check_base_url(Secret(os.environ[BASE_URL_VARIABLE]), BASE_URL_VARIABLE)


def require_type(name: str, value: T, kind: type[Any]) -> T:
    """Return a value if it is of a class; raise otherwise."""
    if not isinstance(value, kind):
        raise ConfigurationError(f"{name}: expected {kind.__name__}(...), got {value!r:.40}")
    return value


def require_method(name: str, value: T, method: str) -> T:
    """Return an object if it has a method; raise otherwise."""
    if not callable(getattr(value, method, None)):
        raise ConfigurationError(f"{name}: expected a {name.capitalize()} with a method {method}(), got {value!r:.40}")
    return value


def resolve_journal(given: Journal | None) -> Journal:
    """Return the journal, by default a new one in memory."""
    return MemoryJournal() if given is None else require_method("journal", given, "claim")


def check_account(account: object) -> str:
    """Return an account's label if it is printable text; raise otherwise."""
    if isinstance(account, str) and account.isprintable():
        return account
    raise ConfigurationError(f"account: expected printable text, got {account!r:.40}")


def check_limiter(limiter: Limiter | None) -> Limiter | None:
    """Return the limiter, if any; raise if it is none."""
    return None if limiter is None else require_method("limiter", limiter, "acquire")


def resolve_timeouts(given: Timeouts | float | None) -> Timeouts:
    """Return the time limits, given as such or as the total seconds of a call."""
    if given is None:
        return Timeouts()
    if isinstance(given, Timeouts):
        return given
    check_number("timeout: Timeouts(...) or seconds", given, MIN_TIMEOUT, DAY, ConfigurationError)
    base = Timeouts(total=given)
    return Timeouts(total=given, attempt=min(given, base.attempt), connect=min(given, base.connect))
