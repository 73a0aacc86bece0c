"""Check a connection string before anything could show it: it may contain a password."""

from __future__ import annotations

import re
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bardge_async._core.secret import Secret
from bardge_async.errors import ConfigurationError

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9.+-]*)://")
_SCHEMES: Final = ("postgresql", "postgres")
_PORTS: Final = re.compile(r"[0-9]*(,[0-9]*)*")
_EXPECTED: Final = (
    "dsn: expected a connection string such as postgresql://user@host/database; in a password, everything but letters "
    "and digits is percent-encoded, as by urllib.parse.quote(password, safe='')"
)
_UNENCODED: Final = (
    "dsn: a character of its password, or another @ or /, is not encoded: write %40 for @ and %2F for /, such as "
    "postgresql://user:p%40ss%2Fword@host/database"
)


def check_dsn(dsn: Secret) -> Secret:
    """Return a connection string after checking that libpq reads it as it was meant.

    Raises:
        ConfigurationError: It cannot be parsed, or not as meant; the message repeats nothing of it but its scheme.
    """
    # Raised here: the parser's own error quotes the string, and its frame holds what was parsed.
    problem = _find_problem(dsn)
    if problem is not None:
        raise ConfigurationError(problem)
    return dsn


def _find_problem(dsn: Secret) -> str | None:
    scheme = _SCHEME.match(dsn)
    if scheme is not None:
        problem = _find_url_problem(scheme[1], dsn[scheme.end() :])
        if problem is not None:
            return problem
    try:
        parsed: dict[str, Any] = conninfo_to_dict(dsn)
    except (psycopg.Error, ValueError):
        return _EXPECTED
    # What libpq takes for host, port and database is quoted in its errors.
    is_misread = "@" in str(parsed.get("host", ""))[1:] or not _PORTS.fullmatch(str(parsed.get("port", "")))
    if is_misread:
        return _UNENCODED if scheme is not None else _EXPECTED
    return _EXPECTED if "\0" in dsn or "://" in str(parsed.get("dbname", "")) else None


def _find_url_problem(scheme: str, rest: str) -> str | None:
    if scheme not in _SCHEMES:
        name, plus, driver = scheme.partition("+")
        if plus and name in _SCHEMES:
            return f"dsn: write {name}:// instead of {name}+{driver:.20}://; libpq knows no driver, psycopg is used"
        return f"dsn: expected postgresql://, got {scheme:.20}://"
    place = rest.partition("?")[0]
    before, at, _ = place.rpartition("@")
    return _UNENCODED if at and ("@" in before or "/" in before) else None
