"""``erase`` removes exactly one client's bodies, in every store: where its id may stand, and how it may be escaped."""

from __future__ import annotations

import json
from typing import Any, Final

import attrs
import pytest

from bardge_async import EntryState, Journal, JournalEntry, RecordedResponse, errors
from tests.journal.factories import Opener, make_done, make_identity, make_sent
from tests.journal.test_protocol import read_record

ID: Final = "client_1"
ESCAPED: Final = "".join(f"\\u{ord(letter):04x}" for letter in ID)

# What names the client: the path of the URL, the request, the answer.
NAMED: Final[dict[str, tuple[str, str, str]]] = {
    "request": ("/p", '{"client_id":"client_1"}', "{}"),
    "request with spaces": ("/p", '{ "client_id" : "client_1" }', "{}"),
    "answer": ("/p", "{}", '{"data":{"client_id":"client_1"}}'),
    "list": ("/p", "{}", '{"clients":["client_2","client_1"]}'),
    "list of lists": ("/p", "{}", '[[["client_1"]]]'),
    "bare string": ("/p", "{}", '"client_1"'),
    "repeated key": ("/p", '{"client_id":"client_1","client_id":"client_2"}', "{}"),
    "letters escaped": ("/p", f'{{"client_id":"{ESCAPED}"}}', "{}"),
    "one letter escaped": ("/p", '{"client_id":"c\\u006Cient_1"}', "{}"),
    "beside other escapes": ("/p", '{"note":"a \\"quote\\", a \\\\","client_id":"client_1"}', "{}"),
    "after a string that ends in a backslash": ("/p", '{"note":"\\\\","client_id":"client_1"}', "{}"),
    "segment": ("/clients/client_1/bookings", "{}", "{}"),
    "last segment": ("/clients/client_1", "{}", "{}"),
    "segment before a query": ("/clients/client_1?limit=1", "{}", "{}"),
    "percent-encoded": ("/clients/client%5F1/bookings", "{}", "{}"),
    "percent-encoded in small letters": ("/clients/client%5f1", "{}", "{}"),
    "percent-encoded letters": ("/clients/%63lient_1", "{}", "{}"),
}

# What only looks like it.
UNNAMED: Final[dict[str, tuple[str, str, str]]] = {
    "longer id": ("/p", '{"client_id":"client_10"}', "{}"),
    "id with something before": ("/p", '{"client_id":"my_client_1"}', "{}"),
    "shorter id": ("/p", '{"client_id":"client_"}', "{}"),
    "in a sentence": ("/p", '{"note":"for client_1 only"}', "{}"),
    "with a quote": ("/p", '{"note":"\\"client_1\\""}', "{}"),
    "key": ("/p", '{"client_1":"x"}', "{}"),
    "key before a space": ("/p", '{"client_1" : "x"}', "{}"),
    "escaped key": ("/p", f'{{"{ESCAPED}":"x"}}', "{}"),
    "between two strings": ("/p", '{"a":"x","b":"y"}', '["a\\\\",client_1,"b"]'),
    "another case": ("/p", '{"client_id":"Client_1"}', "{}"),
    "escaped twice": ("/p", '{"client_id":"client\\\\u005f1"}', "{}"),
    "longer segment": ("/clients/client_10/bookings", "{}", "{}"),
    "percent-encoded longer segment": ("/clients/client%5F10", "{}", "{}"),
    "percent-encoded twice": ("/clients/client%255F1", "{}", "{}"),
    "two segments": ("/clients/client_/1", "{}", "{}"),
    "query": ("/p?note=client_1", "{}", "{}"),
}


def make_entry(key: str, path: str, request: str, answer: str) -> JournalEntry:
    """Make a finished entry."""
    entry = make_done(make_sent(make_identity(key), path=path))
    return attrs.evolve(entry, body=request.encode(), answer=RecordedResponse(201, answer.encode(), "req_1"))


async def erase(journal: Any, client_id: str) -> int:
    count: int = await journal.erase(client_id)
    return count


def has_bodies(entry: JournalEntry | None) -> bool:
    """Return whether an entry has both of its bodies; it must not have just one."""
    assert entry is not None
    assert entry.answer is not None
    assert (entry.body is None) is (entry.answer.body is None)
    return entry.body is not None


@pytest.mark.parametrize("name", NAMED)
async def test_named(journal: Journal, name: str) -> None:
    """Both bodies go; everything else of the entry stays."""
    entry = make_entry("order-1", *NAMED[name])
    await journal.put(entry)
    assert await erase(journal, ID) == 1
    assert await read_record(journal) == attrs.evolve(entry, body=None, answer=RecordedResponse(201, None, "req_1"))


@pytest.mark.parametrize("name", UNNAMED)
async def test_unnamed(journal: Journal, name: str) -> None:
    """An entry that does not name the client is not touched."""
    entry = make_entry("order-1", *UNNAMED[name])
    await journal.put(entry)
    assert await erase(journal, ID) == 0
    assert await read_record(journal) == entry


@pytest.mark.parametrize(
    "client_id", ['a"b', "a\\b", "a/b", "a b", "a%20b", "żółw", "客户", "😀", "a\x00b", "'", "a\nb", "?"]
)
async def test_odd_ids(journal: Journal, client_id: str) -> None:
    """An id of any characters is found, in JSON with and without escapes for what is not ASCII."""
    for key, is_ascii in (("order-1", True), ("order-2", False)):
        body = json.dumps({"client_id": client_id}, ensure_ascii=is_ascii)
        await journal.put(make_entry(key, "/p", body.replace("/", "\\/") if is_ascii else body, "{}"))
    await journal.put(make_entry("order-3", "/p", json.dumps({"client_id": client_id + "0"}), "{}"))
    assert await erase(journal, client_id) == 2
    assert has_bodies(await read_record(journal, make_identity("order-3")))


async def test_base_url(journal: Journal) -> None:
    """A segment of the base URL is not the client's."""
    await journal.put(make_entry("order-1", "/p", "{}", "{}"))
    assert await erase(journal, "v3") == 0


async def test_doubts_and_refusals(journal: Journal) -> None:
    """Entries in doubt keep their bodies, which resolving them needs; refused ones do not."""
    doubt = attrs.evolve(make_sent(make_identity("doubt")), body=b'{"client_id":"client_1"}')
    refused = make_done(attrs.evolve(doubt, identity=make_identity("refused")), state=EntryState.REFUSED)
    await journal.put(doubt)
    await journal.put(refused)
    assert await erase(journal, ID) == 1
    assert await read_record(journal, doubt.identity) == doubt
    assert await read_record(journal, refused.identity) == attrs.evolve(refused, body=None)


async def test_again(journal: Journal) -> None:
    """What is erased is not counted again."""
    await journal.put(make_entry("order-1", *NAMED["request"]))
    assert [await erase(journal, ID), await erase(journal, ID)] == [1, 0]


async def test_among_many(opener: Opener) -> None:
    """Of many entries, over all pieces, exactly the client's are erased."""
    async with opener() as journal:
        for number in range(300):
            await journal.put(make_entry(f"order-{number}", "/p", f'{{"client_id":"client_{number % 30}"}}', "{}"))
        assert await erase(journal, ID) == 10
        kept = [entry.body async for entry in journal.entries() if has_bodies(entry)]
    assert len(kept) == 290
    assert b'{"client_id":"client_1"}' not in kept


@pytest.mark.parametrize("client_id", ["", None, 1])
async def test_no_id(journal: Journal, client_id: Any) -> None:
    """An empty id, and what is no text, are refused: nothing is erased."""
    await journal.put(make_entry("order-1", *NAMED["request"]))
    with pytest.raises(errors.InvalidArgumentError, match="client_id"):
        await erase(journal, client_id)
    assert has_bodies(await read_record(journal))
