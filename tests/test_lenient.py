"""JSON that the fast codec refuses, but that plainly says what it says: it is read, exactly, wherever it stands."""

from __future__ import annotations

import codecs
import decimal
import json
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from bardge_async import WireResponse, errors
from bardge_async import endpoints as e
from bardge_async._core import response as wire
from bardge_async._core.converter import parse_json
from bardge_async._core.custom_endpoints import custom_endpoint
from bardge_async._core.json_reader import parse_json_exact
from bardge_async._core.response import Outcome, Verdict
from bardge_async.endpoints import Endpoint
from tests.support.answers import ORIGIN, WALL
from tests.support.calls import catch_error, purchase_credits
from tests.support.rig import AT_ONCE, open_rig
from tests.support.server import reply

LONG: Final = "9" * 5000
PLAIN: Final = custom_endpoint("POST", "/x", object, body=True, keyed=False)

# By kind: what stands in a text, beside it, before and after the body.
ODD: Final[dict[str, tuple[bytes, bytes, bytes, bytes]]] = {
    "high surrogate alone": (rb"Ada \ud83d", b"", b"", b""),
    "low surrogate alone": (rb"Ada \uDE00!", b"", b"", b""),
    "surrogates in the wrong order": (rb"\ude00\ud83d", b"", b"", b""),
    "surrogate bytes": (b"Ada \xed\xa0\xbd", b"", b"", b""),
    "beyond a double": (b"ok", b'"limit":1e400,', b"", b""),
    "beyond a double below zero": (b"ok", b'"limit":-2.5E+9999,', b"", b""),
    "thousands of digits": (b"ok", b'"limit":' + LONG.encode() + b",", b"", b""),
    "thousands of digits and a fraction": (b"ok", b'"limit":' + LONG.encode() + b".5,", b"", b""),
    "byte order mark": (b"ok", b"", codecs.BOM_UTF8, b""),
    "byte order mark after it": (b"ok", b"", b"", codecs.BOM_UTF8),
    "Latin-1": (b"Ren\xe9", b"", b"", b""),
    "cut in the middle of a letter": (b"Ren\xc3", b"", b"", b""),
    "Latin-1 name of a field": (b"ok", b'"pr\xe9nom":1,', b"", b""),
    "line break": (b"failed:\n at line 3\r\n", b"", b"", b""),
    "tab and NUL": (b"a\tb\x00c", b"", b"", b""),
    "NaN": (b"ok", b'"limit":NaN,', b"", b""),
    "Infinity": (b"ok", b'"limit":Infinity,', b"", b""),
    "minus Infinity": (b"ok", b'"limit":-Infinity,', b"", b""),
    "no-break spaces": (b"ok", b"", b"\xc2\xa0", b"\xc2\xa0"),
    "no-break spaces inside": (b"ok", b"\xc2\xa0\x0b", b"", b""),
    "Latin-1 no-break spaces": (b"ok", b"", b"\xa0", b"\xa0"),
    "vertical tab and form feed": (b"ok", b"", b"\x0b\x0c", b"\x0c\x00"),
    "line separators": (b"ok", b"", b"\xe2\x80\xa8", b"\xe2\x80\xa9\xe2\x80\x8b"),
    "all of it": (b"\xe9\n\\ud83d", b'"a":NaN,"b":1e400,', codecs.BOM_UTF8 + b"\x0b", b"\xc2\xa0"),
}


def write_body(name: str, template: bytes) -> bytes:
    """Fill ``TEXT`` and ``BESIDE`` of a template, with the odd bytes of that name."""
    text, beside, before, after = ODD[name]
    return before + template.replace(b"TEXT", text).replace(b"BESIDE", beside) + after


BOUGHT: Final = b'{BESIDE"object":"credit_purchase","balance":50.10,"message":"TEXT"}'
REFUSED: Final = b'{"error":{"type":"invalid_request_error",BESIDE"code":"validation_error","message":"TEXT"}}'


def classify_body(body: bytes, status: int, endpoint: Endpoint[Any, Any] = e.PURCHASE_CREDITS) -> Outcome:
    return wire.classify(endpoint, WireResponse(status, CIMultiDict(), body), WALL, ORIGIN)


@pytest.mark.parametrize("name", ODD)
async def test_purchase_is_done(name: str) -> None:
    """A purchase that such a body confirms is done after one request, its amounts exact."""
    async with open_rig(reply(201, body=write_body(name, BOUGHT)), retry=AT_ONCE) as it:
        bought = await purchase_credits(it.bardge)
        assert (it.request_count, str(bought.balance), await it.bardge.in_doubt()) == (1, "50.10", [])


@pytest.mark.parametrize("name", ODD)
async def test_error_object_is_one(name: str) -> None:
    """An error object in such a body is the API's: type and code are read, and nothing blames the base URL."""
    async with open_rig(reply(400, body=write_body(name, REFUSED)), retry=AT_ONCE) as it:
        error = await catch_error(purchase_credits(it.bardge))
    assert isinstance(error, errors.InvalidRequestError)
    assert (it.request_count, error.type, error.code) == (1, "invalid_request_error", "validation_error")
    assert "base URL" not in str(error)


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422, 429, 500, 501])
@pytest.mark.parametrize("name", ["high surrogate alone", "byte order mark", "Latin-1", "NaN", "no-break spaces"])
def test_error_object_of_every_status(name: str, status: int) -> None:
    """This holds for every status."""
    error = classify_body(write_body(name, REFUSED), status).error
    assert isinstance(error, errors.APIError)
    assert error.code == "validation_error"


@pytest.mark.parametrize("name", ODD)
def test_every_2xx_is_read(name: str) -> None:
    """Lists, bare lists and plain JSON of such bodies are read, too."""
    issuers = b'{"data":[{BESIDE"object":"issuer","id":"i1","name":"TEXT"}],"has_more":false}'
    categories = b'[{BESIDE"id":"cat_1","name":"TEXT"}]'
    assert classify_body(write_body(name, issuers), 200, e.LIST_ISSUERS).value.items[0].id == "i1"
    assert classify_body(write_body(name, categories), 200, e.LIST_CLASS_CATEGORIES).value.items[0].id == "cat_1"
    assert classify_body(write_body(name, BOUGHT), 200, PLAIN).value["balance"] == Decimal("50.10")


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (rb'"a\ud83d"', "a\ufffd"),
        (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
        (rb'"\ud83d\ude00 \ud83d"', "\U0001f600 \ufffd"),
        (rb'"\\ud83d \ud83d"', "\\ud83d \ufffd"),
        (rb'{"\ud83d": 1}', {"\ufffd": 1}),
        (b'"Ren\xe9"', "Ren\ufffd"),
        (b'"a\n\x00"', "a\n\x00"),
        (b'\xc2\xa0"\xc2\xa0\xef\xbb\xbf\\"\x0b"\x0b', '\xa0\ufeff"\x0b'),
        (codecs.BOM_UTF8 + b"null", None),
    ],
)
def test_what_is_read(sent: bytes, read: object) -> None:
    """Wrong bytes and lone surrogates become U+FFFD; all else of a text is kept, white space within it, too."""
    assert parse_json(sent) == parse_json_exact(sent) == read


@pytest.mark.parametrize("text", [LONG, "-" + LONG, "1" + "0" * 400, "7e400", LONG + ".25", "0e400", "-0.0e-9999"])
def test_numbers_are_exact(text: str) -> None:
    """Numbers of any length and size keep their value, in money fields and in unknown ones."""
    value = classify_body(b'{"balance":%s,"new":[%s,NaN]}' % (text.encode(), text.encode()), 201).value
    assert str(value.balance) == str(Decimal(text))
    assert str(value.extra["new"][0]) == str(Decimal(text))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e9999999999999999999"])
def test_no_number(text: str) -> None:
    """What no number can hold is of a wrong type in a field, the work being done, and never a number elsewhere."""
    fields = b'{"balance":%s}' % text.encode()
    outcome = classify_body(fields, 200, e.GET_CLIENT_CREDITS)
    assert isinstance(outcome.error, errors.DecodeError)
    assert outcome.error.problems == [f"$.balance: expected a number, got {text}"]
    kept = [
        classify_body(fields, 200, PLAIN).value["balance"],
        classify_body(b'{"x":[%s]}' % text.encode(), 201).value.extra["x"][0],
    ]
    assert kept == [text, text]
    assert not any(isinstance(one, int | float | Decimal) for one in kept)


@pytest.mark.parametrize("field", ["name", "price", "provider_count", "livemode", "created", "categories"])
def test_no_number_is_no_other_type(field: str) -> None:
    """NaN is no text, no truth value and no list either."""
    outcome = classify_body(b'{"data":[{"%s":NaN}],"has_more":false}' % field.encode(), 200, e.LIST_PASSES)
    assert isinstance(outcome.error, errors.DecodeError)
    assert "got NaN" in outcome.error.problems[0]


def test_code_of_another_type() -> None:
    """NaN for the code of an error object is no code."""
    error = classify_body(b'{"error":{"type":"api_error","code":NaN}}', 400).error
    assert isinstance(error, errors.APIError)
    assert (error.type, error.code) == ("api_error", None)


def test_trap_of_the_caller() -> None:
    """A caller's own decimal context changes no number and makes none of what is none."""
    body = b'{"balance":0.12345678901234567890123456789012345,"a":1e9999999999999999999,"b":0e9999999999999999999}'
    with decimal.localcontext(decimal.Context(prec=3, traps=[])):
        value = classify_body(body, 201).value
        assert (str(value.balance), value.extra["a"]) == (
            "0.12345678901234567890123456789012345",
            "1e9999999999999999999",
        )
        assert value.extra["b"] == 0


@pytest.mark.parametrize("name", ODD)
def test_truncated_is_unreadable(name: str) -> None:
    """Cut anywhere, such a body stays unreadable, and the outcome unknown."""
    body = write_body(name, BOUGHT)
    ends = [
        body.rindex(b"}"),
        body.rindex(b'"'),
        body.rindex(b"TE" if b"TE" in body else b"message"),
        len(ODD[name][2]) + 1,
    ]
    assert {classify_body(body[:end], 201).verdict for end in ends} == {Verdict.NO_ANSWER}


@pytest.mark.parametrize(
    "body", [b"", b" ", b"\xef\xbb\xbf", b"<p>", b"{'a': 1}", b"{} {}", b'{"a":1,}', b"nan", b"\xa0", b'"']
)
def test_what_is_no_json(body: bytes) -> None:
    """Nothing else passes for JSON."""
    assert classify_body(body, 201).verdict is Verdict.NO_ANSWER


@pytest.mark.parametrize("depth", [1_100, 10_000, 100_000])
def test_deep_nesting(depth: int) -> None:
    """A complete response that is too deep was done and is unreadable; one that is cut says nothing."""
    deep = b'{"balance":5,"x":' + b"[" * depth + b"]" * depth + b"}"
    done, cut = classify_body(deep, 201), classify_body(deep[:-2], 201)
    assert (done.verdict, cut.verdict) == (Verdict.UNREADABLE, Verdict.NO_ANSWER)
    assert isinstance(done.error, errors.DecodeError)
    assert (done.error.executed, done.error.problems) == (True, ["$: nested too deeply"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.booleans())
def test_reads_what_json_reads(value: object, in_ascii: bool) -> None:
    """What the standard library writes is read alike, with odd white space around and wherever a space may stand."""
    text = json.dumps(value, ensure_ascii=in_ascii, separators=(",\x0b", ":\u2003")).encode("utf-8", "replace")
    plain = json.loads(json.dumps(value).encode("utf-8", "replace"))
    assert parse_json_exact(b"\xa0" + text) == parse_json_exact(text) == plain
