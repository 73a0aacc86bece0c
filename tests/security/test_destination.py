"""A stored entry is never a destination: what is not below the client's base URL is named and left alone."""

from __future__ import annotations

import logging
from pathlib import Path

import attrs
import pytest

from bardge_async import BardgeClient, Finding, MemoryJournal, PurchaseCredits, SQLiteJournal, errors
from bardge_async._core.destination import is_below
from bardge_async._core.entry import EntryState, JournalEntry, KeyIdentity
from bardge_async._core.fingerprint import compute_fingerprint
from bardge_async._core.http import PreparedRequest
from bardge_async._core.window import ClockReading
from bardge_async.endpoints import PURCHASE_CREDITS
from bardge_async.testing import ManualClock
from tests.support.canary import CANARY
from tests.support.server import ScriptedServer, reply

BASE = "https://api.example/v3"
FOREIGN = {
    "another host": "https://evil.example/v3/credit_purchases",
    "plain HTTP": "http://api.example/v3/credit_purchases",
    "a longer host": "https://api.example.evil.example/v3/credit_purchases",
    "another port": "https://api.example:444/v3/credit_purchases",
    "a user": "https://api.example@evil.example/v3/credit_purchases",
    "a longer folder": "https://api.example/v3evil/credit_purchases",
    "the base URL itself": "https://api.example/v3",
    "the folder above": "https://api.example/credit_purchases",
    "dots": "https://api.example/v3/../admin",
    "dots at the end": "https://api.example/v3/a/..",
    "encoded dots": "https://api.example/v3/%2e%2E/admin",
    "an encoded slash": "https://api.example/v3/a%2f..%2f..%2fadmin",
    "a backslash": "https://api.example/v3/..\\admin",
    "an encoded backslash": "https://api.example/v3/..%5cadmin",
    "a fragment": "https://api.example/v3/a#b",
    "a line break": "https://api.example/v3/a\r\nHost: evil.example",
    "a space": "https://api.example/v3/a b",
    "beyond ASCII": "https://api.example/v3/é",
    "nothing": "",
}


@pytest.mark.parametrize("url", FOREIGN.values(), ids=FOREIGN)
def test_foreign_urls(url: str) -> None:
    """Whatever another server or folder could be reached by is not below the base URL."""
    assert not is_below(url, BASE)


@pytest.mark.parametrize("path", ["/a", "/a/b", "/a/%C3%A9", "/a/b..c", "/...", "/a?b=..", "/a%2Fb"])
def test_own_urls(path: str) -> None:
    """What this library sends is below it."""
    assert is_below(BASE + path, BASE)


def forge_entry(base_url: str, url: str, clock: ManualClock, key: str = "forged") -> JournalEntry:
    """Make an entry in doubt whose fingerprint fits its URL, as whoever can write to the journal can."""
    now = ClockReading(clock.wall(), clock.elapsed(), clock.wall())
    body = b'{"client_id":"c","package_id":"p"}'
    fingerprint = compute_fingerprint(PreparedRequest(PURCHASE_CREDITS, url, body, {}, key, given=True))
    identity = KeyIdentity(base_url, "", key)
    return JournalEntry(
        identity,
        "credits.purchase",
        url,
        fingerprint,
        body,
        True,
        EntryState.SENT,
        now,
        now,
        None,
    )


async def test_the_key_is_not_sent_to_a_stored_url(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """``recover`` sends nothing to it and logs it, ``reconcile`` names it, and the others are recovered."""
    clock = ManualClock()
    async with ScriptedServer(reply()) as thief, ScriptedServer(reply(payload={"balance": 1})) as server:
        with SQLiteJournal(tmp_path / "journal.db") as journal:
            url = f"{thief.base_url}/steal"
            await journal.put(forge_entry(server.base_url, url, clock))
            own = forge_entry(server.base_url, server.base_url + "/credit_purchases", clock, "own")
            await journal.put(own)
            async with BardgeClient(CANARY, server.base_url, journal=journal, clock=clock) as bardge:
                with caplog.at_level(logging.WARNING):
                    recovered = await bardge.recover()
                [doubt] = await bardge.in_doubt()
                verdict = await bardge.reconcile("forged")
    assert [one.idempotency_key for one in recovered] == ["own"]
    assert (thief.requests, doubt.url, doubt.recoverable) == ([], url, False)
    assert "'forged'" in caplog.text
    assert url in caplog.text
    assert verdict.finding is Finding.CANNOT_TELL
    assert url in verdict.evidence[0]


async def test_a_forged_body_is_not_sent() -> None:
    """Stored bytes that are not those of the caller's operation are not sent in its place."""
    clock = ManualClock()
    async with ScriptedServer(reply(payload={"balance": 1})) as server:
        journal = MemoryJournal()
        request = PurchaseCredits(client_id="c", package_id="p")
        entry = forge_entry(server.base_url, server.base_url + "/credit_purchases", clock, "order-1")
        await journal.put(attrs.evolve(entry, body=b'{"client_id":"thief","package_id":"p"}'))
        async with BardgeClient("key", server.base_url, journal=journal, clock=clock) as bardge:
            with pytest.raises(errors.JournalError, match="not that of its operation"):
                await bardge.send("credits.purchase", request=request, key="order-1")
    assert server.requests == []


async def test_an_unknown_endpoint_is_listed_and_left_alone() -> None:
    """What a newer version recorded stays a doubt: it is neither sent nor hides the others."""
    clock, journal = ManualClock(), MemoryJournal()
    async with ScriptedServer(reply()) as server:
        entry = forge_entry(server.base_url, server.base_url + "/new", clock)
        await journal.put(attrs.evolve(entry, endpoint="credits.transfer"))
        await journal.put(forge_entry(server.base_url, server.base_url + "/credit_purchases", clock, "known"))
        async with BardgeClient("key", server.base_url, journal=journal, clock=clock) as bardge:
            doubts = await bardge.in_doubt()
            verdict = await bardge.reconcile("forged")
            recovered = await bardge.recover()
    found = [(doubt.endpoint, doubt.recoverable, doubt.window_closes_at is None) for doubt in doubts]
    assert found == [("credits.transfer", False, True), ("credits.purchase", True, False)]
    assert verdict.finding is Finding.CANNOT_TELL
    assert [one.idempotency_key for one in recovered] == ["known"]
