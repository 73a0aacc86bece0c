"""Connection strings that libpq would read otherwise than they were meant, and the passwords in them."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Final

import pytest

from bardge_async import PostgresJournal, PostgresLimiter, errors

PART: Final = "S3cret"
"""Stands in every password."""


def open_limiter(dsn: str) -> object:
    return PostgresLimiter(dsn, "rate", 1)


OPENERS: Final[tuple[Callable[[str], object], ...]] = (PostgresJournal, open_limiter)
UNENCODED: Final = (
    "postgresql://bob:a@S3cret@127.0.0.1:5432/shop",
    "postgresql://bob:a/S3cret@127.0.0.1:5432/shop",
    "postgresql://bob:S3cret/12@127.0.0.1:5432/shop",
    "postgresql://bob:5432/S3cret@127.0.0.1/shop",
    "postgresql://bob:a@b/S3cret@127.0.0.1/shop",
    "postgresql://bob:a?b@S3cret@127.0.0.1/shop",
    "postgresql://bob:@S3cret@127.0.0.1/shop",
    "postgres://bob:a@S3cret@h1:1,h2:2/shop?connect_timeout=3",
)
UNREADABLE: Final = (
    "postgresql://bob:S3cret%zz@127.0.0.1/shop",
    "postgresql://bob:a?S3cret/@127.0.0.1/shop",
    "postgresql://bob:a@h/shop?S3cret@",
    "bob:S3cret@127.0.0.1/shop",
    "host=127.0.0.1 password=a S3cret",
    "host=127.0.0.1 password='S3cret",
    "host=127.0.0.1 dbname=postgresql://bob:S3cret@127.0.0.1/shop",
    "host=127.0.0.1 password=S3cret\0",
    "host=127.0.0.1 password=S3cret\udce9",
    "postgresql://bob:S3cret@127.0.0.1/shop?sslmod=require",
)
DRIVERS: Final = ("postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2", "postgres+aiopg")
GOOD: Final = (
    "postgresql://bob:p%40ss%2Fword@127.0.0.1:5432/shop",
    "postgresql://bob:a:b#c?d@127.0.0.1/shop",
    "postgres://bob@h1:1,h2:2/shop?target_session_attrs=read-write",
    "postgresql://bob@[::1]:5432/shop",
    "postgresql:///shop?host=/var/run/postgresql&user=a@b",
    "postgresql://%2Fvar%2Frun%2Fpostgresql/shop",
    "postgresql://?service=shop",
    "host=@abstract dbname=shop password='a @/ b'",
    "service=shop",
    "",
)


def refuse(open_store: Callable[[str], object], dsn: str) -> errors.ConfigurationError:
    with pytest.raises(errors.ConfigurationError) as caught:
        open_store(dsn)
    return caught.value


@pytest.mark.parametrize("open_store", OPENERS)
@pytest.mark.parametrize("dsn", UNENCODED)
def test_unencoded_password(open_store: Callable[[str], object], dsn: str) -> None:
    """An @ or / that stands as it is in a password is refused with the way to write it."""
    assert "write %40 for @ and %2F for /" in str(refuse(open_store, dsn))


@pytest.mark.parametrize("driver", DRIVERS)
def test_scheme_with_a_driver(driver: str) -> None:
    """A scheme with another library's driver is refused with the one to write."""
    expected = f"write {driver.partition('+')[0]}:// instead of {driver}://"
    assert expected in str(refuse(PostgresJournal, f"{driver}://bob:S3cret@127.0.0.1/shop"))


@pytest.mark.parametrize("open_store", OPENERS)
@pytest.mark.parametrize(
    "dsn", [*UNENCODED, *UNREADABLE, f"{DRIVERS[0]}://bob:S3cret@h/shop", "mysql://bob:S3cret@h/d"]
)
def test_no_password_is_shown(open_store: Callable[[str], object], dsn: str) -> None:
    """No message, no exception behind it and no local of this library's frames shows a part of the password."""
    error = refuse(open_store, dsn)
    assert error.__context__ is None
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in shown.stack if "bardge_async" in frame.filename and frame.locals]
    assert frames
    assert PART not in str(error)
    assert PART not in "".join(value for frame in frames for value in (frame.locals or {}).values())


@pytest.mark.parametrize("dsn", GOOD)
def test_good_connection_strings(dsn: str) -> None:
    """Every form that psql takes is taken."""
    assert PostgresJournal(dsn).forgotten == 0.0


async def test_password_of_a_failing_connection() -> None:
    """An error of a connection that fails holds no part of the password, nor do those behind it."""
    async with PostgresJournal("postgresql://bob:S3cret@127.0.0.1:1/shop", patience=0) as journal:
        with pytest.raises(errors.JournalError) as caught:
            await journal.listed()
    assert caught.value.__context__ is None
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert PART not in "".join(shown.format())
