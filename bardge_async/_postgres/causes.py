"""Why PostgreSQL, a pooler or libpq failed: in one line, and whether another attempt can help."""

from __future__ import annotations

import re
from typing import Final

import psycopg

_ATTEMPT: Final = re.compile(r"- host: .*?, hostaddr: (?:None|'[^']*'): ")
# psycopg has no SQLSTATE for a connection that fails, only the server's words. In another language than English, a
# permanent cause is retried like a passing one, and named in the end.
_PERMANENT: Final = re.compile(
    r"""authentication\ failed | no\ password\ supplied
    | role\ ".*"\ does\ not\ exist | database\ ".*"\ does\ not\ exist | is\ not\ permitted\ to\ log\ in
    | no\ pg_hba\.conf\ entry | pg_hba\.conf\ rejects | [Pp]ermission\ denied
    | no\ such\ (?:user|database) | unsupported\ startup\ parameter  # PgBouncer's words
    | unrecognized\ configuration\ parameter | invalid\ value\ for\ parameter | invalid\ command-line\ argument
    | does\ not\ support\ SSL,\ but\ SSL\ was\ required | does\ not\ match\ host\ name
    | certificate\ verify\ failed | root\ certificate\ file | certificate\ file\ .*\ does\ not
    | conversion\ between\ .*\ is\ not\ supported
    | invalid\ (?:port\ number|integer\ value|.*\ value:) | definition\ of\ service | service\ file""",
    re.VERBOSE,
)
_AUTHORIZATION_CLASS: Final = "28"


def describe_cause(error: BaseException) -> str:
    """Return the message of a driver's error in one line, with the cause of each host that was tried."""
    lines = str(error).splitlines()
    attempts = [_ATTEMPT.sub("", line, count=1) for line in lines if _ATTEMPT.match(line)]
    return "; ".join(dict.fromkeys(attempts)) or next(iter(lines), "") or type(error).__name__


def is_permanent(error: psycopg.Error) -> bool:
    """Return whether the connection fails until a person changes something: password, role, database or rights.

    Of several hosts, all have to refuse: one that is away may come back as the one that is meant.
    """
    if error.sqlstate is not None:
        return error.sqlstate.startswith(_AUTHORIZATION_CLASS) or _PERMANENT.search(str(error)) is not None
    return all(_PERMANENT.search(cause) is not None for cause in describe_cause(error).split("; "))
