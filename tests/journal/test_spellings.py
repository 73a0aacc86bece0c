"""One server, one identity: entries recorded under another spelling of the base URL."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from bardge_async import BardgeClient, EntryState, JournalEntry, PostgresJournal, RecordedResponse, SQLiteJournal
from bardge_async._core.entry import KeyIdentity
from bardge_async.errors import IdempotencyMisuseError, OutcomeUnknownError
from bardge_async.testing import FakeTransport, ManualClock, json_response
from tests.journal.factories import BASE, WALL, make_done, make_sent
from tests.support.calls import buy, catch_error
from tests.support.postgres import Database
from tests.support.rig import OTHER

OLD: Final = "https://API.example:443/v3"
SPELLINGS: Final = ["https://API.example/v3", "HTTPS://api.EXAMPLE:443/v3", "https://api.example/%763", OLD]
BODY: Final = b'{"client_id":"client_abc123","package_id":"cpkg_50"}'
STATES: Final = [EntryState.REFUSED, EntryState.SENT, EntryState.DONE]


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Open one more journal over the same store."""
    schema = f"s{os.urandom(6).hex()}"  # the database is shared by all tests
    database: Database | None = request.getfixturevalue("postgres") if request.param == "postgres" else None

    @asynccontextmanager
    async def open_journal() -> AsyncGenerator[Any]:
        if database is not None:
            async with PostgresJournal(database.dsn, schema=schema) as journal:
                yield journal
        else:
            with SQLiteJournal(tmp_path / "journal.db") as journal:
                yield journal

    return open_journal


def _make_old_entry(base: str, state: EntryState, second: float = 0.0) -> JournalEntry:
    """Make the entry of a purchase as an earlier version recorded it, its request's body removed since."""
    url = base + "/credit_purchases"
    digest = hashlib.blake2b(b"\x00".join((b"v1", b"POST", url.encode(), BODY)), digest_size=16).hexdigest()
    sent = make_sent(KeyIdentity(base, "", "order-1"), second=second)
    sent = attrs.evolve(sent, endpoint="credits.purchase", url=url, fingerprint=f"v1:{digest}", body=None)
    if state is EntryState.SENT:
        return sent
    answer = RecordedResponse(201, b'{"balance":5}', None) if state is EntryState.DONE else None
    return attrs.evolve(make_done(sent, second=second, state=state), answer=answer)


def _open_client(journal: Any, transport: FakeTransport, base: str = BASE) -> BardgeClient:
    return BardgeClient("key", base, journal=journal, transport=transport, clock=ManualClock(wall=WALL + 1000))


@pytest.mark.parametrize("base", SPELLINGS)
async def test_done_under_another_spelling(store: Any, base: str) -> None:
    """What is done under another spelling is not sent again, and its entry is rewritten."""
    async with store() as journal:
        await journal.put(_make_old_entry(base, EntryState.DONE))
    transport = FakeTransport()
    async with store() as journal, _open_client(journal, transport) as bardge:
        assert (await buy(bardge)).replayed == "journal"
        assert type(await catch_error(buy(bardge, request=OTHER))) is IdempotencyMisuseError
        found = await journal.listed()
    assert [(entry.identity.base_url, entry.url) for entry in found] == [(BASE, BASE + "/credit_purchases")]
    assert transport.requests == []


async def test_in_doubt_under_another_spelling(store: Any) -> None:
    """What is in doubt under another spelling is not sent again past its window, and is listed."""
    async with store() as journal:
        await journal.put(_make_old_entry(OLD, EntryState.SENT))
    transport = FakeTransport()
    async with store() as journal, _open_client(journal, transport) as bardge:
        assert [doubt.idempotency_key for doubt in await bardge.in_doubt()] == ["order-1"]
        assert type(await catch_error(buy(bardge))) is OutcomeUnknownError
    assert transport.requests == []


@pytest.mark.parametrize("one", STATES)
@pytest.mark.parametrize("other", STATES)
async def test_what_binds_more_stays(store: Any, one: EntryState, other: EntryState) -> None:
    """Of one key under two spellings stays what is done, then what is in doubt, then what was refused."""
    async with store() as journal:
        await journal.put(_make_old_entry(OLD, one, second=1))
        await journal.put(_make_old_entry(BASE, other, second=2))
    async with store() as journal:
        found = await journal.listed()
    assert [entry.identity.base_url for entry in found] == [BASE]
    assert found[0].state is max(one, other, key=STATES.index)


@pytest.mark.parametrize("first", [1.0, 3.0])
async def test_first_of_two_doubts_stays(store: Any, first: float) -> None:
    """Of two doubts of one key the one sent first stays: its window ends first."""
    async with store() as journal:
        await journal.put(_make_old_entry(OLD, EntryState.SENT, second=first))
        await journal.put(_make_old_entry(BASE, EntryState.SENT, second=2))
    async with store() as journal:
        found = await journal.listed()
    assert [entry.first_sent.wall for entry in found] == [WALL + min(first, 2)]


@pytest.mark.parametrize("state", [EntryState.DONE, EntryState.REFUSED])
@pytest.mark.parametrize("second", [1.0, 3.0])
async def test_last_of_two_finished_stays(store: Any, state: EntryState, second: float) -> None:
    """Of two entries of one key that are both done, or both refused, the one sent last stays."""
    async with store() as journal:
        await journal.put(_make_old_entry(OLD, state, second=second))
        await journal.put(_make_old_entry(BASE, state, second=2))
    async with store() as journal:
        found = await journal.listed()
    assert [entry.last_sent.wall for entry in found] == [WALL + max(second, 2)]


async def test_another_server_stays_another(store: Any) -> None:
    """Entries of other schemes, hosts, ports, paths and accounts are left as they are."""
    others = ["https://api.example:8443/v3", "http://localhost/v3", "https://api.example/V3", "https://b.example/v3"]
    async with store() as journal:
        for base in others:
            await journal.put(_make_old_entry(base, EntryState.DONE))
    async with store() as journal, _open_client(journal, FakeTransport(json_response({"balance": 5}, 201))) as bardge:
        assert (await buy(bardge)).replayed is None
        assert {entry.identity.base_url for entry in await journal.listed()} == {*others, BASE}


@pytest.mark.parametrize("base", [*SPELLINGS, BASE + "/", "https://api.example/x/../v3"])
async def test_clients_with_other_spellings(store: Any, base: str) -> None:
    """A key is the same whatever spelling of the server's base URL a client was given."""
    async with store() as journal:
        async with _open_client(journal, FakeTransport(json_response({"balance": 5}, 201))) as bardge:
            await buy(bardge)
        async with _open_client(journal, FakeTransport(), base) as bardge:
            assert (await buy(bardge)).replayed == "journal"


async def test_many_entries(store: Any) -> None:
    """All entries of a spelling are rewritten, in their order."""
    async with store() as journal:
        for number in range(1100):
            entry = _make_old_entry(OLD, EntryState.DONE, second=number)
            await journal.put(attrs.evolve(entry, identity=entry.identity._replace(key=f"order-{number}")))
    async with store() as journal:
        found = await journal.listed()
    assert [entry.identity for entry in found] == [KeyIdentity(BASE, "", f"order-{number}") for number in range(1100)]
