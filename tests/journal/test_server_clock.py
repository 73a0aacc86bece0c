"""The server's clock is a witness of a key's age: it runs on while this machine is paused."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from email.utils import formatdate
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from bardge_async import (
    BardgeError,
    ClockReading,
    ConfigurationError,
    Journal,
    OutcomeUnknownError,
    ReplayWindow,
    RetryPolicy,
    SQLiteJournal,
)
from bardge_async import models as m
from bardge_async._core.response import parse_retry_after
from bardge_async._core.server_clock import ServerClock, parse_http_date
from bardge_async._core.window import key_age, proven_age
from tests.journal.factories import KEY, Opener, make_done, make_identity, make_sent, open_on_postgres
from tests.journal.place import Place, buy, fail_to_buy, open_place
from tests.journal.test_protocol import read_record
from tests.support.postgres import Database
from tests.support.server import Received, Step, cut, error, reply

ONE: Final = RetryPolicy(max_attempts=1, base=0)
WALL: Final = 1_780_000_000.0
DATE: Final = "Thu, 28 May 2026 20:26:40 GMT"


class ServerTime:
    """The time of a server that answers with a ``Date``."""

    def __init__(self) -> None:
        self.now = WALL

    def answer(self, status: int = 200, body: object = None) -> Step:
        """Return a step that answers with the server's time."""

        async def handle_request(request: Received, writer: asyncio.StreamWriter) -> None:
            headers = {"Date": formatdate(self.now, usegmt=True)}
            await reply(status, {"balance": 5} if body is None else body, headers)(request, writer)

        return handle_request


def list_requests(it: Place) -> list[str]:
    """Return method and last part of the path of every request."""
    return [f"{one.method} {one.target.rpartition('/')[2]}" for one in it.server.requests]


# Pure.


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([], None),
        ([(0, 1000)], 1100),
        ([(0, 1000), (10, 1012)], 1102),
        ([(0, 1000), (10, 1616)], 1100),
        ([(0, 1000), (10, 1616), (11, 1617)], 1706),
        ([(0, 1000), (10, 1616), (11, 1011), (12, 1618)], 1100),
        ([(0, 1000), (10, 1616), (11, 2000), (12, 1618)], 1100),
        ([(0, 1000), (10, 400), (11, 401)], 490),
    ],
    ids=["none", "first", "in step", "one departs", "two agree", "one in step between", "two differ", "back"],
)
def test_server_time(answers: Sequence[tuple[float, float]], told: float | None) -> None:
    """One ``Date`` that departs by more than 5 s is not believed before a second one agrees."""
    clock = ServerClock()
    for elapsed, date in answers:
        clock.observe_date(date, elapsed)
    assert clock.tell_time(100) == told


@pytest.mark.parametrize(
    ("text", "date"),
    [
        (DATE, WALL),
        ("Thursday, 28-May-26 20:26:40 GMT", WALL),
        ("Thu May 28 20:26:40 2026", WALL),
        ("Thu, 28 May 2026 20:26:40 -0000", WALL),
        ("", None),
        ("soon", None),
        ("Thu, 99 May 2026 20:26:40 GMT", None),
        ("Thu, 28 May 999999999 20:26:40 GMT", None),
        ("x" * 60_000, None),
    ],
)
def test_dates(text: str, date: float | None) -> None:
    """The three forms of HTTP dates are read; anything else is no date."""
    assert parse_http_date(text) == date


def test_dates_are_parsed_once() -> None:
    """The same ``Date``, as all answers of a second have it, is parsed once."""
    parse_http_date.cache_clear()
    for _ in range(10):
        parse_http_date(DATE)
    assert parse_http_date.cache_info().misses == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "Thu, 28 May 2026 20:27:10 GMT", "Date": DATE}, 30),
        ({"Retry-After": "Thu, 28 May 2026 20:27:10 GMT"}, 3630),
        ({"Retry-After": "Thu, 28 May 2026 20:27:10 GMT", "Date": "?"}, 3630),
        ({"Retry-After": "Thu, 28 May 2026 20:20:00 GMT", "Date": DATE}, 0),
        ({"Retry-After": "7", "Date": DATE}, 7),
    ],
)
def test_retry_after_is_read_against_its_own_answer(headers: dict[str, str], seconds: float) -> None:
    """A date in ``Retry-After`` counts from the answer's own ``Date``, whatever this machine's clock shows."""
    assert parse_retry_after(headers, WALL - 3600) == seconds


@pytest.mark.parametrize(
    ("first", "now", "age", "proven"),
    [(100.0, 700.0, 600.0, 5.0), (100.0, 101.0, 5.0, 1.0), (None, 700.0, 5.0, 5.0), (100.0, None, 5.0, 5.0)],
)
def test_age(first: float | None, now: float | None, age: float, proven: float) -> None:
    """The server's age of a key counts where its time is known at both ends."""
    sent = ClockReading(WALL, 1000.0, WALL, server=first)
    later = ClockReading(WALL + 5, 1005.0, WALL + 5, server=now)
    assert (key_age(sent, later), proven_age(sent, later)) == (age, proven)


# Through a client, over all stores.


@pytest.mark.parametrize(("paused", "sent"), [(0, True), (60, True), (81, False), (600, False)])
@pytest.mark.parametrize("another", [False, True])
async def test_paused_guest(opener: Opener, paused: float, *, sent: bool, another: bool) -> None:
    """A machine that was paused, its clocks standing still, repeats nothing past the window that the server shows."""
    server = ServerTime()
    async with open_place(opener, server.answer(), cut(), server.answer(), retry=ONE) as it:
        await it.bardge.clients.get_credits("c")
        await fail_to_buy(it.bardge)
        server.now += paused
        bardge = await it.open_another() if another else it.bardge
        await bardge.clients.get_credits("c")
        await bardge.clients.get_credits("c")
        if sent:
            await buy(bardge)
        else:
            assert isinstance(await fail_to_buy(bardge), OutcomeUnknownError)
    assert it.keys.count("order-1") == 1 + sent


async def test_stored(journal: Journal) -> None:
    """Every store keeps the server's time of a first send, and that it is not known."""
    first = ClockReading(WALL, 1000.0, WALL, server=WALL + 0.125)
    await journal.put(attrs.evolve(make_sent(), first_sent=first))
    await journal.put(make_sent(make_identity("order-2")))
    known, unknown = await read_record(journal, KEY), await read_record(journal, make_identity("order-2"))
    assert known is not None
    assert unknown is not None
    assert known.first_sent is not None
    assert unknown.first_sent is not None
    assert (known.first_sent.server, unknown.first_sent.server) == (WALL + 0.125, None)


async def test_file_of_the_first_version(tmp_path: Path) -> None:
    """A file without the server's times is migrated: its entries stay as they are, and new ones have the time."""
    path = tmp_path / "journal.db"
    with SQLiteJournal(path) as old:
        await old.put(make_done(make_sent()))
        await old.put(make_sent(make_identity("doubt")))
    database = sqlite3.connect(path)
    database.executescript(
        "ALTER TABLE entries DROP COLUMN first_server; ALTER TABLE entries DROP COLUMN key_honoured;"
        "PRAGMA user_version = 1"
    )
    database.close()
    with SQLiteJournal(path) as journal:
        assert await journal.listed() == [make_done(make_sent()), make_sent(make_identity("doubt"))]
        await test_stored(journal)


async def test_tables_of_the_first_version(postgres: Database) -> None:
    """Tables without the server's times are migrated in the same way."""
    async with _open_postgres(postgres) as old:
        await old.put(make_done(make_sent()))
    newer = ("first_server", "key_honoured", "seq")
    postgres.admin.execute("ALTER TABLE bardge.entries " + ", ".join(f"DROP COLUMN {name}" for name in newer))
    postgres.admin.execute("UPDATE bardge.facts SET value = 1 WHERE name = 'version'")
    async with _open_postgres(postgres, clear=False) as journal:
        assert await read_record(journal, KEY) == make_done(make_sent())
        await journal.remove(KEY)
        await test_stored(journal)


def _open_postgres(database: Database, *, clear: bool = True) -> AbstractAsyncContextManager[Journal]:
    return open_on_postgres(database.clear() if clear else database.dsn)()


# The probe.

PROBING: Final[dict[str, Any]] = {"window": ReplayWindow(probe=True), "retry": RetryPolicy(base=0)}
PROBING_ONCE: Final[dict[str, Any]] = {**PROBING, "retry": ONE}
PROBE: Final = "GET passes?limit=1"
POST: Final = "POST credit_purchases"
dated: Final = ServerTime().answer


@pytest.mark.parametrize(
    ("script", "requests"),
    [
        ([dated(), cut(), dated()], [PROBE, POST, PROBE, POST]),
        ([dated(401, {}), cut(), dated(500, {}), dated()], [PROBE, POST, PROBE, POST]),
        ([dated(), dated()], [PROBE, POST]),
        ([dated(), cut(), cut(), cut(), dated()], [PROBE, POST, PROBE]),
        ([dated(), cut(), reply(200, {}), dated()], [PROBE, POST, PROBE]),
        ([dated(), cut(), reply(200, {}, {"Date": "?"}), dated()], [PROBE, POST, PROBE]),
        ([reply(200, {}), cut(), dated()], [PROBE, POST]),
        ([cut(), cut(), dated()], [PROBE, POST]),
        ([dated(), error(400), dated()], [PROBE, POST]),
    ],
    ids=[
        "in the window",
        "any status",
        "answered",
        "probe cut",
        "no date",
        "bad date",
        "no date at first",
        "no answer at first",
        "refused",
    ],
)
async def test_probe(opener: Opener, script: list[Step], requests: list[str]) -> None:
    """With ``probe=True`` an unanswered charging POST is repeated only after a ``Date``, asked for by one GET."""
    async with open_place(opener, *script, **PROBING) as it:
        with contextlib.suppress(BardgeError):
            await buy(it.bardge)
        assert list_requests(it) == requests


@pytest.mark.parametrize(("paused", "ending"), [(70, [PROBE, POST]), (80, [PROBE]), (600, [PROBE])])
async def test_probe_of_a_paused_guest(opener: Opener, paused: float, ending: list[str]) -> None:
    """The one answer to the probe shows a pause, also to another process, though it departs from all before."""
    server = ServerTime()
    async with open_place(opener, server.answer(), cut(), server.answer(), **PROBING_ONCE) as it:
        await fail_to_buy(it.bardge)
        server.now += paused
        bardge = await it.open_another(window=ReplayWindow(probe=True))
        if POST in ending:
            await buy(bardge)
        else:
            failed = await fail_to_buy(bardge)
            assert isinstance(failed, OutcomeUnknownError)
            assert "the server's clock" in str(failed.last_error)
        assert list_requests(it) == [PROBE, POST, *ending]


async def test_probe_is_sent_once_the_time_is_needed(opener: Opener) -> None:
    """GETs, harmless POSTs and later first sends need no probe; it carries the API key, and no idempotency key."""
    server = ServerTime()
    async with open_place(opener, server.answer(), **PROBING) as it:
        await it.bardge.passes.update(m.UpdateIssuedPass(client_id="c"))
        await buy(it.bardge)
        assert [request.method for request in it.server.requests] == ["POST", "POST"]
    async with open_place(opener, server.answer(), **PROBING) as it:
        await buy(it.bardge, "order-3")
        await buy(it.bardge, "order-4")
        assert list_requests(it) == [PROBE, POST, POST]
        probe = it.server.requests[0]
        assert probe.headers["authorization"] == it.server.requests[1].headers["authorization"]
        assert "idempotency-key" not in probe.headers
        assert probe.body == b""


async def test_no_probe_by_default(opener: Opener) -> None:
    """Without ``probe=True`` nothing is sent but the calls themselves."""
    async with open_place(opener, cut(), ServerTime().answer()) as it:
        await buy(it.bardge)
        assert list_requests(it) == [POST, POST]


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_probe_is_a_bool(value: Any) -> None:
    """``probe`` is True or False."""
    with pytest.raises(ConfigurationError, match=r"ReplayWindow\.probe"):
        ReplayWindow(probe=value)
