"""The fingerprint of an operation on record: numbers count digit for digit, order of names and white space do not."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bardge_async import EntryState, JournalEntry, KeyIdentity, MemoryJournal, RecordedResponse, WireResponse
from bardge_async._core.custom_endpoints import custom_endpoint
from bardge_async._core.fingerprint import compute_fingerprint, matches_fingerprint
from bardge_async._core.http import PreparedRequest
from bardge_async._core.window import ClockReading
from bardge_async.errors import IdempotencyMisuseError
from tests.support.line import make_response, open_traffic

BASE: Final = "https://api.example/v3"
CHARGE: Final = custom_endpoint("POST", "/charge", object, body=True, keyed=True)
V1_OF_100: Final = "v1:fdc8c26a2293bbac2b89ac52798132dd"
"""What release 1 recorded for POST /charge with {"amount":100}."""
NUMBERS: Final = [
    ("9007199254740993.0", "9007199254740992.0"),
    ("18446744073709551616", "18446744073709551617"),
    ("-9223372036854775809", "-9223372036854775810"),
    ("0.1", "0.10000000000000000001"),
    ("1.5", "1.50"),
    ("1", "1.0"),
    ("100", "1E+2"),
    ("1e2", "1E2"),
    ("0", "-0"),
    ("1e400", "1e401"),
    ("7" * 5000, "7" * 4999 + "8"),
    ("1.5", '"1.5"'),
    ("18446744073709551616", '"18446744073709551616"'),
]


def _prepare(body: str) -> PreparedRequest:
    return PreparedRequest(CHARGE, BASE + "/charge", body.encode(), {}, "order-1", True)


@pytest.mark.parametrize(("one", "other"), NUMBERS)
@pytest.mark.parametrize("shape", ['{"a":%s}', '{"b":[2, %s],"a":{}}', '{"a":{"b":"x","a": %s}}', '{"a":[%s]}'])
def test_numbers_count_digit_for_digit(one: str, other: str, shape: str) -> None:
    """Two bodies that differ in the text of a number alone are two operations, wherever the number stands."""
    assert compute_fingerprint(_prepare(shape % one)) != compute_fingerprint(_prepare(shape % other))


@pytest.mark.parametrize("number", ["7", "18446744073709551616", "0.10", "1E+2", "-0", "1e400"])
def test_order_and_spaces_do_not_matter(number: str) -> None:
    """The order of names and white space make no other operation, whatever number is in the body."""
    one, other = f'{{"a":{number},"é":["x",null]}}', f'{{ "\\u00e9" : [ "x" ,null],\n"a" :  {number} }}'
    assert compute_fingerprint(_prepare(one)) == compute_fingerprint(_prepare(other))


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(), st.lists, max_leaves=5))
def test_both_ways_to_hash_agree(value: object) -> None:
    """What is hashed the exact way because of a number is hashed like everything else."""
    rest = f'"n":1,"a":{json.dumps(value, ensure_ascii=False)}}}'
    # Of a name that comes twice the last value counts, so only the way to hash differs.
    assert compute_fingerprint(_prepare('{"n":1.5,' + rest)) == compute_fingerprint(_prepare("{" + rest))


def test_entry_of_the_first_version_matches() -> None:
    """An entry on record in the first form is compared in that form."""
    assert matches_fingerprint(V1_OF_100, _prepare('{"amount":100}'))
    assert matches_fingerprint(V1_OF_100, _prepare('{ "amount": 100 }'))
    assert not matches_fingerprint(V1_OF_100, _prepare('{"amount":101}'))
    assert not matches_fingerprint(V1_OF_100, _prepare('{"amount":1e400}'))


def _answer_all(_: object) -> WireResponse:
    return make_response(201)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Decimal(10**30), Decimal(10**30 + 1)),
        (Decimal("0.1"), Decimal("0.10000000000000000001")),
        (Decimal(2**64), Decimal(2**64 + 1)),
        (Decimal("1E+400"), Decimal("1E+401")),
    ],
)
async def test_other_amount_is_another_operation(one: Any, other: Any) -> None:
    """A key's second call with another amount is refused, though both amounts are the same double."""
    async with open_traffic(_answer_all) as it:
        await it.bardge.request("POST", "/charge", request={"amount": one}, key="order-1", keyed=True)
        with pytest.raises(IdempotencyMisuseError, match="differs in amount"):
            await it.bardge.request("POST", "/charge", request={"amount": other}, key="order-1", keyed=True)
    assert len(it.line.sent) == 1


async def test_finished_entry_of_the_first_version_is_replayed() -> None:
    """What an older version recorded as done is not sent again."""
    journal, at = MemoryJournal(), ClockReading(1.0, 1.0, 1.0)
    entry = JournalEntry(
        identity=KeyIdentity(BASE, "", "order-1"),
        endpoint=CHARGE.name,
        url=BASE + "/charge",
        fingerprint=V1_OF_100,
        body=b'{"amount":100}',
        given=True,
        state=EntryState.SENT,
        first_sent=at,
        last_sent=at,
    )
    await journal.put(attrs.evolve(entry, state=EntryState.DONE, answer=RecordedResponse(201, b'{"balance":5}', None)))
    async with open_traffic(_answer_all, journal=journal) as it:
        found = await it.bardge.request("POST", "/charge", request={"amount": 100}, key="order-1", keyed=True)
    assert (found.replayed, it.line.sent) == ("journal", [])
